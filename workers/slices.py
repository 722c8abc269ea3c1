"""Reads a batch's slice of the plan, and what the detect stage made of its sources."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

from posemill.errors import NotFound, RunFault, TransientError
from posemill.names import RunKeys, Stage
from posemill.records import BatchRecord, Item, Outcome, Run, Source, SourceResult, decode, decode_rows
from posemill.storage import Store

T = TypeVar("T")
KEPT_SHARDS = 8
KEPT_RECORDS = 256


class Recent:
    """The last few values by key; safe between threads."""

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._values: OrderedDict[str, object] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str, read: Callable[[str], T], *, keep: Callable[[T], bool] = lambda _: True) -> T:
        """The value, read again unless `keep` let an earlier one stay."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]  # type: ignore[return-value]
        value = read(key)
        if not keep(value):
            return value
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._keep:
                self._values.popitem(last=False)
        return value


class Slices:
    """Plans and detect records, with the last few kept in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._runs = Recent(64)
        self._shards = Recent(KEPT_SHARDS)
        self._records = Recent(KEPT_RECORDS)

    def run(self, run_id: str) -> Run:
        """Raises RunFault when storage has no such run."""
        return self._runs.get(RunKeys(run_id).run, lambda key: decode(self._plan_object(key), Run))

    def sources(self, run: Run, batch: int) -> dict[int, Source]:
        """The batch's sources by their numbers."""
        slicing = run.slicing[Stage.DETECT]
        shard, rows = slicing.place(batch)
        content = self._shards.get(RunKeys(run.id).shard(Stage.DETECT, shard), self._plan_object)
        return dict(enumerate(decode_rows(content, Source, rows), start=batch * slicing.batch_size))

    def items(self, run: Run, batch: int) -> list[Item]:
        shard, rows = run.slicing[Stage.GENERATE].place(batch)
        content = self._shards.get(RunKeys(run.id).shard(Stage.GENERATE, shard), self._plan_object)
        return decode_rows(content, Item, rows)

    def detected(self, run: Run, sources: set[int]) -> dict[int, SourceResult]:
        """What became of these sources. Raises TransientError when one is not recorded yet."""
        size = run.slicing[Stage.DETECT].batch_size
        keys = [RunKeys(run.id).record(Stage.DETECT, batch) for batch in sorted({number // size for number in sources})]
        found: dict[int, SourceResult] = {}
        for key in keys:
            try:
                record = self._records.get(key, self._record, keep=_is_final)
            except NotFound as error:
                raise TransientError(f"{key} is not written yet, so its sources cannot be used") from error
            found |= {result.source: result for result in record.sources if result.source in sources}
        return found

    def _record(self, key: str) -> BatchRecord:
        return decode(self._store.get(key), BatchRecord)

    def _plan_object(self, key: str) -> bytes:
        try:
            return self._store.get(key)
        except NotFound as error:
            raise RunFault(f"{self._store.url}/{key} is gone; restore it and resume the run") from error


def _is_final(record: BatchRecord) -> bool:
    """A record with failed rows may be set aside by `retry`."""
    return record.counts[Outcome.FAILED] == 0

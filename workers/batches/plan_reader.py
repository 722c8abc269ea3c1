"""Reads a batch's slice of the plan, and what the detect stage made of its sources."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, Item, Outcome, Run, Source, SourceResult, decode_rows
from posemill.errors import NotFound, RunFault, TransientError, UnreadableRecord
from posemill.storage.run_documents import read_document, read_run, read_shard, unreadable
from posemill.storage.store import Store

T = TypeVar("T")
KEPT_SHARDS = 8
KEPT_RECORDS = 256


class RecentReads:
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
        self._runs = RecentReads(64)
        self._shards = RecentReads(KEPT_SHARDS)
        self._records = RecentReads(KEPT_RECORDS)

    def run(self, run_id: str, submission: str = "") -> Run:
        """Raises RunFault when storage has no such run, or none that can be read.

        `submission`: an earlier run under the same id is another one.
        """
        return self._runs.get(f"{run_id} {submission}", lambda _: self._run(run_id))

    def sources(self, run: Run, batch: int) -> dict[int, Source]:
        """The batch's sources by their numbers. Raises RunFault."""
        slicing = run.slicing[Stage.DETECT]
        return dict(enumerate(self._rows(run, Stage.DETECT, batch, Source), start=batch * slicing.batch_size))

    def items(self, run: Run, batch: int) -> list[Item]:
        """Raises RunFault."""
        return self._rows(run, Stage.GENERATE, batch, Item)

    def detected(self, run: Run, sources: set[int]) -> dict[int, SourceResult]:
        """What became of these sources. Raises TransientError when one is not recorded yet."""
        size = run.slicing[Stage.DETECT].batch_size
        found: dict[int, SourceResult] = {}
        for batch in sorted({number // size for number in sources}):
            key = RunKeys(run.id).record(Stage.DETECT, batch)
            try:
                record = self._records.get(_kept_under(run, key), partial(self._record, key), keep=_is_final)
            except NotFound as error:
                raise TransientError(f"{key} is not written yet, so its sources cannot be used") from error
            found |= {result.source_number: result for result in record.sources if result.source_number in sources}
        return found

    def _run(self, run_id: str) -> Run:
        try:
            return read_run(self._store, run_id)
        except NotFound as error:
            raise self._gone(RunKeys(run_id).run) from error

    def _rows(self, run: Run, stage: Stage, batch: int, kind: type[T]) -> list[T]:
        shard, rows = run.slicing[stage].place(batch)
        key = RunKeys(run.id).shard(stage, shard)
        content = self._shards.get(_kept_under(run, key), lambda _: self._shard(run.id, stage, shard))
        try:
            return decode_rows(content, kind, rows)
        except UnreadableRecord as error:
            raise unreadable(self._store, key, error) from error

    def _shard(self, run_id: str, stage: Stage, shard: int) -> bytes:
        try:
            return read_shard(self._store, run_id, stage, shard)[1]
        except NotFound as error:
            raise self._gone(RunKeys(run_id).shard(stage, shard)) from error

    def _record(self, key: str, _: str) -> BatchRecord:
        return read_document(self._store, key, BatchRecord)

    def _gone(self, key: str) -> RunFault:
        return RunFault(f"{self._store.url}/{key} is gone; restore it and resume the run")


def _kept_under(run: Run, key: str) -> str:
    """A run that was deleted and submitted again has other plans and records under the same keys."""
    return f"{run.created_at} {key}"


def _is_final(record: BatchRecord) -> bool:
    """A record with failed rows may be set aside by `retry`."""
    return record.counts[Outcome.FAILED] == 0

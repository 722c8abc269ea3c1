"""Reads a run's done items as a stream, in the plan's order; what became of all others is counted."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from posemill.contract.identity import digest
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import (
    BatchRecord,
    ItemResult,
    JudgedResult,
    Outcome,
    RunState,
    SourceResult,
    StoredObject,
)
from posemill.contract.rounds import PlanLayout, RoundStep, layout_of
from posemill.errors import NotFound, NotOver, RunPaused
from posemill.storage.rounds import is_closed
from posemill.storage.run_documents import read_document, read_plan, read_rounds, read_run, read_state
from posemill.storage.store import Store
from producer.exports.samples.keeping import Kept
from producer.submitting.streaming import in_order

THREADS, AHEAD = 8, 32  # records read at once
KEPT_RECORDS = 64  # of the detect stage
POLL_SECONDS = 1.0


class RejectedTry(msgspec.Struct, frozen=True, kw_only=True):
    """An image of the same item that did not pass."""

    image: StoredObject
    item_id: str
    try_number: int
    oks: float


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A done item, what its image was drawn from, and the record that it stands in."""

    item: ItemResult
    source: SourceResult | None  # None: the control image was ready-made
    judged: JudgedResult | None = None  # None: the run's images are not judged
    rejected: RejectedTry | None = None  # the worst try before it, where those are asked for and there is one
    batch: int
    attempt: int
    worker: str
    finished_at: str
    made_with: dict[str, Any]

    @property
    def control_key(self) -> str:
        """Where its control image lies, the first where it has several: a key of the store, or an address elsewhere."""
        return self.item.control_keys[0]

    @property
    def control_keys(self) -> tuple[str, ...]:
        """Where all of them lie, in the order of the run's controls."""
        return tuple(self.item.control_keys)

    @property
    def drawn(self) -> StoredObject | None:
        """The first control image as the detect stage stored it; None for a ready-made one."""
        return self.source.controls[0].image if self.source else None

    @property
    def origin(self) -> str:
        """Identity of what the image was drawn from: the source's content, or its control image's address, digested."""
        return self.source.source_sha256 if self.source else digest("control image", self.control_key)


class SampleReader:
    """A run's samples, and once they are all read, what else its records say."""

    def __init__(self, store: Store, run_id: str, *, with_rejected: bool = False) -> None:
        """`with_rejected`: each sample with the worst of its item's tries that did not pass."""
        self.run = read_run(store, run_id)
        self.plan = read_plan(store, run_id)
        self.outcomes: Counter[str] = Counter()  # items by outcome, and where they have one by reason
        self.missing_batches = 0  # without a record: the run is not over, or was cancelled
        self._store = store
        self._keys = RunKeys(run_id)
        self._steps: list[RoundStep] = []
        self._rejected: dict[str, RejectedTry] | None = {} if with_rejected else None  # of items not settled yet
        self._detected: Kept[dict[int, SourceResult]] = Kept(KEPT_RECORDS)

    def samples(
        self,
        *,
        watch: bool = False,
        timeout_seconds: float | None = None,
        poll_seconds: float = POLL_SECONDS,
        other: Callable[[ItemResult, JudgedResult | None], None] = lambda *_: None,
        again: Callable[[ItemResult, JudgedResult], None] = lambda *_: None,
    ) -> Iterator[Sample]:
        """The done items. `watch` waits for records that are not written yet, until the run is cancelled.

        Then it raises NotOver after timeout_seconds, and RunPaused when a fault has paused the run.
        `other` is shown every item that is not done, in its place among them, and `again` every image that was made
        again.
        """
        batches = self._written(poll_seconds, timeout_seconds) if watch else self._layout().numbers()
        for found in in_order(self._read, batches, threads=THREADS, ahead=0 if watch else AHEAD):
            if found is None:
                self.missing_batches += 1
                continue
            record, sources, judged = found
            for made in record.items:
                verdict = judged.get(made.id)
                item = _with_verdict(made, verdict)
                if item.outcome is Outcome.AGAIN and verdict:
                    self._keep_rejected(made, verdict)
                    again(made, verdict)
                    continue  # the next try tells
                self.outcomes[f"{item.outcome} {item.reason}".rstrip()] += 1
                rejected = self._rejected.pop(verdict.wanted_id, None) if self._rejected and verdict else None
                if item.outcome is Outcome.DONE:
                    yield _sample(record, item, sources, verdict, rejected)
                else:
                    other(item, verdict)
        if not self._is_closed():
            self.missing_batches += 1  # of images that are to be made again

    def _keep_rejected(self, made: ItemResult, verdict: JudgedResult) -> None:
        if self._rejected is None or made.image is None:
            return
        worst = self._rejected.get(verdict.wanted_id)
        if worst is None or oks_of(verdict) < worst.oks:
            self._rejected[verdict.wanted_id] = RejectedTry(
                image=made.image, item_id=made.id, try_number=verdict.try_number, oks=oks_of(verdict)
            )

    def cancelled(self) -> bool:
        """Whether the run was cancelled, so that no more records will come."""
        return read_state(self._store, self.run.id).state is RunState.CANCELLED

    def _written(self, poll_seconds: float, timeout_seconds: float | None) -> Iterator[int]:
        """Each batch's number, once it has a record."""
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds

        def wait() -> None:
            if time.monotonic() > deadline:
                raise NotOver(f"run {self.run.id!r} has not ended after {timeout_seconds:g} s; export it again")
            time.sleep(poll_seconds)

        last, seen = self.run.stages[-1], -1
        while True:
            for batch in self._layout().numbers():
                if batch > seen:
                    while self._store.head(self._keys.record(last, batch)) is None and not self._is_stopped():
                        wait()
                    yield batch
                    seen = batch
            if self._is_closed() or self._is_stopped():
                return
            wait()

    def _layout(self) -> PlanLayout:
        """Where the images' batches stand by now."""
        self._steps = read_rounds(self._store, self.run, self._steps)
        return layout_of(self.run, self.plan, Stage.GENERATE, self._steps)

    def _is_closed(self) -> bool:
        """Whether no image is to be made again."""
        self._steps = read_rounds(self._store, self.run, self._steps)
        return is_closed(self._store, self.run, self.plan, self._steps)

    def _is_stopped(self) -> bool:
        """Whether nothing more will be made. Raises RunPaused."""
        change = read_state(self._store, self.run.id)
        if change.state is RunState.PAUSED and change.reason:
            raise RunPaused(f"run {self.run.id!r} is paused: {change.reason}; unpause it, then export it again")
        return change.state is RunState.CANCELLED

    def _read(self, batch: int) -> tuple[BatchRecord, dict[int, SourceResult], dict[str, JudgedResult]] | None:
        try:
            record = read_document(self._store, self._keys.record(Stage.GENERATE, batch), BatchRecord)
            judged = self._judged(batch)
        except NotFound:
            return None
        numbers = {
            item.source_number
            for item in record.items
            if item.source_number is not None and item.outcome is Outcome.DONE
        }
        return record, {number: self._source(number) for number in sorted(numbers)}, judged

    def _judged(self, batch: int) -> dict[str, JudgedResult]:
        if self.run.verify is None:
            return {}
        record = read_document(self._store, self._keys.record(self.run.stages[-1], batch), BatchRecord)
        return {result.id: result for result in record.judged}

    def _source(self, number: int) -> SourceResult:
        key = self._keys.record(Stage.DETECT, number // self.run.slicing[Stage.DETECT].batch_size)

        def read() -> dict[int, SourceResult]:
            record = read_document(self._store, key, BatchRecord)
            return {result.source_number: result for result in record.sources}

        return self._detected.get(key, read)[number]


def _with_verdict(item: ItemResult, verdict: JudgedResult | None) -> ItemResult:
    """The item with the outcome that its judge gave it."""
    if verdict is None or verdict.outcome is item.outcome:
        return item
    return msgspec.structs.replace(item, outcome=verdict.outcome, reason=verdict.reason, message=verdict.message)


def oks_of(judged: JudgedResult) -> float:
    """Mean OKS over the people of the control; 0 where no check compares poses."""
    return float(judged.figures.get("pose", {}).get("oks_mean", 0.0))


def _sample(
    record: BatchRecord,
    item: ItemResult,
    sources: dict[int, SourceResult],
    judged: JudgedResult | None,
    rejected: RejectedTry | None,
) -> Sample:
    return Sample(
        item=item,
        judged=judged,
        rejected=rejected,
        source=None if item.source_number is None else sources[item.source_number],
        batch=record.batch,
        attempt=record.attempt,
        worker=record.worker,
        finished_at=record.finished_at,
        made_with=record.made_with,
    )

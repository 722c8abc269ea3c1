"""Proves a run: every planned row has exactly one outcome, and everything done has its object, unchanged."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import msgspec

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys, Stage, batch_of
from posemill.contract.records import BatchRecord, Outcome, Plan, Run, SourceResult, StoredObject, decode_rows
from posemill.contract.rounds import layouts_of
from posemill.contract.stages import LAST_STAGE, STAGES, outcome_stages, planned_rows
from posemill.errors import NotFound, UnreadableRecord
from posemill.storage.rounds import is_closed
from posemill.storage.run_documents import read_document, read_plan, read_record, read_rounds, read_run, read_shard
from posemill.storage.store import Store

THREADS = 16
NAMED_FAILURES = 20  # of a run's; `posemill failures` lists them all


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be."""

    kind: str  # missing_record, wrong_record, unreadable_record, missing_object, changed_object, stray_object
    key: str
    message: str


class FailedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A source or an item whose outcome is that it failed."""

    row: str  # "source 3" or "item ID"
    name: str  # of the source
    message: str


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What `check` found."""

    run_id: str
    counts: dict[Stage, dict[Outcome, int]]
    objects: int  # looked at
    faults: list[Fault]
    failed: list[FailedRow]  # the first ones

    @property
    def complete(self) -> bool:
        """Whether every planned row has one outcome and everything done its object."""
        return not self.faults

    @property
    def failures(self) -> int:
        """Sources and items that failed."""
        return sum(self.counts[stage][Outcome.FAILED] for stage in outcome_stages(self.counts))

    @property
    def verdict(self) -> str:
        """In words, which sound like success only if it is one."""
        if self.faults:
            return f"{len(self.faults)} faults"
        if self.failures:
            return f"{self.failures} sources and items failed (posemill retry {self.run_id}), the rest is unchanged"
        return "complete and unchanged"


def check(store: Store, run_id: str, *, deep: bool = False) -> Proof:
    """Compare plan, records and objects. `deep` reads every object and digests it again.

    Without `deep` an object counts as unchanged while its size and ETag are those of the record.
    """
    run, plan = read_run(store, run_id), read_plan(store, run_id)
    checker = _Checker(store, run, plan, deep=deep)
    faults = [fault for stage in run.stages for fault in checker.stage_faults(stage)]
    faults += checker.open_rounds()
    faults += checker.stray_images()
    return Proof(
        run_id=run_id,
        counts=checker.counts,
        objects=checker.objects,
        faults=faults,
        failed=checker.failed,
    )


class _Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One batch, looked at."""

    faults: list[Fault]
    record: BatchRecord | None = None


class _Checker:
    def __init__(self, store: Store, run: Run, plan: Plan, *, deep: bool) -> None:
        self._store = store
        self._run = run
        self._plan = plan
        self._steps = read_rounds(store, run)
        self._layouts = layouts_of(run, plan, self._steps)
        self._keys = RunKeys(run.id)
        self._deep = deep
        self.counts = {stage: dict.fromkeys(Outcome, 0) for stage in run.stages}
        self.objects = 0
        self.failed: list[FailedRow] = []
        self._images: set[str] = set()  # keys that records name

    def stage_faults(self, stage: Stage) -> Iterator[Fault]:
        """Batch by batch: the record, its rows, their objects."""
        written = {batch_of(info.key) for info in self._store.list(self._keys.records(stage))}
        layout, planned_by = self._layouts[stage], STAGES[stage].planned_by
        planned = set(layout.numbers())
        yield from (self._stray_record(stage, batch) for batch in sorted(written - planned))
        with ThreadPoolExecutor(THREADS) as pool:
            for number in range(layout.shards):
                try:
                    _, shard = read_shard(self._store, self._run.id, planned_by, number)
                except (UnreadableRecord, NotFound) as error:
                    key = self._keys.shard(planned_by, number)
                    yield Fault(kind="unreadable_record", key=key, message=str(error))
                    continue
                checks = pool.map(
                    lambda batch: self._checked(stage, batch, shard, batch in written),  # noqa: B023
                    layout.batches_of(number),
                )
                for checked in checks:
                    yield from checked.faults
                    if checked.record:
                        self._count(checked.record)

    def open_rounds(self) -> Iterator[Fault]:
        """A run whose images are judged is whole when nothing is to be made again."""
        if not is_closed(self._store, self._run, self._plan, self._steps):
            yield Fault(kind="missing_record", key=self._keys.rounds, message="images are to be made again")

    def stray_images(self) -> Iterator[Fault]:
        """Images that no record names; they harm nobody, but somebody put them there."""
        for info in self._store.list(self._keys.images):
            if info.key not in self._images:
                yield Fault(kind="stray_object", key=info.key, message="no record names this image")

    def _stray_record(self, stage: Stage, batch: int) -> Fault:
        return Fault(kind="wrong_record", key=self._keys.record(stage, batch), message="the plan has no such batch")

    def _count(self, record: BatchRecord) -> None:
        for outcome, number in record.counts.items():
            self.counts[record.stage][outcome] += number
        stored = _objects_of(record)
        self.objects += len(stored)
        self._images |= {named.key for named in stored if named.key.startswith(self._keys.images)}
        if record.stage in outcome_stages(self._run.stages):
            self.failed += list(islice(_failed_in(record), NAMED_FAILURES - len(self.failed)))

    def _checked(self, stage: Stage, batch: int, shard: bytes, written: bool) -> _Checked:
        """Called from several threads: what it finds is counted elsewhere."""
        key = self._keys.record(stage, batch)
        if not written:
            return _Checked(faults=[Fault(kind="missing_record", key=key, message="the batch has no record")])
        try:
            record = read_document(self._store, key, BatchRecord)
            planned = self._planned(stage, batch, shard)
        except (UnreadableRecord, NotFound) as error:
            return _Checked(faults=[Fault(kind="unreadable_record", key=key, message=str(error))])
        faults = []
        if [result.row for result in record.results] != planned:
            faults.append(Fault(kind="wrong_record", key=key, message="its rows are not those of the plan"))
        removed = self._removed(record)
        objects = [stored for stored in _objects_of(record) if stored.key not in removed]
        faults += [fault for stored in objects if (fault := self._object_fault(stored))]
        return _Checked(faults=faults, record=record)

    def _removed(self, record: BatchRecord) -> set[str]:
        """Images that did not pass, of a run that keeps none of those."""
        if (
            record.stage is not STAGES[LAST_STAGE].planned_by
            or self._run.verify is None
            or self._run.verify.keep_rejects
        ):
            return set()
        judged = read_record(self._store, self._run.id, LAST_STAGE, record.batch)
        refused = {result.id for result in judged.judged if result.best} if judged else set()
        return {item.image.key for item in record.items if item.image and item.id in refused}

    def _planned(self, stage: Stage, batch: int, shard: bytes) -> list[int | str]:
        slicing = self._run.slicing[stage]
        rows: list[Any] = decode_rows(shard, STAGES[stage].row, slicing.place(batch)[1])
        return planned_rows(batch * slicing.batch_size, rows)

    def _object_fault(self, recorded: StoredObject) -> Fault | None:
        if self._deep:
            return self._content_fault(recorded)
        found = self._store.head(recorded.key)
        if found is None:
            return Fault(kind="missing_object", key=recorded.key, message="a record names it, but it is gone")
        if (found.size, found.etag) != (recorded.size, recorded.etag):
            return Fault(kind="changed_object", key=recorded.key, message="it is not the object that was recorded")
        return None

    def _content_fault(self, recorded: StoredObject) -> Fault | None:
        try:
            content = self._store.get(recorded.key)
        except NotFound:
            return Fault(kind="missing_object", key=recorded.key, message="a record names it, but it is gone")
        if sha256(content) != recorded.sha256:
            return Fault(kind="changed_object", key=recorded.key, message="its digest is not the recorded one")
        return None


def _failed_in(record: BatchRecord) -> Iterator[FailedRow]:
    for result in record.results:
        if result.outcome is Outcome.FAILED:
            if isinstance(result, SourceResult):
                yield FailedRow(row=f"source {result.row}", name=result.name, message=result.message)
            else:
                yield FailedRow(row=f"item {result.row}", name=result.source_name, message=result.message)


def _objects_of(record: BatchRecord) -> list[StoredObject]:
    return [stored for result in record.results for stored in result.objects]

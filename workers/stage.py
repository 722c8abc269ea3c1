"""The anatomy that both stages share: claim, load, compute, save, commit.

Loading and saving of one batch overlap the computing of another; `compute` alone holds the device.
"""

import logging
import random
import threading
import time
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import msgspec

from posemill.errors import LeaseLost, NotFound, PermanentError, PosemillError, RunFault
from posemill.ledger import Ledger, Verdict
from posemill.names import RunKeys, Stage
from posemill.records import (
    BatchRecord,
    ItemResult,
    Outcome,
    Run,
    RunState,
    SourceResult,
    StateChange,
    decode,
    encode,
)
from posemill.settings import Settings
from posemill.storage import Store
from workers.leases import Lease, LeaseKeeper
from workers.slices import Slices

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 1.0  # before a second attempt; doubles with each further one
LONGEST_DELAY_SECONDS = 60.0
LOADED = TypeVar("LOADED")
COMPUTED = TypeVar("COMPUTED")
Results = list[SourceResult] | list[ItemResult]


class BatchWork(Protocol[LOADED, COMPUTED]):
    """What a stage does with a batch. All three steps may be called from different threads."""

    stage: Stage

    def load(self, run: Run, batch: int, kept: BatchRecord | None) -> LOADED:
        """Read what the batch needs; rows that `kept` has as done are not made again."""

    def compute(self, run: Run, loaded: LOADED) -> COMPUTED:
        """The device's part; called by one thread at a time."""

    def save(self, run: Run, computed: COMPUTED) -> Results:
        """Encode and upload; gives a result for every row of the batch."""

    def failed(self, run: Run, batch: int, error: PosemillError) -> Results:
        """A failed result for every row of the batch."""

    def made_with(self, run: Run) -> dict[str, Any]:
        """Specification, device and versions, for the record."""


class StageWorker:
    """Takes one stage's batches through all steps."""

    def __init__(
        self,
        work: BatchWork[Any, Any],
        *,
        worker: str,
        store: Store,
        ledger: Ledger,
        slices: Slices,
        keeper: LeaseKeeper,
        settings: Settings,
    ) -> None:
        self._work = work
        self._worker = worker
        self._store = store
        self._ledger = ledger
        self._slices = slices
        self._keeper = keeper
        self._settings = settings
        self._device = threading.Lock()
        self.finished = 0  # batches, for the heartbeat
        self.stepped = time.monotonic()  # the last step of any batch, for the heartbeat

    def do(self, run_id: str, batch: int) -> None:
        """Work on a batch if it can be claimed; a message for a batch that cannot is dropped."""
        stage = self._work.stage
        extra = {"run_id": run_id, "stage": stage, "batch": batch}
        claim = self._ledger.claim(run_id, stage, batch, self._settings.lease_seconds)
        if claim.verdict is not Verdict.CLAIMED:
            log.info("Nothing to do: the batch is %s", claim.verdict, extra=extra)
            return
        self._step()
        lease = Lease(run_id, stage, batch, claim.fence)
        with self._keeper.hold(lease):
            try:
                self._attempt(lease, claim.attempt)
            except LeaseLost:
                log.warning("Another worker took the batch over; its work here is dropped", extra=extra)
            except RunFault as error:
                self._pause(lease, error)
            except Exception as error:  # the task boundary: whatever it was, the batch goes back in line
                log.warning("Attempt %d failed: %s", claim.attempt, _in_words(error), extra=extra, exc_info=True)
                delay_seconds = retry_delay(claim.attempt)
                self._ledger.release(
                    run_id, stage, batch, claim.fence, delay_seconds=delay_seconds, error=_in_words(error)
                )

    def _attempt(self, lease: Lease, attempt: int) -> None:
        run = self._slices.run(lease.run_id)
        if attempt > self._settings.max_attempts:
            self._give_up(lease, attempt, run)
            return
        try:
            results = self._make(lease, run)
        except PermanentError as error:
            results = self._work.failed(run, lease.batch, error)
        self._commit(lease, attempt, run, results)

    def _give_up(self, lease: Lease, attempt: int, run: Run) -> None:
        last = self._ledger.last_error(lease.run_id, lease.stage, lease.batch) or "its worker died at it"
        given_up = PermanentError(f"given up after {attempt - 1} attempts; the last one: {last}")
        self._commit(lease, attempt, run, self._work.failed(run, lease.batch, given_up))

    def _make(self, lease: Lease, run: Run) -> Results:
        loaded = self._work.load(run, lease.batch, self._kept(lease))
        self._step()
        with self._device:
            lease.require()
            computed = self._work.compute(run, loaded)
        self._step()
        lease.require()
        return self._work.save(run, computed)

    def _step(self) -> None:
        self.stepped = time.monotonic()

    def _kept(self, lease: Lease) -> BatchRecord | None:
        """The record that `retry` set aside, if the batch has one."""
        try:
            content = self._store.get(RunKeys(lease.run_id).superseded(lease.stage, lease.batch))
        except NotFound:
            return None
        return decode(content, BatchRecord)

    def _commit(self, lease: Lease, attempt: int, run: Run, results: Results) -> None:
        """Write the record unless one stands already, then count the one that stands."""
        self._keeper.confirm(lease)
        lease.require()
        rows = {"sources": results} if lease.stage is Stage.DETECT else {"items": results}
        record = BatchRecord(
            run_id=lease.run_id,
            stage=lease.stage,
            batch=lease.batch,
            attempt=attempt,
            worker=self._worker,
            finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            made_with=self._work.made_with(run),
            **rows,  # type: ignore[arg-type]
        )
        standing = write_record(self._store, record)
        self._ledger.commit(lease.run_id, lease.stage, lease.batch, standing.counts)
        self.finished += 1
        self._step()

    def _pause(self, lease: Lease, error: RunFault) -> None:
        """The run itself is at fault: stop it with the reason and take the attempt off the count."""
        log.error("The run is paused: %s", error, extra={"run_id": lease.run_id, "batch": lease.batch})
        change = StateChange(state=RunState.PAUSED, reason=str(error))
        self._ledger.release(lease.run_id, lease.stage, lease.batch, lease.fence, refund=True)
        self._ledger.set_state(lease.run_id, RunState.PAUSED, str(error))
        try:
            self._store.put(RunKeys(lease.run_id).state, encode(change), content_type="application/json")
        except PosemillError:
            log.warning("Storage does not take the reason of the pause; the ledger has it")


def write_record(store: Store, record: BatchRecord) -> BatchRecord:
    """Write a batch's record last and once: gives the record that stands, this one or an earlier one."""
    keys = RunKeys(record.run_id)
    if record.counts[Outcome.DONE] < sum(record.counts.values()):
        store.put(keys.flag(record.stage, record.batch), b"")
    key = keys.record(record.stage, record.batch)
    _, created = store.put_if_absent(key, encode(record), content_type="application/json")
    return record if created else decode(store.get(key), BatchRecord)


def retry_delay(attempt: int) -> float:
    """Seconds until the next attempt: doubling, bounded, and spread by a quarter either way."""
    delay = min(FIRST_DELAY_SECONDS * 2 ** (attempt - 1), LONGEST_DELAY_SECONDS)
    return float(delay * random.uniform(0.75, 1.25))


def _in_words(error: Exception) -> str:
    return str(error) if isinstance(error, PosemillError) else f"{type(error).__name__}: {error}"


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the libraries that made a result."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def struct_values(spec: msgspec.Struct) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(spec)
    return values

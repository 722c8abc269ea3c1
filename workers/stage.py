"""The anatomy that both stages share: claim, load, compute, save, commit.

Loading and saving of one batch overlap the computing of another; `compute` alone holds the device.
"""

import logging
import random
import threading
import time
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

import redis

from posemill.errors import LeaseLost, NotFound, PermanentError, PosemillError, RunFault, TransientError
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
from workers.debts import Debts
from workers.leases import Lease, LeaseKeeper
from workers.slices import Slices

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 1.0  # before a second attempt; doubles with each further one
LONGEST_DELAY_SECONDS = 60.0
ROW_TRIES = 2  # of a row alone, before it is recorded as failed
ROW = TypeVar("ROW")
Results = list[SourceResult] | list[ItemResult]


class Draining(Exception):
    """The worker is ending, and the batch has not reached the device yet."""


class BatchWork(Protocol[ROW]):
    """What a stage does with a batch. All three steps may be called from different threads.

    A row on its way is a stage's own record; `compute` and `save` take all of a batch's rows or one alone.
    """

    stage: Stage

    @property
    def resident(self) -> list[str]:
        """What is in memory by now: detectors, or models by the names that recipes use."""

    def load(self, run: Run, batch: int, kept: BatchRecord | None) -> list[ROW]:
        """Read what the batch needs; rows that `kept` has as done are not made again."""

    def compute(self, run: Run, loaded: list[ROW]) -> list[ROW]:
        """The device's part; called by one thread at a time."""

    def save(self, run: Run, computed: list[ROW]) -> Results:
        """Encode and upload; gives a result for every row."""

    def failed(self, run: Run, batch: int, error: PosemillError) -> Results:
        """A failed result for every row of the batch."""

    def made_with(self, run: Run) -> dict[str, Any]:
        """Specification, device and versions, for the record."""


class StageWorker:
    """Takes one stage's batches through all steps."""

    def __init__(
        self,
        work: BatchWork[Any],
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
        self._draining = False
        self.debts = Debts()
        self.finished = 0  # batches, for the heartbeat
        self.stepped = time.monotonic()  # the last step of any batch, for the heartbeat

    def do(self, run_id: str, batch: int) -> None:
        """Work on a batch if it can be claimed; a message for a batch that cannot is dropped."""
        stage = self._work.stage
        extra = {"run_id": run_id, "stage": stage, "batch": batch}
        self.debts.pay()
        claim = self._ledger.claim(run_id, stage, batch, self._settings.lease_seconds)
        self._step()
        if claim.verdict is not Verdict.CLAIMED:
            log.info("Nothing to do: the batch is %s", claim.verdict, extra=extra)
            return
        with self._keeper.hold(Lease(run_id, stage, batch, claim.fence)) as lease:
            try:
                self._attempt(lease, claim.attempt)
            except LeaseLost:
                log.warning("The batch was taken over, or its run cancelled; the work here is dropped", extra=extra)
                self._ledger.release(run_id, stage, batch, claim.fence, refund=True)  # nothing if taken over
            except Draining:
                self._ledger.release(run_id, stage, batch, claim.fence, refund=True)
            except RunFault as error:
                self._pause(lease, error)
            except TransientError as error:
                log.warning("Put off: %s", error, extra=extra)
                self._put_off(lease, claim.attempt, error)
            except redis.RedisError as error:  # the lease may run out before Redis is back
                log.warning("Redis cannot be used: %s", error, extra=extra)
                self.debts.settle(
                    partial(
                        self._ledger.release, run_id, stage, batch, claim.fence,
                        delay_seconds=retry_delay(1), refund=True, error=in_words(error), overdue=True,
                    )
                )  # fmt: skip
            except Exception as error:  # the task boundary: whatever it was, the batch goes back in line
                log.warning("Attempt %d failed: %s", claim.attempt, in_words(error), extra=extra, exc_info=True)
                delay_seconds = retry_delay(claim.attempt)
                self._ledger.release(
                    run_id, stage, batch, claim.fence, delay_seconds=delay_seconds, error=in_words(error)
                )

    @property
    def resident(self) -> list[str]:
        """The detectors or models in memory, for the heartbeat."""
        return self._work.resident

    def drain(self) -> None:
        """Start nothing more on the device; batches that have not reached it are handed back."""
        self._draining = True

    def hand_back(self) -> None:
        """Give every held batch back at once; its attempt does not count."""
        for lease in self._keeper.held:
            self._ledger.release(lease.run_id, lease.stage, lease.batch, lease.fence, refund=True)

    def _attempt(self, lease: Lease, attempt: int) -> None:
        run = self._slices.run(lease.run_id)
        standing = self._standing(lease) if attempt > 1 else None
        if standing:
            self._count(standing)
            return
        try:
            if attempt <= self._settings.max_attempts:
                results = self._make(lease, run)
            else:
                results = self._make_alone(lease, run, attempt)
        except PermanentError as error:
            results = self._work.failed(run, lease.batch, error)
        self._commit(lease, attempt, run, results)

    def _make(self, lease: Lease, run: Run) -> Results:
        loaded = self._work.load(run, lease.batch, self._kept(lease))
        return self._make_rows(lease, run, loaded)

    def _make_rows(self, lease: Lease, run: Run, loaded: list[Any]) -> Results:
        self._step()
        with self._device:
            if self._draining:
                raise Draining
            lease.require()
            computed = self._work.compute(run, loaded)
        self._step()
        lease.require()
        return self._work.save(run, computed)

    def _make_alone(self, lease: Lease, run: Run, attempt: int) -> Results:
        """Row by row, so that one that kills its worker or cannot be made takes no neighbour along."""
        last = self._ledger.last_error(lease.run_id, lease.stage, lease.batch) or "its worker died without a word"
        failed = self._work.failed(run, lease.batch, PermanentError(f"given up after {attempt - 1} attempts; {last}"))
        if attempt > self._settings.max_attempts + ROW_TRIES * len(failed) + 1:
            return failed
        loaded = self._work.load(run, lease.batch, self._kept(lease))
        results: list[Any] = []
        for row, entry in enumerate(loaded):
            results += self._make_row(lease, run, row, entry) or [failed[row]]
        return results

    def _make_row(self, lease: Lease, run: Run, row: int, entry: Any) -> Results:
        """The row's result; nothing when it has had its tries."""
        place = (lease.run_id, lease.stage, lease.batch, row)
        if self._ledger.begin_row(*place) > ROW_TRIES:
            return []
        try:
            results = self._make_rows(lease, run, [entry])
        except (LeaseLost, Draining, RunFault, TransientError, redis.RedisError):
            self.debts.settle(partial(self._ledger.end_row, *place))
            raise
        except Exception as error:  # alone, it is this row's own
            extra = {"run_id": lease.run_id, "stage": lease.stage, "batch": lease.batch}
            log.warning("Row %d failed alone: %s", row, in_words(error), extra=extra, exc_info=True)
            results = self._work.failed(run, lease.batch, PermanentError(in_words(error)))[row : row + 1]
        self.debts.settle(partial(self._ledger.end_row, *place))
        return results

    def _put_off(self, lease: Lease, attempt: int, error: TransientError) -> None:
        """Try again later; the attempt does not count, but the delays do."""
        delays = self._ledger.count_delay(lease.run_id, lease.stage, lease.batch)
        if delays <= self._settings.max_delays:
            self._ledger.release(
                lease.run_id, lease.stage, lease.batch, lease.fence,
                delay_seconds=retry_delay(delays), refund=True, error=str(error),
            )  # fmt: skip
            return
        run = self._slices.run(lease.run_id)
        given_up = PermanentError(f"given up after {delays - 1} delays; the last one: {error}")
        self._commit(lease, attempt, run, self._work.failed(run, lease.batch, given_up))

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
        self._count(write_record(self._store, record))

    def _standing(self, lease: Lease) -> BatchRecord | None:
        """The batch's record, where an earlier attempt wrote it and died before it was counted."""
        try:
            content = self._store.get(RunKeys(lease.run_id).record(lease.stage, lease.batch))
        except NotFound:
            return None
        return decode(content, BatchRecord)

    def _count(self, standing: BatchRecord) -> None:
        self._ledger.commit(standing.run_id, standing.stage, standing.batch, standing.counts)
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


def in_words(error: Exception) -> str:
    return str(error) if isinstance(error, PosemillError) else f"{type(error).__name__}: {error}"

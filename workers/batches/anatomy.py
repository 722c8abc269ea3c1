"""The anatomy that all stages share: claim, load, compute, save, commit.

Loading and saving of one batch overlap the computing of another; `compute` alone holds the device.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import redis

from posemill.contract.records import BatchRecord, Run
from posemill.errors import LeaseLost, PermanentError, RunFault, in_words
from posemill.queue.ledger import Claim, History, Ledger, OnDevice, Verdict
from posemill.queue.run_states import pause_for_fault
from posemill.settings import Settings
from posemill.storage.record_writing import write_record
from posemill.storage.run_documents import read_record
from posemill.storage.store import Store
from workers.batches.attempts import (
    Draining,
    HandBack,
    Manner,
    hand_back,
    is_device_lost,
    is_hopeless,
    manner_of,
    retry_delay,
)
from workers.batches.batch_work import BatchWork, Results, read_set_aside
from workers.batches.hub_patience import HubPatience
from workers.batches.leases import Lease, LeaseKeeper
from workers.batches.pending_calls import PendingCalls
from workers.batches.plan_reader import Slices
from workers.batches.row_process import RowProcess
from workers.batches.single_rows import SingleRows

log = logging.getLogger(__name__)

LOST_DEVICE_STATUS = 75  # EX_TEMPFAIL: start it again


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
        row_process: RowProcess,
        device: AbstractContextManager[object] | None = None,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """`device`: the lock around it, where workers of several stages share one process."""
        self._work = work
        self._worker = worker
        self._store = store
        self._ledger = ledger
        self._slices = slices
        self._keeper = keeper
        self._settings = settings
        self._row_process = row_process
        self._end = end
        self._device = device or threading.Lock()
        self._draining = False
        self._hub = HubPatience(settings.stuck_seconds)
        self.pending = PendingCalls()
        self.finished = 0  # batches, for the heartbeat
        self.stepped = time.monotonic()  # the last step of any batch, for the heartbeat

    def do(self, run_id: str, batch: int) -> None:
        """Work on a batch if it can be claimed; a message for a batch that cannot is dropped."""
        extra = {"run_id": run_id, "stage": self._work.stage, "batch": batch}
        self.pending.flush()
        try:
            claim = self._ledger.claim(run_id, self._work.stage, batch, self._settings.lease_seconds)
        except redis.RedisError as error:
            log.warning("The batch cannot be claimed: %s", error, extra=extra)
            return  # its message is sent again, or its lease runs out
        self._step()
        if claim.verdict is not Verdict.CLAIMED:
            log.info("Nothing to do: the batch is %s", claim.verdict, extra=extra)
            return
        with self._keeper.hold(Lease(run_id, self._work.stage, batch, claim.fence)) as lease:
            self._try(lease, claim)

    @property
    def resident(self) -> list[str]:
        """The detectors or models in memory, for the heartbeat."""
        return self._work.resident

    def flush(self) -> None:
        """Tell the ledger what it is owed."""
        self.pending.flush()

    def drain(self) -> None:
        """Start nothing more on the device; batches that have not reached it are handed back.

        Whatever ends this process from now on says nothing about the batch that is on the device. Called by a signal's
        handler, which a second signal may interrupt: what takes a lock is left to another thread.
        """
        self._draining = True
        threading.Thread(target=self._clear_device, daemon=True).start()

    def hand_back(self) -> None:
        """Give every held batch back at once."""
        for lease in self._keeper.held:
            self._release(lease, HandBack())

    def _try(self, lease: Lease, claim: Claim) -> None:
        """One attempt; nothing leaves it, for an error here would reach Celery."""
        extra = {"run_id": lease.run_id, "stage": lease.stage, "batch": lease.batch}
        try:
            self._attempt(lease, claim)
        except (LeaseLost, Draining) as error:
            log.warning("The work on the batch is dropped: %s", in_words(error), extra=extra)
            self._release(lease, hand_back(error, claim.history))
        except RunFault as error:
            self._release(lease, HandBack(error=in_words(error)))
            self.pending.make(partial(pause_for_fault, self._store, self._ledger, lease.run_id, str(error)))
        except redis.RedisError as error:
            log.warning("Redis cannot be used: %s", error, extra=extra)
            self._release(lease, HandBack(delay_seconds=retry_delay(1), error=in_words(error)))
        except Exception as error:  # the task boundary: whatever it was, the batch goes back in line
            log.warning("Claim %d: %s", claim.history.claims, in_words(error), extra=extra, exc_info=True)
            self._release(lease, hand_back(error, claim.history))
            if is_device_lost(error):
                log.critical("This worker ends itself: its device is lost", extra=extra)
                self.hand_back()
                self._end(LOST_DEVICE_STATUS)

    def _attempt(self, lease: Lease, claim: Claim) -> None:
        run = self._slices.run(lease.run_id, claim.submission)
        standing = read_record(self._store, lease.run_id, lease.stage, lease.batch)
        if standing:  # its writer could not count it
            self._count(run, standing)
            return
        if is_hopeless(claim.history, self._settings):
            raise RunFault(f"{lease.stage} batch {lease.batch} cannot be made nor failed: {claim.history.error}")
        manner = manner_of(claim.history, self._settings)
        run = self._hub.asked(lambda: self._work.pinned(run, lease.batch))
        try:
            results = self._make(lease, run, claim.history, manner)
        except PermanentError as error:
            results = self._work.failed(run, lease.batch, error)
        isolated = self._row_process.made_with if manner is Manner.ISOLATED else {}
        self._commit(lease, run, claim.history, results, isolated or self._work.made_with(run))

    def _make(self, lease: Lease, run: Run, history: History, manner: Manner) -> Results:
        kept = read_set_aside(self._store, lease.run_id, lease.stage, lease.batch)
        if manner is Manner.TOGETHER:
            loaded = self._work.load(run, lease.batch, kept)
            self._fetch(lease, run, loaded)
            computed = self._compute(lease, run, loaded)
            return self._work.save(run, computed)
        self._fetch(lease, run, None)
        rows = SingleRows(self._work, run, lease.batch, history, self._settings, watch=partial(self._watch, lease))
        if manner is Manner.ROW_BY_ROW:
            return rows.make_here(kept, partial(self._compute, lease, run))
        with self._on_device(lease, alone=True):
            self._work.unload()
            return rows.make_isolated(self._row_process, self._ledger)

    def _fetch(self, lease: Lease, run: Run, loaded: list[Any] | None) -> None:
        """Before the device is taken, however long it lasts: each look at it is a step."""
        self._hub.asked(lambda: self._work.fetch(run, loaded, partial(self._watch, lease)))

    def _compute(self, lease: Lease, run: Run, loaded: list[Any]) -> list[Any]:
        with self._on_device(lease, alone=False):
            computed = self._work.compute(run, loaded)
        self._step()
        lease.require()
        return computed

    def _watch(self, lease: Lease) -> None:
        """Called again and again while single rows are made. Raises LeaseLost and Draining."""
        self._step()
        if self._draining:
            raise Draining
        lease.require()

    @contextmanager
    def _on_device(self, lease: Lease, *, alone: bool) -> Iterator[None]:
        """Hold the device for a batch, and note it there for as long: begun after the lock, so that none that waits
        for it is taken for the one that ended this process."""
        self._step()
        with self._device:
            self._watch(lease)
            self._note_device(lease, alone=alone)
            try:
                yield
            except Exception:
                self._clear_device()
                raise
            self._clear_device()

    def _step(self) -> None:
        self.stepped = time.monotonic()

    def _note_device(self, lease: Lease, *, alone: bool) -> None:
        """Evidence, should this process die now. Without Redis there is none, and then nothing is charged."""
        note = OnDevice(run_id=lease.run_id, stage=lease.stage, batch=lease.batch, fence=lease.fence, alone=alone)
        try:
            self._ledger.note_device(self._worker, note, seconds=2 * self._settings.stuck_seconds)
        except redis.RedisError as error:
            log.info("What is on the device is not noted: %s", error)

    def _clear_device(self) -> None:
        self.pending.make(partial(self._ledger.clear_device, self._worker))

    def _release(self, lease: Lease, how: HandBack) -> None:
        self.pending.make(
            partial(
                self._ledger.release, lease.run_id, lease.stage, lease.batch, lease.fence,
                delay_seconds=how.delay_seconds, failed=how.failed, put_off=how.put_off, error=how.error,
            )
        )  # fmt: skip

    def _commit(self, lease: Lease, run: Run, history: History, results: Results, made_with: dict[str, Any]) -> None:
        """Write the record unless one stands already, then count the one that stands."""
        try:
            self._keeper.confirm(lease)
        except redis.RedisError as error:  # the record itself is guarded by storage: the first writer wins
            log.warning("The lease cannot be confirmed: %s", error, extra={"run_id": lease.run_id})
        lease.require()
        record = BatchRecord(
            run_id=lease.run_id,
            stage=lease.stage,
            batch=lease.batch,
            attempt=history.claims,
            worker=self._worker,
            finished_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            made_with=made_with,
            results=results,
        )
        self._count(run, write_record(self._store, record))

    def _count(self, run: Run, standing: BatchRecord) -> None:
        self._work.recorded(run, standing)
        self.pending.make(
            partial(self._ledger.commit, standing.run_id, standing.stage, standing.batch, standing.counts)
        )
        self.finished += 1
        self._step()

"""A handle on a submitted run: watch it, steer it, wait for it."""

import logging
import time
from collections.abc import Callable, Iterator

import msgspec
import redis

from posemill.contract.keys import RunKeys, Stage, checked_run_id
from posemill.contract.records import (
    BatchRecord,
    Outcome,
    Plan,
    RefusedRow,
    Result,
    Run,
    RunState,
    decode_lines,
)
from posemill.contract.rounds import RoundProgress, layout_of, round_progress
from posemill.contract.stages import LAST_STAGE, outcome_stages
from posemill.errors import NotFound, NotOver, RunPaused, TransientError, UnreadableRecord
from posemill.queue.ledger import ENDED, Ledger
from posemill.queue.opening import open_pair
from posemill.queue.progress import Snapshot
from posemill.queue.rebuild import know_as_stored, read_flagged, rebuild, recall
from posemill.queue.run_states import finish_retry, retry, write_state
from posemill.settings import Settings, load_settings
from posemill.storage.run_documents import read_plan, read_rounds, read_run, read_state
from posemill.storage.store import Store
from producer.runs.pace import rate, remaining_seconds
from producer.runs.source_changes import UNCHANGED, SourceChanges
from producer.runs.turns import submitting

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one moment."""

    snapshot: Snapshot
    remaining_seconds: float | None
    images_a_second: float | None = None  # lately; None while nobody knows

    @property
    def failed(self) -> int:
        """Rows of the last stage that failed and rows that were refused."""
        return self.snapshot.last.failed + self.snapshot.refused_rows


class RunHandle:
    """One run in storage and ledger."""

    def __init__(self, run_id: str, *, store: Store, ledger: Ledger, changes: SourceChanges = UNCHANGED) -> None:
        self.changes = changes  # at the sources, since this run was planned; looked for by `submit` alone
        self.id = checked_run_id(run_id)
        self.store = store
        self.ledger = ledger

    @property
    def run(self) -> Run:
        """As it was frozen. Raises NotFound."""
        return read_run(self.store, self.id)

    @property
    def plan(self) -> Plan:
        """Raises RunConflict while the submission is unfinished."""
        return read_plan(self.store, self.id)

    def status(self) -> Status:
        """As storage has it: what the ledger says of an earlier run under this id counts for nothing.

        Raises NotFound when storage or the ledger does not know the run.
        """
        if self.ledger.state(self.id) is None:
            if not recall(self.store, self.ledger, self.id):  # Redis forgets runs that have ended after a month
                raise NotFound(f"Redis does not know run {self.id!r}, but storage has it: `posemill resume {self.id}`")
            return self._counted()
        know_as_stored(self.store, self.ledger, self.id)
        return self._counted()

    def _counted(self) -> Status:
        snapshot = self.ledger.snapshot(self.id)
        if snapshot is None:
            raise TransientError(f"Redis lost run {self.id!r} at this moment; ask again")
        pace = self.ledger.pace(self.id)
        return Status(
            snapshot=snapshot,
            remaining_seconds=remaining_seconds(snapshot, pace),
            images_a_second=rate(pace, snapshot.last_stage),
        )

    def rounds(self) -> list[RoundProgress]:
        """How far each round of a run is whose images are judged; none for others. Raises as `run` and `plan` do."""
        run = self.run
        if run.verify is None:
            return []
        steps = read_rounds(self.store, run)
        return round_progress(
            layout_of(run, self.plan, LAST_STAGE, steps), steps, self.ledger.done_batches(self.id, LAST_STAGE)
        )

    def wait(self, *, timeout_seconds: float | None = None, report: Callable[[Status], None] | None = None) -> Status:
        """Block until the run has ended. While Redis or storage is away it waits; a ledger lost is rebuilt.

        Raises NotOver after timeout_seconds, and RunPaused when a fault has paused the run.
        """
        deadline = time.monotonic() + timeout_seconds if timeout_seconds is not None else None
        seen: Snapshot | None = None
        while True:
            try:
                status = self._look(seen)
                seen = status.snapshot
            except (redis.ConnectionError, redis.TimeoutError, TransientError) as error:
                log.warning("Cannot look at the run now: %s", error, extra={"run_id": self.id})
                status = None
            if status and report:
                report(status)
            if status and status.snapshot.state in ENDED:
                return status
            if status and status.snapshot.state is RunState.PAUSED and status.snapshot.reason:
                raise RunPaused(
                    f"run {self.id!r} is paused: {status.snapshot.reason}; then `posemill unpause {self.id}`"
                )
            if deadline is not None and time.monotonic() > deadline:
                raise NotOver(f"run {self.id!r} has not ended after {timeout_seconds:g} s; it goes on")
            time.sleep(POLL_SECONDS)

    def _look(self, seen: Snapshot | None) -> Status:
        """Storage is asked at the first look, and before the end is believed: a run may be deleted meanwhile."""
        state = self.ledger.state(self.id)
        if seen is None or state is None or state in ENDED:
            know_as_stored(self.store, self.ledger, self.id)
        return self._counted()

    # steering -----------------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Rebuild the ledger from storage and go on; also ends a pause, takes a cancellation back, ends a retry."""
        read_plan(self.store, read_run(self.store, self.id).id)
        with submitting(self.store, self.id):
            self._go_on()

    def _go_on(self) -> None:
        state = read_state(self.store, self.id).state
        if state is RunState.RETRYING:
            finish_retry(self.store, self.ledger, self.id)
            return
        if state is not RunState.RUNNING:
            write_state(self.store, self.id, RunState.RUNNING)
        rebuild(self.store, self.ledger, self.id)

    def cancel(self) -> None:
        """Stop for good; what is done stays. Workers notice within seconds. Works on a run that cannot be read.

        A run that is complete stays so.
        """
        self._change(RunState.CANCELLED)

    def pause(self) -> None:
        """Stop sending batches; those on their way are finished."""
        self._change(RunState.PAUSED)

    def unpause(self) -> None:
        """Go on after a pause, the user's or a fault's."""
        self._change(RunState.RUNNING)

    def retry(self) -> int:
        """Put the batches with failed rows in line again; their done rows are kept. Gives how many rows failed."""
        with submitting(self.store, self.id):
            return retry(self.store, self.ledger, self.id)

    # looking ------------------------------------------------------------------------------------------------------

    def flagged(self, stage: Stage) -> Iterator[BatchRecord]:
        """Records that hold rejected or failed rows."""
        yield from read_flagged(self.store, self.run, stage)

    def failures(self) -> Iterator[RefusedRow | Result]:
        """All that was refused, rejected or failed: rows, then each stage's."""
        for info in self.store.list(RunKeys(self.id).refused_rows):
            yield from decode_lines(self.store.get(info.key), RefusedRow)
        for stage in outcome_stages(self.run.stages):
            for record in self.flagged(stage):
                yield from (result for result in record.results if result.outcome in (Outcome.REJECTED, Outcome.FAILED))

    def _change(self, state: RunState) -> None:
        for key, explain in ((RunKeys(self.id).run, read_run), (RunKeys(self.id).sealed, read_plan)):
            if self.store.head(key) is None:
                explain(self.store, self.id)  # raises what is wrong
        try:
            know_as_stored(self.store, self.ledger, self.id)
        except UnreadableRecord:
            if state is not RunState.CANCELLED:
                raise
        if self.ledger.state(self.id) is RunState.COMPLETE:
            return  # there is nothing left to stop, and what was made stays whole
        write_state(self.store, self.id, state)
        self.ledger.set_state(self.id, state)


def open_handle(run_id: str, settings: Settings | None = None) -> RunHandle:
    """A handle on a run that exists already."""
    store, ledger = open_pair(settings or load_settings())
    return RunHandle(run_id, store=store, ledger=ledger)


def run_ids(store: Store) -> list[str]:
    """All runs in storage, by id."""
    return sorted(name.removeprefix("runs/").rstrip("/") for name in store.folders("runs/"))

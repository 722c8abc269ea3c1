"""Makes a run's ledger again from storage alone: one listing of records, one of flags, and the flagged records."""

import msgspec

from posemill.contract.keys import RunKeys, Stage, batch_of
from posemill.contract.records import BatchRecord, Outcome, Plan, Run, RunState, StateChange, decode
from posemill.errors import UnreadableRecord
from posemill.queue.ledger import Ledger
from posemill.queue.progress import StageProgress
from posemill.storage.run_documents import read_plan, read_run, read_state, submission_digest, unreadable
from posemill.storage.store import Store, get_many


def know_as_stored(store: Store, ledger: Ledger, run_id: str) -> None:
    """Rebuild the ledger unless it knows the very submission that storage holds.

    A run can be deleted and submitted again under the same id, and its ledger outlives it. Raises NotFound, RunConflict
    and UnreadableRecord.
    """
    if ledger.submission(run_id) != submission_digest(store, run_id):
        rebuild(store, ledger, run_id)


class StoredRun(msgspec.Struct, frozen=True, kw_only=True):
    """How far a run is by what storage holds of it."""

    plan: Plan
    progress: dict[Stage, StageProgress]
    wish: StateChange
    submission: str  # its digest

    @property
    def end(self) -> RunState | None:
        """What it ended as; None while it is not over."""
        if self.wish.state is RunState.CANCELLED:
            return RunState.CANCELLED
        is_whole = all(self.progress[stage].batches_done == planned for stage, planned in self.plan.batches.items())
        return RunState.COMPLETE if is_whole and self.wish.state is RunState.RUNNING else None


def read_stored(store: Store, run_id: str) -> StoredRun:
    """Raises NotFound, RunConflict while the submission is unfinished, and UnreadableRecord."""
    submission = submission_digest(store, run_id)
    run, plan = read_run(store, run_id), read_plan(store, run_id)
    progress = {stage: read_progress(store, run, plan, stage) for stage in Stage}
    return StoredRun(plan=plan, progress=progress, wish=read_state(store, run_id), submission=submission)


def rebuild(store: Store, ledger: Ledger, run_id: str) -> None:
    """Replace what the ledger knows of a run by what storage says; safe while workers work on it."""
    _restore(ledger, run_id, read_stored(store, run_id))


def recall(store: Store, ledger: Ledger, run_id: str) -> bool:
    """Make the ledger know a run again that has ended; False, and nothing is done, where it is not over."""
    stored = read_stored(store, run_id)
    if stored.end is None:
        return False
    _restore(ledger, run_id, stored, state=stored.end)
    return True


def _restore(ledger: Ledger, run_id: str, stored: StoredRun, *, state: RunState | None = None) -> None:
    ledger.restore(
        run_id,
        stored.plan,
        stored.progress,
        state or stored.wish.state,
        stored.wish.reason,
        submission=stored.submission,
    )


def read_progress(store: Store, run: Run, plan: Plan, stage: Stage) -> StageProgress:
    """What storage says of a stage of a run."""
    keys, slicing = RunKeys(run.id), run.slicing[stage]
    bitmap = bytearray(-(-plan.batches[stage] // 8))
    batches_done = rows_done = 0
    for info in store.list(keys.records(stage)):
        batch = batch_of(info.key)
        bitmap[batch // 8] |= 0x80 >> batch % 8
        batches_done += 1
        rows_done += slicing.rows_in(batch, plan.rows[stage])
    counts = {Outcome.DONE: rows_done, Outcome.REJECTED: 0, Outcome.FAILED: 0}
    for record in flagged_records(store, run.id, stage, bitmap):
        for outcome in (Outcome.REJECTED, Outcome.FAILED):
            counts[outcome] += record.counts[outcome]
            counts[Outcome.DONE] -= record.counts[outcome]
    return StageProgress(done=bytes(bitmap), batches_done=batches_done, counts=counts)


def flagged_records(store: Store, run_id: str, stage: Stage, done: bytes | bytearray) -> list[BatchRecord]:
    """Records of the done batches that hold rejected or failed rows. Raises UnreadableRecord."""
    keys = RunKeys(run_id)
    flagged = [batch_of(info.key) for info in store.list(keys.flags(stage))]
    written = [keys.record(stage, batch) for batch in flagged if done[batch // 8] & (0x80 >> batch % 8)]
    return [_record(store, key, content) for key, content in zip(written, get_many(store, written), strict=True)]


def _record(store: Store, key: str, content: bytes) -> BatchRecord:
    try:
        return decode(content, BatchRecord)
    except UnreadableRecord as error:
        raise unreadable(store, key, error) from error

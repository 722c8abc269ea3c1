"""Makes a run's ledger again from storage alone: one listing of records, one of flags, and the flagged records."""

import msgspec

from posemill.contract.keys import RunKeys, Stage, batch_of
from posemill.contract.records import BatchRecord, Outcome, Plan, Run, RunState, StateChange, decode
from posemill.contract.rounds import PlanLayout, layouts_of
from posemill.errors import UnreadableRecord
from posemill.queue.ledger import Ledger
from posemill.queue.progress import StageProgress
from posemill.storage.rounds import is_closed
from posemill.storage.run_documents import (
    read_plan,
    read_rounds,
    read_run,
    read_state,
    submission_digest,
    unreadable,
)
from posemill.storage.store import Store, get_many

NOT_DONE = tuple(outcome for outcome in Outcome if outcome is not Outcome.DONE)


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
    is_closed: bool  # nothing will be added to the plan any more
    wish: StateChange
    submission: str  # its digest

    @property
    def end(self) -> RunState | None:
        """What it ended as; None while it is not over."""
        if self.wish.state is RunState.CANCELLED:
            return RunState.CANCELLED
        is_whole = self.is_closed and all(
            found.batches_done == found.layout.batches for found in self.progress.values()
        )
        return RunState.COMPLETE if is_whole and self.wish.state is RunState.RUNNING else None


def read_stored(store: Store, run_id: str) -> StoredRun:
    """Raises NotFound, RunConflict while the submission is unfinished, and UnreadableRecord."""
    submission = submission_digest(store, run_id)
    run, plan = read_run(store, run_id), read_plan(store, run_id)
    steps = read_rounds(store, run)
    layouts = layouts_of(run, plan, steps)
    return StoredRun(
        plan=plan,
        progress={stage: read_progress(store, run_id, stage, layout) for stage, layout in layouts.items()},
        is_closed=is_closed(store, run, plan, steps),
        wish=read_state(store, run_id),
        submission=submission,
    )


def read_layouts(store: Store, run: Run, plan: Plan) -> dict[Stage, PlanLayout]:
    """Where the rows of each stage's plan stand by now."""
    return layouts_of(run, plan, read_rounds(store, run))


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


def read_progress(store: Store, run_id: str, stage: Stage, layout: PlanLayout) -> StageProgress:
    """What storage says of a stage of a run."""
    bitmap = bytearray(-(-layout.end // 8))
    batches_done = rows_done = 0
    for info in store.list(RunKeys(run_id).records(stage)):
        batch = batch_of(info.key)
        if batch >= layout.end:
            continue  # of a shard that was added after the steps were read
        bitmap[batch // 8] |= 0x80 >> batch % 8
        batches_done += 1
        rows_done += layout.rows_in(batch)
    counts = dict.fromkeys(Outcome, 0) | {Outcome.DONE: rows_done}
    for record in flagged_records(store, run_id, stage, bitmap):
        for outcome in NOT_DONE:
            counts[outcome] += record.counts[outcome]
            counts[Outcome.DONE] -= record.counts[outcome]
    for numbers in layout.unused():
        for batch in numbers:
            bitmap[batch // 8] |= 0x80 >> batch % 8
    return StageProgress(layout=layout, done=bytes(bitmap), batches_done=batches_done, counts=counts)


def read_flagged(store: Store, run: Run, stage: Stage) -> list[BatchRecord]:
    """Records of a stage that hold rows which are not done. Raises UnreadableRecord."""
    layout = read_layouts(store, run, read_plan(store, run.id))[stage]
    return flagged_records(store, run.id, stage, read_progress(store, run.id, stage, layout).done)


def flagged_records(store: Store, run_id: str, stage: Stage, done: bytes | bytearray) -> list[BatchRecord]:
    """Records of the done batches that hold rejected or failed rows. Raises UnreadableRecord."""
    keys = RunKeys(run_id)
    flagged = [batch for info in store.list(keys.flags(stage)) if (batch := batch_of(info.key)) < 8 * len(done)]
    written = [keys.record(stage, batch) for batch in flagged if done[batch // 8] & (0x80 >> batch % 8)]
    return [_record(store, key, content) for key, content in zip(written, get_many(store, written), strict=True)]


def _record(store: Store, key: str, content: bytes) -> BatchRecord:
    try:
        return decode(content, BatchRecord)
    except UnreadableRecord as error:
        raise unreadable(store, key, error) from error

"""Makes a run's ledger again from storage alone: one listing of records, one of flags, and the flagged records."""

import msgspec

from posemill.errors import NotFound, RunConflict
from posemill.ledger import Ledger
from posemill.names import RunKeys, Stage, batch_of
from posemill.records import BatchRecord, Outcome, Plan, Run, RunState, StateChange, decode
from posemill.storage import Store, get_many


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A stage's progress as storage proves it."""

    done: bytes  # bitmap by batch number, most significant bit first, as Redis keeps it
    batches_done: int
    counts: dict[Outcome, int]


def read_run(store: Store, run_id: str) -> Run:
    try:
        return decode(store.get(RunKeys(run_id).run), Run)
    except NotFound as error:
        raise NotFound(f"{store.url} holds no run {run_id!r}; `posemill runs` lists them") from error


def read_plan(store: Store, run_id: str) -> Plan:
    try:
        return decode(store.get(RunKeys(run_id).sealed), Plan)
    except NotFound as error:
        raise RunConflict(
            f"run {run_id!r} was not submitted to the end; submit the same recipe again with --run-id {run_id}"
        ) from error


def read_state(store: Store, run_id: str) -> StateChange:
    try:
        return decode(store.get(RunKeys(run_id).state), StateChange)
    except NotFound:
        return StateChange(state=RunState.RUNNING)


def rebuild(store: Store, ledger: Ledger, run_id: str) -> None:
    """Replace what the ledger knows of a run by what storage says; safe while workers work on it."""
    run, plan = read_run(store, run_id), read_plan(store, run_id)
    ledger.open(run_id, plan)
    for stage in Stage:
        progress = read_progress(store, run, plan, stage)
        ledger.restore(run_id, stage, progress.done, progress.counts, progress.batches_done)
    change = read_state(store, run_id)
    ledger.set_state(run_id, change.state, change.reason)


def read_progress(store: Store, run: Run, plan: Plan, stage: Stage) -> Progress:
    keys, slicing = RunKeys(run.id), run.slicing[stage]
    bitmap = bytearray(-(-plan.batches(stage) // 8))
    batches_done = rows_done = 0
    for info in store.list(keys.records(stage)):
        batch = batch_of(info.key)
        bitmap[batch // 8] |= 0x80 >> batch % 8
        batches_done += 1
        rows_done += slicing.rows_in(batch, plan.rows(stage))
    counts = {Outcome.DONE: rows_done, Outcome.REJECTED: 0, Outcome.FAILED: 0}
    for record in flagged_records(store, run.id, stage, bitmap):
        for outcome in (Outcome.REJECTED, Outcome.FAILED):
            counts[outcome] += record.counts[outcome]
            counts[Outcome.DONE] -= record.counts[outcome]
    return Progress(done=bytes(bitmap), batches_done=batches_done, counts=counts)


def flagged_records(store: Store, run_id: str, stage: Stage, done: bytes | bytearray) -> list[BatchRecord]:
    """Records of the done batches that hold rejected or failed rows."""
    keys = RunKeys(run_id)
    flagged = [batch_of(info.key) for info in store.list(keys.flags(stage))]
    written = [keys.record(stage, batch) for batch in flagged if done[batch // 8] & (0x80 >> batch % 8)]
    return [decode(content, BatchRecord) for content in get_many(store, written)]

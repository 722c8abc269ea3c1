"""Changes of a run's state: each is written to storage first, so that it survives whoever makes it."""

import logging

from posemill.contract.keys import RunKeys, Stage, batch_of
from posemill.contract.records import BatchRecord, Outcome, RunState, StateChange, encode
from posemill.contract.stages import outcome_stages
from posemill.errors import PosemillError
from posemill.queue.ledger import Ledger
from posemill.queue.rebuild import read_flagged, rebuild
from posemill.storage.run_documents import read_document, read_plan, read_run, read_state
from posemill.storage.store import Store

log = logging.getLogger(__name__)


def write_state(store: Store, run_id: str, state: RunState, reason: str = "") -> None:
    """Say in storage what a run is from now on."""
    change = StateChange(state=state, reason=reason)
    store.put(RunKeys(run_id).state, encode(change), content_type="application/json")


def pause_for_fault(store: Store, ledger: Ledger, run_id: str, reason: str) -> None:
    """The run itself is at fault: stop it with the reason, unless it has ended or is cancelled."""
    if not ledger.pause(run_id, reason):
        return
    log.error("The run is paused: %s", reason, extra={"run_id": run_id})
    try:
        write_state(store, run_id, RunState.PAUSED, reason)
    except PosemillError as error:
        log.warning("Storage does not take the reason of the pause, the ledger has it: %s", error)


def retry(store: Store, ledger: Ledger, run_id: str) -> int:
    """Put batches with failed rows in line again; their done rows are kept. Gives how many failed rows go out.

    The wish is written down first: whoever dies on the way, the dispatcher or the next command ends it.
    """
    if read_state(store, run_id).state is not RunState.RETRYING and not _has_failed(store, run_id):
        return 0
    ledger.set_state(run_id, RunState.RETRYING)
    write_state(store, run_id, RunState.RETRYING)
    return finish_retry(store, ledger, run_id)


def finish_retry(store: Store, ledger: Ledger, run_id: str) -> int:
    """Set aside every record with failed rows, then go on with the run. Safe to repeat, and beside another one."""
    run, failed = read_run(store, run_id), 0
    for stage in reversed(
        run.stages
    ):  # a judge's record before what it judged: a death in between leaves no old verdict
        for record in read_flagged(store, run, stage):
            if record.counts[Outcome.FAILED]:
                _set_aside(store, record)
        failed += _failed_and_set_aside(store, run_id, stage) if stage in outcome_stages(run.stages) else 0
    if read_state(store, run_id).state is RunState.RETRYING:
        write_state(store, run_id, RunState.RUNNING)
    rebuild(store, ledger, run_id)
    return failed


def _has_failed(store: Store, run_id: str) -> bool:
    run = read_run(store, run_id)
    read_plan(store, run_id)
    return any(record.counts[Outcome.FAILED] for stage in run.stages for record in read_flagged(store, run, stage))


def _set_aside(store: Store, record: BatchRecord) -> None:
    """The record's done rows are kept by the next attempt; in this order, a death in between loses nothing."""
    keys = RunKeys(record.run_id)
    store.put(keys.superseded(record.stage, record.batch), encode(record), content_type="application/json")
    store.delete(keys.record(record.stage, record.batch))
    store.delete(keys.flag(record.stage, record.batch))


def _failed_and_set_aside(store: Store, run_id: str, stage: Stage) -> int:
    """Failed rows of the records that were set aside and have no successor yet."""
    keys, failed = RunKeys(run_id), 0
    for info in store.list(keys.set_aside(stage)):
        if store.head(keys.record(stage, batch_of(info.key))) is None:
            failed += read_document(store, info.key, BatchRecord).counts[Outcome.FAILED]
    return failed

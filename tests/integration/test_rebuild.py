"""What a rebuild, a recall and a retry make of what storage holds."""

from collections.abc import Callable
from typing import Any

import pytest

from posemill.contract.keys import RunKeys, Stage, StageKeys
from posemill.contract.records import BatchRecord, Outcome, RunState, SourceResult, encode
from posemill.errors import UnreadableRecord
from posemill.queue.ledger import Ledger, Verdict
from posemill.queue.rebuild import know_as_stored, read_stored, rebuild, recall
from posemill.queue.run_states import finish_retry, pause_for_fault, retry, write_state
from posemill.storage.record_writing import write_record
from posemill.storage.run_documents import read_record, read_state
from posemill.storage.store import Store
from tests.planned import plan_run, write_records

RUN, STAGE = "r", Stage.DETECT
DONE, REJECTED, FAILED = Outcome.DONE, Outcome.REJECTED, Outcome.FAILED


def mixed(batch: int, *outcomes: Outcome) -> BatchRecord:
    results = [SourceResult(source_number=2 * batch + n, name="", outcome=one) for n, one in enumerate(outcomes)]
    return BatchRecord(run_id=RUN, stage=STAGE, batch=batch, attempt=1, worker="w", finished_at="", made_with={},
                       results=results)  # fmt: skip


def counted(ledger: Ledger) -> tuple[int, int, int, int]:
    counts = ledger.snapshot(RUN).stages[STAGE]
    return counts.batches_done, counts.done, counts.rejected, counts.failed


def test_just_the_batches_with_a_record_are_done_whatever_their_number(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN, sources=49)
    written = [0, 6, 7, 8, 9, 16, 24]
    write_records(store, RUN, STAGE, written)
    rebuild(store, ledger, RUN)
    found = [batch for batch in range(32) if ledger.redis.getbit(StageKeys(RUN, STAGE).done, batch)]
    assert found == written
    assert counted(ledger) == (7, 13, 0, 0), "the last batch has one row"


def test_rejected_and_failed_rows_are_taken_from_the_done_ones(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN, sources=40)
    write_records(store, RUN, STAGE, [0])
    for record in (mixed(9, DONE, REJECTED), mixed(10, FAILED, REJECTED), mixed(17, FAILED, FAILED)):
        write_record(store, record)
    rebuild(store, ledger, RUN)
    assert counted(ledger) == (4, 3, 2, 3)


def test_a_flag_without_its_record_does_not_break_a_rebuild(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN, sources=40)
    for batch in (0, 3, 11, 15):
        store.put(RunKeys(RUN).flag(STAGE, batch), b"")
    for batch in (7, 8, 16):
        write_record(store, mixed(batch, DONE, FAILED))
    rebuild(store, ledger, RUN)
    assert counted(ledger) == (3, 3, 0, 3)


def test_the_failed_rows_of_a_worker_killed_between_flag_and_record_are_counted(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_run(store, ledger, RUN)
    with monkeypatch.context() as patched:
        patched.setattr(store, "put_if_absent", killed)
        with pytest.raises(KeyboardInterrupt):
            write_record(store, mixed(1, DONE, FAILED))
    assert store.head(RunKeys(RUN).flag(STAGE, 1)) is not None, "the flag is written first"
    write_record(store, mixed(1, DONE, FAILED))
    rebuild(store, ledger, RUN)
    assert counted(ledger) == (1, 1, 0, 1)


def killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_a_flagged_record_that_cannot_be_read_is_named(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN)
    write_record(store, mixed(1, DONE, FAILED))
    store.put(RunKeys(RUN).record(STAGE, 1), b"{")
    with pytest.raises(UnreadableRecord, match=RunKeys(RUN).record(STAGE, 1)):
        rebuild(store, ledger, RUN)


def test_a_rebuild_keeps_a_pause_and_its_reason(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN)
    pause_for_fault(store, ledger, RUN, "the model is missing")
    ledger.redis.flushdb()
    rebuild(store, ledger, RUN)
    snapshot = ledger.snapshot(RUN)
    assert (snapshot.state, snapshot.reason) == (RunState.PAUSED, "the model is missing")


def test_a_rebuild_forgets_what_was_sent_leased_and_put_off_and_keeps_the_first_opening(
    store: Store, ledger: Ledger
) -> None:
    plan_run(store, ledger, RUN)
    opened = ledger.redis.hget(f"posemill:run:{RUN}", "opened")
    ledger.claim(RUN, STAGE, 0, 30)
    ledger.redis.zadd(StageKeys(RUN, STAGE).waiting, {"1": 9e9})
    rebuild(store, ledger, RUN)
    assert [ledger.claim(RUN, STAGE, batch, 30).verdict for batch in (0, 1)] == [Verdict.CLAIMED] * 2
    assert opened
    assert ledger.redis.hget(f"posemill:run:{RUN}", "opened") == opened


def test_a_ledger_of_the_same_submission_is_left_as_it_is(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN)
    ledger.claim(RUN, STAGE, 0, 30)
    know_as_stored(store, ledger, RUN)
    assert ledger.snapshot(RUN).stages[STAGE].leased == 1


def test_a_ledger_of_another_submission_is_made_again(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN)
    ledger.claim(RUN, STAGE, 0, 30)
    ledger.redis.hset(f"posemill:run:{RUN}", "submission", "another")
    know_as_stored(store, ledger, RUN)
    assert ledger.snapshot(RUN).stages[STAGE].leased == 0


def whole(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN)
    for stage in (Stage.DETECT, Stage.GENERATE):
        write_records(store, RUN, stage, (0, 1))


def cancelled(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN)
    write_state(store, RUN, RunState.CANCELLED)


@pytest.mark.parametrize(("make", "state"), [(whole, RunState.COMPLETE), (cancelled, RunState.CANCELLED)])
def test_a_run_that_has_ended_is_known_again_as_it_ended(
    store: Store, ledger: Ledger, make: Callable[..., None], state: RunState
) -> None:
    make(store, ledger)
    ledger.redis.flushdb()
    assert recall(store, ledger, RUN)
    assert (ledger.state(RUN), ledger.open_runs()) == (state, [])


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.PAUSED, RunState.RETRYING])
@pytest.mark.parametrize("left_out", [[], [(Stage.DETECT, 1)], [(Stage.GENERATE, 0)]])
def test_a_run_that_is_not_over_is_not_recalled(
    store: Store, ledger: Ledger, state: RunState, left_out: list[tuple[Stage, int]]
) -> None:
    whole(store, ledger)
    for stage, batch in left_out:
        store.delete(RunKeys(RUN).record(stage, batch))
    write_state(store, RUN, state)
    ledger.redis.flushdb()
    is_over = state is RunState.RUNNING and not left_out
    assert recall(store, ledger, RUN) is is_over
    assert ledger.state(RUN) is (RunState.COMPLETE if is_over else None)
    assert read_stored(store, RUN).end is (RunState.COMPLETE if is_over else None)


def test_retry_leaves_batches_without_a_failed_row_alone(store: Store, ledger: Ledger) -> None:
    whole(store, ledger)
    store.delete(RunKeys(RUN).record(STAGE, 0))
    write_record(store, mixed(0, REJECTED, REJECTED))
    rebuild(store, ledger, RUN)
    ledger.complete(RUN)
    assert retry(store, ledger, RUN) == 0
    assert (ledger.state(RUN), store.head(RunKeys(RUN).state)) == (RunState.COMPLETE, None)
    assert read_record(store, RUN, STAGE, 0) is not None
    finish_retry(store, ledger, RUN)
    assert read_record(store, RUN, STAGE, 0) is not None, "nor does one that goes on"


def test_retry_sets_aside_just_the_records_with_failed_rows(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN, sources=8)
    write_records(store, RUN, STAGE, [0])
    for record in (mixed(1, REJECTED, DONE), mixed(2, REJECTED, FAILED), mixed(3, FAILED, FAILED)):
        write_record(store, record)
    assert retry(store, ledger, RUN) == 3
    assert [batch for batch in range(4) if read_record(store, RUN, STAGE, batch)] == [0, 1]
    assert [store.head(RunKeys(RUN).flag(STAGE, batch)) is not None for batch in range(4)] == [
        False,
        True,
        False,
        False,
    ]
    assert (read_state(store, RUN).state, ledger.state(RUN)) == (RunState.RUNNING, RunState.RUNNING)
    assert counted(ledger) == (2, 3, 1, 0)


def test_a_retry_does_not_end_a_pause_or_a_cancellation_that_came_meanwhile(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN)
    write_record(store, mixed(0, DONE, FAILED))
    write_state(store, RUN, RunState.CANCELLED)
    assert finish_retry(store, ledger, RUN) == 1
    assert (read_state(store, RUN).state, ledger.state(RUN)) == (RunState.CANCELLED, RunState.CANCELLED)


@pytest.mark.parametrize("state", [RunState.CANCELLED, RunState.COMPLETE, RunState.RETRYING])
def test_a_fault_is_not_written_over_another_wish(store: Store, ledger: Ledger, state: RunState) -> None:
    plan_run(store, ledger, RUN)
    ledger.set_state(RUN, state)
    pause_for_fault(store, ledger, RUN, "a fault")
    assert store.head(RunKeys(RUN).state) is None


def test_a_pause_that_storage_does_not_take_is_in_the_ledger(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_run(store, ledger, RUN)

    def refused(*_: Any, **__: Any) -> None:
        raise UnreadableRecord("storage is away")

    monkeypatch.setattr(store, "put", refused)
    pause_for_fault(store, ledger, RUN, "a fault")
    assert ledger.snapshot(RUN).reason == "a fault"


def test_a_set_aside_record_counts_as_failed_until_its_successor_stands(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, RUN)
    store.put(RunKeys(RUN).superseded(STAGE, 0), encode(mixed(0, FAILED, FAILED)))
    assert finish_retry(store, ledger, RUN) == 2
    write_record(store, mixed(0, DONE, REJECTED))
    assert finish_retry(store, ledger, RUN) == 0

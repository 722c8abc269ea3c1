"""The ledger against a real Redis."""

import pytest

from posemill.contract.keys import RUNS, Stage
from posemill.contract.records import Outcome, Plan, RunState
from posemill.errors import ServiceError
from posemill.queue.ledger import History, Ledger, OnDevice, Verdict
from posemill.queue.redis_safety import require_safe_redis
from tests.conftest import wait_until
from tests.planned import by_stage, open_in_ledger, progress

PLAN = Plan(rows=by_stage(4, 20), batches=by_stage(2, 5), refused_rows=1)
ALL_DONE = {Outcome.DONE: 4, Outcome.REJECTED: 0, Outcome.FAILED: 0}
RUN, STAGE = "r", Stage.GENERATE


@pytest.fixture
def opened(ledger: Ledger) -> Ledger:
    open_in_ledger(ledger, RUN, PLAN)
    return ledger


def test_a_run_is_found_by_the_dispatcher_as_long_as_it_has_not_ended(opened: Ledger) -> None:
    assert opened.open_runs() == [RUN]
    for state, found in ((RunState.COMPLETE, []), (RunState.PAUSED, [RUN]), (RunState.CANCELLED, [])):
        opened.set_state(RUN, state)
        assert opened.open_runs() == found


def test_a_batch_is_claimed_by_one_worker_at_a_time(opened: Ledger) -> None:
    first = opened.claim(RUN, STAGE, 0, 30)
    assert (first.verdict, first.history.claims) == (Verdict.CLAIMED, 1)
    assert opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.LEASED


def test_an_unknown_run_cannot_be_claimed(ledger: Ledger) -> None:
    assert ledger.claim("nobody", STAGE, 0, 30).verdict is Verdict.UNKNOWN


def test_a_lease_that_ran_out_can_be_taken_over_and_its_holder_learns_it(opened: Ledger) -> None:
    first = opened.claim(RUN, STAGE, 0, 0.05)
    wait_until(lambda: opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.CLAIMED, seconds=5)
    assert not opened.renew(RUN, STAGE, 0, first.fence, 30)


def test_claims_and_leases_that_ran_out_are_counted_and_charge_nothing(opened: Ledger) -> None:
    opened.claim(RUN, STAGE, 0, 0.05)
    claims = []
    wait_until(lambda: claims.append(opened.claim(RUN, STAGE, 0, 0.05)) or claims[-1].history.claims == 3, seconds=5)
    assert claims[-1].fence > claims[0].fence
    assert claims[-1].history == History(claims=3, expiries=2)


def test_a_renewed_lease_outlives_its_first_length(opened: Ledger) -> None:
    claim = opened.claim(RUN, STAGE, 0, 0.2)
    assert opened.renew(RUN, STAGE, 0, claim.fence, 60)
    assert opened.redis.zscore(f"posemill:run:{RUN}:{STAGE}:leases", "0") > opened.redis.time()[0] + 50


def test_a_batch_is_counted_once_however_often_it_is_committed(opened: Ledger) -> None:
    assert opened.commit(RUN, STAGE, 3, ALL_DONE) == "committed"
    assert opened.commit(RUN, STAGE, 3, ALL_DONE) == "already"
    counts = opened.snapshot(RUN).stages[STAGE]
    assert (counts.done, counts.batches_done) == (4, 1)
    assert opened.claim(RUN, STAGE, 3, 30).verdict is Verdict.DONE


def test_a_batch_handed_back_waits_for_its_delay(opened: Ledger) -> None:
    claim = opened.claim(RUN, STAGE, 0, 30)
    opened.release(RUN, STAGE, 0, claim.fence, delay_seconds=60, error="no luck")
    assert opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.WAITING
    assert opened.history(RUN, STAGE, 0) == History(claims=1, error="no luck")


def test_failures_and_delays_are_counted_apart_and_forgotten_with_the_commit(opened: Ledger) -> None:
    for failed, put_off in ((True, False), (False, True), (True, False)):
        claim = opened.claim(RUN, STAGE, 0, 30)
        opened.release(RUN, STAGE, 0, claim.fence, failed=failed, put_off=put_off)
    assert opened.history(RUN, STAGE, 0) == History(claims=3, failures=2, delays=1)
    opened.commit(RUN, STAGE, 0, ALL_DONE)
    assert opened.history(RUN, STAGE, 0) == History()


def note(fence: int, *, alone: bool = False) -> OnDevice:
    return OnDevice(run_id=RUN, stage=STAGE, batch=0, fence=fence, alone=alone)


def test_a_death_charges_the_batch_on_the_device_alone_and_hands_it_back(opened: Ledger) -> None:
    held = [opened.claim(RUN, STAGE, batch, 30) for batch in (0, 1)]
    opened.note_device("w", note(held[0].fence), seconds=60)
    reported = [opened.report_death("w", "signal 9", delay_seconds=float) for _ in range(2)]
    assert (reported[0], reported[1]) == (note(held[0].fence), None), "it is told twice and counts once"
    histories = [opened.history(RUN, STAGE, batch) for batch in (0, 1)]
    assert histories == [History(claims=1, deaths=1, error="signal 9"), History(claims=1)]
    counts = opened.snapshot(RUN).stages[STAGE]
    assert (counts.leased, counts.waiting) == (1, 1)
    assert opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.WAITING, "its delay is that of the first death: a second"


def test_the_death_of_a_watcher_says_nothing_about_the_rows_of_another_process(opened: Ledger) -> None:
    opened.note_device("w", note(opened.claim(RUN, STAGE, 0, 30).fence, alone=True), seconds=60)
    opened.report_death("w", "signal 9", delay_seconds=float)
    claim = opened.claim(RUN, STAGE, 0, 30)
    assert (claim.verdict, claim.history.deaths) == (Verdict.CLAIMED, 0), "and it goes out again at once"


def test_a_worker_that_has_put_its_batch_down_charges_nothing_when_it_dies(opened: Ledger) -> None:
    opened.note_device("w", note(opened.claim(RUN, STAGE, 0, 30).fence), seconds=60)
    opened.clear_device("w")
    assert opened.report_death("w", "signal 9", delay_seconds=float) is None
    assert opened.history(RUN, STAGE, 0).deaths == 0


def test_a_death_takes_nothing_from_the_worker_that_has_taken_over(opened: Ledger) -> None:
    first = opened.claim(RUN, STAGE, 0, 0.05)
    opened.note_device("dead", note(first.fence), seconds=60)
    wait_until(lambda: opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.CLAIMED, seconds=5)
    opened.report_death("dead", "signal 9", delay_seconds=float)
    assert opened.snapshot(RUN).stages[STAGE].leased == 1
    assert opened.history(RUN, STAGE, 0).deaths == 1


def test_the_ends_of_a_row_s_processes_are_kept_in_order(opened: Ledger) -> None:
    for words in ("signal 9", "signal 11"):
        ends = opened.note_row_death(RUN, STAGE, 0, 3, words)
    assert ends == ["signal 9", "signal 11"]
    assert opened.claim(RUN, STAGE, 0, 30).history.rows == {"3": ["signal 9", "signal 11"]}


def test_a_run_is_complete_only_when_every_batch_of_every_stage_is_done(opened: Ledger) -> None:
    for stage, batch in ((STAGE, n) for n in range(5)):
        opened.commit(RUN, stage, batch, ALL_DONE)
    opened.commit(RUN, Stage.DETECT, 0, ALL_DONE)
    assert not opened.complete(RUN)
    opened.commit(RUN, Stage.DETECT, 1, ALL_DONE)
    opened.set_state(RUN, RunState.RETRYING)
    assert not opened.complete(RUN), "a retry is about to take records away"
    opened.set_state(RUN, RunState.RUNNING)
    assert opened.complete(RUN)
    assert (opened.state(RUN), opened.open_runs()) == (RunState.COMPLETE, [])


@pytest.mark.parametrize("state", [RunState.CANCELLED, RunState.COMPLETE, RunState.RETRYING])
def test_a_fault_overrides_no_other_wish(opened: Ledger, state: RunState) -> None:
    opened.set_state(RUN, state)
    assert not opened.pause(RUN, "a fault")
    assert opened.state(RUN) is state


def test_only_the_holder_can_hand_a_batch_back(opened: Ledger) -> None:
    claim = opened.claim(RUN, STAGE, 0, 30)
    opened.release(RUN, STAGE, 0, claim.fence + 1)
    assert opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.LEASED


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.CANCELLED, RunState.RETRYING])
def test_no_batch_of_a_halted_run_is_claimed(opened: Ledger, state: RunState) -> None:
    opened.set_state(RUN, state)
    assert opened.claim(RUN, STAGE, 0, 30).verdict == state.value


def test_a_cancelled_run_takes_leases_away_and_leaves_the_dispatcher(opened: Ledger) -> None:
    claim = opened.claim(RUN, STAGE, 0, 30)
    opened.set_state(RUN, RunState.CANCELLED)
    assert not opened.renew(RUN, STAGE, 0, claim.fence, 30)
    assert not opened.redis.sismember(RUNS, RUN)


def test_restoring_sets_progress_to_what_storage_says(opened: Ledger) -> None:
    counted = {**ALL_DONE, Outcome.FAILED: 2}
    found = progress(PLAN, STAGE, done=bytes([0b10100000]), counts=counted, batches_done=2)
    opened.restore(RUN, PLAN, {STAGE: found}, RunState.RUNNING, submission="s")
    counts = opened.snapshot(RUN).stages[STAGE]
    assert (counts.done, counts.failed, counts.batches_done) == (4, 2, 2)
    verdicts = [opened.claim(RUN, STAGE, batch, 30).verdict for batch in range(3)]
    assert verdicts == [Verdict.DONE, Verdict.CLAIMED, Verdict.DONE]


def test_a_forgotten_run_leaves_nothing_behind(opened: Ledger) -> None:
    opened.claim(RUN, STAGE, 0, 30)
    opened.commit(RUN, STAGE, 1, ALL_DONE)
    opened.forget(RUN)
    assert opened.redis.keys("posemill:run*") == []


def test_the_ledger_of_a_million_items_is_small(opened: Ledger) -> None:
    for batch in range(0, 125_000, 250):
        opened.claim(RUN, STAGE, batch, 30)
        opened.commit(RUN, STAGE, batch, ALL_DONE)
    held = [opened.claim(RUN, STAGE, batch, 30).fence for batch in range(1, 250)]
    opened.release(RUN, STAGE, 1, held[0], failed=True, error="boom")
    keys = opened.redis.keys(f"posemill:run:{RUN}*")
    assert len(keys) >= 5, "all that is kept of a run, the batches in hand too"
    assert sum(opened.redis.memory_usage(key) or 0 for key in keys) < 150_000


@pytest.mark.parametrize(
    ("values", "mend"),
    [
        ({"maxmemory-policy": "allkeys-lru"}, "CONFIG SET maxmemory-policy noeviction"),
        ({"appendonly": "no", "save": ""}, "CONFIG SET appendonly yes"),
    ],
    ids=["evicts", "forgets"],
)
def test_a_misconfigured_redis_is_refused_with_the_mend(ledger: Ledger, values: dict[str, str], mend: str) -> None:
    before = {name: ledger.redis.config_get(name)[name] for name in values}
    ledger.redis.config_set("save", "")
    for name, value in values.items():
        ledger.redis.config_set(name, value)
    try:
        with pytest.raises(ServiceError, match=mend):
            require_safe_redis(ledger.redis, persistent=True)
    finally:
        for name, value in before.items():
            ledger.redis.config_set(name, value)
    require_safe_redis(ledger.redis, persistent=True)

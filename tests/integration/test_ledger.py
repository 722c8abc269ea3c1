"""The ledger against a real Redis."""

import pytest

from posemill.errors import ServiceError
from posemill.ledger import Ledger, Verdict
from posemill.names import RUNS, Stage
from posemill.records import Outcome, Plan, RunState
from posemill.redis_safety import require_safe_redis
from tests.conftest import wait_until

PLAN = Plan(sources=4, items=20, refused_rows=1, detect_batches=2, generate_batches=5)
ALL_DONE = {Outcome.DONE: 4, Outcome.REJECTED: 0, Outcome.FAILED: 0}
RUN, STAGE = "r", Stage.GENERATE


@pytest.fixture
def opened(ledger: Ledger) -> Ledger:
    ledger.open(RUN, PLAN)
    return ledger


def test_a_run_is_opened_once(ledger: Ledger) -> None:
    assert ledger.open(RUN, PLAN)
    assert not ledger.open(RUN, PLAN)
    assert ledger.open_runs() == [RUN]


def test_a_batch_is_claimed_by_one_worker_at_a_time(opened: Ledger) -> None:
    first = opened.claim(RUN, STAGE, 0, 30)
    assert (first.verdict, first.attempt) == (Verdict.CLAIMED, 1)
    assert opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.LEASED


def test_an_unknown_run_cannot_be_claimed(ledger: Ledger) -> None:
    assert ledger.claim("nobody", STAGE, 0, 30).verdict is Verdict.UNKNOWN


def test_a_lease_that_ran_out_can_be_taken_over_and_its_holder_learns_it(opened: Ledger) -> None:
    first = opened.claim(RUN, STAGE, 0, 0.05)
    wait_until(lambda: opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.CLAIMED, seconds=5)
    assert not opened.renew(RUN, STAGE, 0, first.fence, 30)


def test_attempts_are_counted_before_the_work(opened: Ledger) -> None:
    opened.claim(RUN, STAGE, 0, 0.05)
    claims = []
    wait_until(lambda: claims.append(opened.claim(RUN, STAGE, 0, 0.05)) or claims[-1].attempt == 3, seconds=5)
    assert claims[-1].fence > claims[0].fence


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
    assert opened.last_error(RUN, STAGE, 0) == "no luck"


def test_a_refunded_attempt_does_not_count(opened: Ledger) -> None:
    claim = opened.claim(RUN, STAGE, 0, 30)
    opened.release(RUN, STAGE, 0, claim.fence, refund=True)
    assert opened.claim(RUN, STAGE, 0, 30).attempt == 1


def test_only_the_holder_can_hand_a_batch_back(opened: Ledger) -> None:
    claim = opened.claim(RUN, STAGE, 0, 30)
    opened.release(RUN, STAGE, 0, claim.fence + 1)
    assert opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.LEASED


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.CANCELLED])
def test_no_batch_of_a_halted_run_is_claimed(opened: Ledger, state: RunState) -> None:
    opened.set_state(RUN, state)
    assert opened.claim(RUN, STAGE, 0, 30).verdict == state.value


def test_a_cancelled_run_takes_leases_away_and_leaves_the_dispatcher(opened: Ledger) -> None:
    claim = opened.claim(RUN, STAGE, 0, 30)
    opened.set_state(RUN, RunState.CANCELLED)
    assert not opened.renew(RUN, STAGE, 0, claim.fence, 30)
    assert not opened.redis.sismember(RUNS, RUN)


def test_restoring_sets_progress_to_what_storage_says(opened: Ledger) -> None:
    opened.restore(RUN, STAGE, bytes([0b10100000]), {**ALL_DONE, Outcome.FAILED: 2}, batches=2)
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
    opened.commit(RUN, STAGE, 125_000, ALL_DONE)
    assert opened.redis.memory_usage(f"posemill:run:{RUN}:{STAGE}:done") < 40_000


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

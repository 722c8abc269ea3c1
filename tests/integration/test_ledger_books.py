"""The scripts' bookkeeping: after each call a batch stands in just the sets where it belongs, and in no other."""

import time
from typing import Any

import msgspec
import pytest

from posemill.contract.keys import Stage, StageKeys
from posemill.contract.records import Outcome, Plan, RunState
from posemill.queue.ledger import WORKER_SECONDS, History, Ledger, OnDevice, Verdict
from tests.conftest import wait_until
from tests.planned import by_stage, open_in_ledger

RUN, STAGE = "r", Stage.GENERATE
KEYS = StageKeys(RUN, STAGE)
COUNTS = {Outcome.DONE: 1, Outcome.REJECTED: 2, Outcome.FAILED: 3}
HASHES = {"holders": KEYS.holders, "history": KEYS.history}
SETS = {"leases": KEYS.leases, "sent": KEYS.sent, "waiting": KEYS.waiting, "blocked": KEYS.blocked}


@pytest.fixture
def opened(ledger: Ledger) -> Ledger:
    open_in_ledger(ledger, RUN, Plan(rows=by_stage(2, 20), batches=by_stage(1, 5), refused_rows=0))
    return ledger


def books(ledger: Ledger) -> dict[str, Any]:
    """The batches in each of the stage's sets; empty ones are left out."""
    found = {name: ledger.redis.zrange(key, 0, -1) for name, key in SETS.items()}
    found |= {name: sorted(ledger.redis.hkeys(key)) for name, key in HASHES.items()}
    return {name: batches for name, batches in found.items() if batches}


def put(ledger: Ledger, name: str, batch: int = 0, *, seconds_ago: float = 0.0) -> None:
    ledger.redis.zadd(SETS[name], {str(batch): time.time() - seconds_ago})


def taken_back(ledger: Ledger, *, queue_length: int = 0, resend_seconds: float = 60.0, limit: int = 9) -> int:
    return ledger.take_back(RUN, STAGE, limit=limit, queue_length=queue_length, resend_seconds=resend_seconds)


def test_a_claimed_batch_is_leased_and_neither_sent_nor_waiting(opened: Ledger) -> None:
    put(opened, "sent")
    put(opened, "waiting", seconds_ago=5)
    assert opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.CLAIMED
    assert books(opened) == {"leases": ["0"], "holders": ["0"], "history": ["0"]}


def test_a_message_of_a_done_batch_is_no_longer_out(opened: Ledger) -> None:
    opened.commit(RUN, STAGE, 0, COUNTS)
    put(opened, "sent")
    assert opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.DONE
    assert books(opened) == {}


def test_a_message_of_a_batch_whose_retry_is_not_due_is_no_longer_out(opened: Ledger) -> None:
    put(opened, "sent")
    put(opened, "waiting", seconds_ago=-60)
    assert opened.claim(RUN, STAGE, 0, 30).verdict is Verdict.WAITING
    assert books(opened) == {"waiting": ["0"]}


@pytest.mark.parametrize("state", [RunState.PAUSED, RunState.CANCELLED])
def test_a_message_of_a_halted_run_waits_for_it_to_go_on(opened: Ledger, state: RunState) -> None:
    put(opened, "sent")
    opened.set_state(RUN, state)
    opened.claim(RUN, STAGE, 0, 30)
    assert books(opened) == {"waiting": ["0"]}


def test_a_committed_batch_stands_in_no_set_and_its_rows_are_counted_by_outcome(opened: Ledger) -> None:
    opened.claim(RUN, STAGE, 0, 30)
    for name in SETS:
        put(opened, name)
    opened.commit(RUN, STAGE, 0, COUNTS)
    assert books(opened) == {}
    counts = opened.snapshot(RUN).stages[STAGE]
    assert (counts.done, counts.rejected, counts.failed, counts.batches_done) == (1, 2, 3, 1)


def test_a_batch_handed_back_waits_and_is_nobody_s(opened: Ledger) -> None:
    fence = opened.claim(RUN, STAGE, 0, 30).fence
    opened.release(RUN, STAGE, 0, fence)
    assert books(opened) == {"waiting": ["0"], "history": ["0"]}
    assert not opened.renew(RUN, STAGE, 0, fence, 30), "who has handed it back cannot keep it"


def test_the_batch_of_a_dead_worker_waits_and_is_nobody_s(opened: Ledger) -> None:
    fence = opened.claim(RUN, STAGE, 0, 30).fence
    opened.note_device("w", OnDevice(run_id=RUN, stage=STAGE, batch=0, fence=fence, alone=False), seconds=60)
    opened.report_death("w", "signal 9", delay_seconds=float)
    assert books(opened) == {"waiting": ["0"], "history": ["0"]}
    assert not opened.renew(RUN, STAGE, 0, fence, 30)


def test_a_lease_that_ran_out_is_taken_back_counted_and_cannot_be_renewed(opened: Ledger) -> None:
    fence = opened.claim(RUN, STAGE, 0, 0.05).fence
    wait_until(lambda: taken_back(opened) == 1, seconds=5)
    assert books(opened) == {"waiting": ["0"], "history": ["0"]}
    assert opened.history(RUN, STAGE, 0) == History(claims=1, expiries=1)
    assert not opened.renew(RUN, STAGE, 0, fence, 30)
    assert taken_back(opened) == 0, "once"


def test_a_held_lease_is_not_taken_back(opened: Ledger) -> None:
    opened.claim(RUN, STAGE, 0, 30)
    assert taken_back(opened) == 0
    assert books(opened)["leases"] == ["0"]


def test_a_message_that_vanished_goes_out_again(opened: Ledger) -> None:
    put(opened, "sent", seconds_ago=61)
    assert taken_back(opened) == 1
    assert books(opened) == {"waiting": ["0"]}


def test_a_message_that_was_just_sent_or_is_still_queued_is_not_sent_twice(opened: Ledger) -> None:
    put(opened, "sent", seconds_ago=30)
    assert taken_back(opened) == 0, "it may still come"
    put(opened, "sent", seconds_ago=61)
    assert taken_back(opened, queue_length=1) == 0, "as many are queued as are out"
    assert books(opened) == {"sent": ["0"]}


def test_no_more_is_taken_back_at_once_than_asked_for(opened: Ledger) -> None:
    for batch in range(4):
        put(opened, "sent", batch, seconds_ago=61)
    assert taken_back(opened, limit=3) == 3
    assert books(opened) == {"sent": ["3"], "waiting": ["0", "1", "2"]}


def test_a_run_of_which_nothing_is_done_is_not_complete(ledger: Ledger) -> None:
    open_in_ledger(ledger, RUN, Plan(rows=by_stage(1, 1), batches=by_stage(1, 1), refused_rows=0))
    ledger.redis.hdel(f"posemill:run:{RUN}", "detect.batches_done", "generate.batches_done")
    assert not ledger.complete(RUN)


def test_what_is_written_of_a_cancelled_run_is_forgotten_with_the_rest(opened: Ledger) -> None:
    fences = [opened.claim(RUN, STAGE, batch, 30).fence for batch in (0, 1)]
    put(opened, "sent", 2)
    opened.set_state(RUN, RunState.CANCELLED)
    opened.release(RUN, STAGE, 0, fences[0])
    opened.redis.delete(KEYS.waiting)
    opened.claim(RUN, STAGE, 2, 30)
    opened.commit(RUN, STAGE, 1, COUNTS)
    assert books(opened)["waiting"] == ["2"]
    assert [key for key in opened.redis.keys(f"posemill:run:{RUN}*") if opened.redis.ttl(key) < 0] == []


def test_a_batch_handed_back_after_the_run_was_cancelled_is_forgotten_with_the_rest(opened: Ledger) -> None:
    fence = opened.claim(RUN, STAGE, 0, 30).fence
    opened.set_state(RUN, RunState.CANCELLED)
    opened.release(RUN, STAGE, 0, fence)
    assert opened.redis.ttl(KEYS.waiting) > 0


def test_a_batch_of_which_nothing_is_known_has_no_history(opened: Ledger) -> None:
    found: dict[str, Any] = msgspec.to_builtins(opened.history(RUN, STAGE, 4))
    assert found == {"claims": 0, "expiries": 0, "deaths": 0, "failures": 0, "delays": 0, "error": "", "rows": {}}


def test_a_worker_that_was_silent_is_taken_off_the_list_and_others_stay(opened: Ledger) -> None:
    opened.note_worker("alive", {"stage": "detect"})
    opened.note_worker("gone", {"stage": "detect"})
    beat = msgspec.json.decode(opened.redis.hget("posemill:workers", "gone"))
    beat["seen"] -= WORKER_SECONDS + 1
    opened.redis.hset("posemill:workers", "gone", msgspec.json.encode(beat))
    assert list(opened.workers()) == ["alive"]
    assert opened.redis.hkeys("posemill:workers") == ["alive"]
    assert abs(opened.workers()["alive"]["seen"] - time.time()) < 30

"""Leases kept alive, and calls that wait for Redis, without one."""

import threading
from functools import partial
from typing import Any

import pytest
import redis

from posemill.contract.keys import Stage
from posemill.errors import LeaseLost
from workers.batches.leases import Lease, LeaseKeeper
from workers.batches.pending_calls import PendingCalls


class Answers:
    """A ledger that says what it is told; an error is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[Any, ...]] = []

    def renew(self, *asked: Any) -> bool:
        self.asked.append(asked)
        answer = self.answers.pop(0) if self.answers else True
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)


class Turns(threading.Event):
    """So many turns of a loop, at once; keeps how long each would have waited."""

    def __init__(self, turns: int) -> None:
        super().__init__()
        self.turns = turns
        self.waited: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        return len(self.waited) > self.turns


@pytest.fixture
def lease() -> Lease:
    return Lease("r", Stage.DETECT, 3, 7)


def test_a_held_lease_is_renewed_in_its_own_name_and_one_put_down_is_not(lease: Lease) -> None:
    ledger = Answers()
    keeper = LeaseKeeper(ledger, 30)
    with keeper.hold(lease) as held:
        keeper.renew()
        assert (keeper.held, held) == ([lease], lease)
    keeper.renew()
    assert (ledger.asked, keeper.held) == ([("r", Stage.DETECT, 3, 7, 30)], [])


def test_a_lease_whose_work_went_wrong_is_put_down_too(lease: Lease) -> None:
    keeper = LeaseKeeper(Answers(), 30)
    with pytest.raises(ZeroDivisionError), keeper.hold(lease):
        raise ZeroDivisionError
    assert keeper.held == []


def test_a_lost_lease_stays_lost_and_a_kept_one_is_none(lease: Lease) -> None:
    keeper = LeaseKeeper(Answers(True, False, True), 30)
    keeper.confirm(lease)
    lease.require()
    for _ in range(2):
        keeper.confirm(lease)
        with pytest.raises(LeaseLost, match="run r detect batch 3"):
            lease.require()


def test_an_error_of_redis_loses_no_lease_and_keeps_no_other_from_being_renewed(lease: Lease) -> None:
    other = Lease("r", Stage.DETECT, 4, 8)
    ledger = Answers(redis.ConnectionError("away"))
    keeper = LeaseKeeper(ledger, 30)
    with keeper.hold(lease), keeper.hold(other):
        keeper.renew()
    assert (len(ledger.asked), lease.lost, other.lost) == (2, False, False)


def test_a_lease_is_renewed_three_times_in_its_length(lease: Lease) -> None:
    ledger, turns = Answers(), Turns(3)
    keeper = LeaseKeeper(ledger, 30)
    with keeper.hold(lease):
        keeper.run_until(turns)
    assert (turns.waited, len(ledger.asked)) == ([10.0] * 4, 3)


def test_calls_that_redis_refuses_are_made_later_once_each_and_in_order() -> None:
    calls, made, away = PendingCalls(), [], [True]

    def call(number: int) -> None:
        if away:
            raise redis.ConnectionError("away")
        made.append(number)

    for number in (1, 2):
        calls.make(partial(call, number))
    away.clear()
    for _ in range(2):
        calls.flush()
    calls.make(lambda: call(3))
    assert made == [1, 2, 3]


def test_a_call_with_a_fault_of_its_own_holds_up_none_behind_it() -> None:
    calls, made = PendingCalls(), []
    calls.make(lambda: 1 / 0)
    calls.make(lambda: made.append(1))
    assert made == [1]

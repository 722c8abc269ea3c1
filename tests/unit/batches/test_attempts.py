"""What a batch's history and an error mean for its next attempt, number by number."""

import pytest
import redis

from posemill.errors import BadInput, LeaseLost, RunFault, TransientError
from posemill.queue.ledger import History
from posemill.settings import Settings
from workers.batches.attempts import (
    Draining,
    HandBack,
    Manner,
    gave_up,
    hand_back,
    is_device_lost,
    is_hopeless,
    is_of_no_row,
    is_out_of_delays,
    manner_of,
    retry_delay,
)

SETTINGS = Settings(max_attempts=2, max_delays=5)
TOGETHER, ROW_BY_ROW, ISOLATED = Manner.TOGETHER, Manner.ROW_BY_ROW, Manner.ISOLATED


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Delays are not spread; gives between what they would have been."""
    asked: list[tuple[float, float]] = []
    monkeypatch.setattr(
        "workers.batches.attempts.random.uniform", lambda least, most: asked.append((least, most)) or 1.0
    )
    return asked


@pytest.mark.parametrize(
    ("history", "manner"),
    [
        (History(claims=99), TOGETHER),
        (History(deaths=1, failures=1, delays=4, expiries=4), TOGETHER),
        (History(deaths=2), ISOLATED),
        (History(expiries=5), ISOLATED),
        (History(deaths=2, failures=2, delays=9), ISOLATED),
        (History(failures=2), ROW_BY_ROW),
        (History(delays=5), ROW_BY_ROW),
    ],
)
def test_a_batch_is_made_as_its_history_asks(history: History, manner: Manner) -> None:
    assert manner_of(history, SETTINGS) is manner


def test_delays_are_out_and_a_batch_is_hopeless_at_just_these_numbers() -> None:
    assert [is_out_of_delays(History(delays=delays), SETTINGS) for delays in (4, 5, 6)] == [False, True, True]
    assert [is_hopeless(History(failures=failures), SETTINGS) for failures in (4, 5, 6)] == [False, True, True]


@pytest.mark.parametrize("error", [LeaseLost("x"), Draining()])
def test_a_lost_lease_and_a_drain_cost_nothing(error: Exception) -> None:
    assert hand_back(error, History(delays=3, failures=3)) == HandBack()
    assert HandBack() == HandBack(delay_seconds=0, failed=False, put_off=False, error="")


def test_a_transient_error_is_a_delay_and_an_unknown_one_a_failure_each_growing_by_its_own(even: object) -> None:
    history = History(delays=2, failures=4)
    assert hand_back(TransientError("away"), history) == HandBack(delay_seconds=4, put_off=True, error="away")
    unknown = hand_back(RuntimeError("boom"), history)
    assert (unknown.delay_seconds, unknown.failed, unknown.put_off) == (16, True, False)
    assert "boom" in unknown.error


def test_a_delay_doubles_to_a_minute_and_is_spread_by_a_quarter(even: list[tuple[float, float]]) -> None:
    assert [retry_delay(times) for times in (1, 2, 3, 6, 7, 8, 10_000)] == [1, 2, 4, 32, 60, 60, 60]
    assert set(even) == {(0.75, 1.25)}


def test_what_an_error_says_of_the_row_that_met_it_alone() -> None:
    of_none = [LeaseLost("x"), Draining(), RunFault("x"), TransientError("x"), redis.ConnectionError("x")]
    assert [is_of_no_row(error) for error in of_none] == [True] * 5
    assert [is_of_no_row(error) for error in (BadInput("x"), RuntimeError("x"))] == [False, False]


def test_a_lost_device_is_told_by_torch_s_name_or_words() -> None:
    accelerator = type("AcceleratorError", (RuntimeError,), {})
    errors = [accelerator("x"), RuntimeError("CUDA error: x"), RuntimeError("no CUDA error"), RuntimeError("x")]
    assert [is_device_lost(error) for error in errors] == [True, True, False, False]


def test_the_ends_of_a_row_are_all_named() -> None:
    assert gave_up(["a", "b"]) == "given up: 2 processes that made it alone ended: a; b"

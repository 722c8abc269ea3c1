"""A batch made row by row: which errors are a row's, how often each is tried, and how long the pauses are."""

from collections.abc import Callable
from typing import Any

import pytest

from posemill.contract.keys import Stage
from posemill.contract.records import Outcome, SourceResult
from posemill.errors import BadInput, LeaseLost, PosemillError, RunFault, TransientError
from posemill.queue.ledger import History
from posemill.settings import Settings
from tests.planned import make_run
from workers.batches.row_process import RowProcessEnded
from workers.batches.single_rows import SingleRows

RUN = make_run("r")
NOTHING = History()
SETTINGS = Settings(max_delays=5, max_row_deaths=3)


class Work:
    """Three rows; the middle one raises what stands in `errors`, one after another."""

    stage = Stage.DETECT

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def load(self, run: object, batch: int, kept: object, row: int) -> list[int]:
        if row == 1 and self.errors:
            raise self.errors.pop(0)
        return [row]

    def save(self, run: object, computed: list[int]) -> list[SourceResult]:
        return [result(row, Outcome.DONE) for row in computed]

    def failed(self, run: object, batch: int, error: PosemillError) -> list[SourceResult]:
        return [result(row, Outcome.FAILED, str(error)) for row in range(3)]


class Process:
    """Its rows meet the same; each start and stop is kept."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.calls: list[str] = []

    def start(self, watch: Callable[[], None]) -> None:
        self.calls.append("start")

    def make(self, run: object, batch: int, row: int, watch: Callable[[], None]) -> list[SourceResult]:
        return self.work.save(run, self.work.load(run, batch, None, row))

    def stop(self) -> None:
        self.calls.append("stop")


class Ends:
    """The ledger's part."""

    def __init__(self, *before: str) -> None:
        self.ends = list(before)

    def note_row_death(self, run_id: str, stage: Stage, batch: int, row: int, words: str) -> list[str]:
        assert (run_id, stage, batch, row) == ("r", Stage.DETECT, 0, 1)
        self.ends.append(words)
        return list(self.ends)


def result(row: int, outcome: Outcome, message: str = "") -> SourceResult:
    return SourceResult(source_number=row, name="", outcome=outcome, message=message)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that moves when somebody sleeps; gives the sleeps."""
    slept: list[float] = []
    monkeypatch.setattr("workers.batches.single_rows.time.monotonic", lambda: sum(slept))
    monkeypatch.setattr("workers.batches.single_rows.time.sleep", slept.append)
    return slept


def rows(work: Work, history: History = NOTHING, watch: Callable[[], None] = lambda: None) -> SingleRows:
    return SingleRows(work, RUN, 0, history, SETTINGS, watch=watch)


def outcomes(results: Any) -> list[Outcome]:
    assert [one.source_number for one in results] == [0, 1, 2]
    return [one.outcome for one in results]


def here(work: Work, history: History = NOTHING) -> Any:
    return rows(work, history).make_here(None, lambda loaded: loaded)


@pytest.mark.parametrize("error", [BadInput("boom"), RuntimeError("boom")])
def test_a_row_s_own_error_fails_it_alone(error: Exception) -> None:
    made = here(Work(error))
    assert outcomes(made) == [Outcome.DONE, Outcome.FAILED, Outcome.DONE]
    assert "boom" in made[1].message


@pytest.mark.parametrize("error", [LeaseLost("x"), RunFault("x"), TransientError("x"), RuntimeError("CUDA error: x")])
def test_an_error_of_no_row_ends_the_attempt(error: Exception) -> None:
    with pytest.raises(type(error)):
        here(Work(error))


def test_without_delays_left_a_transient_error_is_met_three_times_with_growing_pauses(pauses: list[float]) -> None:
    history = History(delays=5)
    assert outcomes(here(Work(*[TransientError("away")] * 2), history)) == [Outcome.DONE] * 3
    assert sum(pauses) == 1 + 2
    failed = here(Work(*[TransientError("away")] * 3), history)
    assert failed[1].message == "given up after 5 delays; the last one: away"
    assert sum(pauses) == 2 * (1 + 2), "no pause when it is given up"


def test_a_row_that_ends_its_process_is_tried_again_until_it_has_ended_so_many(pauses: list[float]) -> None:
    for ends, outcome, paused in ((2, Outcome.DONE, 1 + 2), (3, Outcome.FAILED, 1 + 2)):
        process, before = Process(Work(*[RowProcessEnded("signal 9")] * ends)), sum(pauses)
        made = rows(process.work).make_isolated(process, Ends())
        assert (outcomes(made)[1], sum(pauses) - before) == (outcome, paused)
        assert (process.calls.count("start"), process.calls.count("stop")) == (1 + 2 + max(1, min(ends + 1, 3)), 1)


def test_ends_that_are_known_already_count(pauses: list[float]) -> None:
    process = Process(Work(RowProcessEnded("signal 9")))
    history = History(rows={"1": ["signal 9", "signal 9"]})
    made = rows(process.work, history).make_isolated(process, Ends("signal 9", "signal 9"))
    assert made[1].message == "given up: 3 processes that made it alone ended: signal 9; signal 9; signal 9"
    assert pauses == []


def test_a_process_that_lost_its_device_counts_as_ended_and_is_stopped(pauses: list[float]) -> None:
    process, ledger = Process(Work(RuntimeError("CUDA error: x"))), Ends()
    assert outcomes(rows(process.work).make_isolated(process, ledger)) == [Outcome.DONE] * 3
    assert (len(ledger.ends), process.calls.count("stop")) == (1, 2)


def test_a_row_s_own_error_in_its_process_fails_it_and_the_process_is_stopped_at_the_end() -> None:
    process, ledger = Process(Work(BadInput("boom"))), Ends()
    made = rows(process.work).make_isolated(process, ledger)
    assert (outcomes(made)[1], ledger.ends, process.calls[-1]) == (Outcome.FAILED, [], "stop")


def test_a_pause_is_half_a_minute_at_most_and_watched(pauses: list[float]) -> None:
    watched: list[int] = []
    made = rows(Work(), watch=lambda: watched.append(1))
    for times, seconds in ((1, 1), (2, 2), (5, 16), (6, 30), (60, 30)):
        del pauses[:], watched[:]
        made._pause(times)
        assert (sum(pauses), len(watched)) == (seconds, len(pauses))


def test_each_row_begins_with_a_look_at_the_lease() -> None:
    watched: list[int] = []
    rows(Work(), watch=lambda: watched.append(1)).make_here(None, lambda loaded: loaded)
    assert len(watched) == 3

"""Claim, load, compute, save, commit: with real Redis and S3 and a stand-in for the device."""

import contextlib
from typing import Any

import pytest
import redis

from posemill.errors import BadInput, PosemillError, RunFault, TransientError
from posemill.ledger import Ledger
from posemill.names import RunKeys, Stage
from posemill.run_documents import read_state
from posemill.records import BatchRecord, Outcome, Run, RunState, SourceResult, decode, encode
from posemill.settings import Settings
from posemill.storage import Store
from tests.chaos.faults import fill
from tests.planned import plan_run
from workers.leases import LeaseKeeper
from workers.slices import Slices
from workers.stage import StageWorker, retry_delay

RUN = "r"


class Work:
    """Two sources a batch, done at once; raises what a test tells it to."""

    stage = Stage.DETECT

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.culprit: int | None = None  # the only row that raises it
        self.computed = 0
        self.kept: BatchRecord | None = None
        self.before_save = lambda: None

    def load(self, run: Run, batch: int, kept: BatchRecord | None) -> list[int]:
        self.kept = kept
        return [2 * batch, 2 * batch + 1]

    def compute(self, run: Run, loaded: list[int]) -> list[int]:
        self.computed += 1
        if self.error and (self.culprit is None or self.culprit in loaded):
            raise self.error
        return loaded

    def save(self, run: Run, computed: list[int]) -> list[SourceResult]:
        self.before_save()
        return self._results(computed, Outcome.DONE, "")

    def failed(self, run: Run, batch: int, error: PosemillError) -> list[SourceResult]:
        return self._results([2 * batch, 2 * batch + 1], Outcome.FAILED, str(error))

    def made_with(self, run: Run) -> dict[str, Any]:
        return {"by": "a test"}

    def _results(self, numbers: list[int], outcome: Outcome, message: str) -> list[SourceResult]:
        return [SourceResult(source=n, name=f"{n}.png", outcome=outcome, message=message) for n in numbers]


@pytest.fixture
def work(store: Store, ledger: Ledger) -> Work:
    plan_run(store, ledger, RUN)
    return Work()


def worker(work: Work, store: Store, ledger: Ledger, settings: Settings, name: str = "w") -> StageWorker:
    keeper = LeaseKeeper(ledger, settings.lease_seconds)
    return StageWorker(
        work, worker=name, store=store, ledger=ledger, slices=Slices(store), keeper=keeper, settings=settings
    )


def record(store: Store, batch: int = 0) -> BatchRecord:
    return decode(store.get(RunKeys(RUN).record(Stage.DETECT, batch)), BatchRecord)


def test_a_batch_is_recorded_and_counted(work: Work, store: Store, ledger: Ledger, settings: Settings) -> None:
    worker(work, store, ledger, settings).do(RUN, 0)
    assert [source.source for source in record(store).sources] == [0, 1]
    assert ledger.snapshot(RUN).stages[Stage.DETECT].done == 2


def test_the_same_message_twice_is_worked_on_once(work: Work, store: Store, ledger: Ledger, settings: Settings) -> None:
    for _ in range(2):
        worker(work, store, ledger, settings).do(RUN, 0)
    assert work.computed == 1


def test_a_worker_that_lost_its_lease_commits_nothing(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    def lose_the_lease() -> None:
        ledger.redis.hset(f"posemill:run:{RUN}:detect:holders", "0", "99")

    work.before_save = lose_the_lease
    worker(work, store, ledger, settings).do(RUN, 0)
    assert store.head(RunKeys(RUN).record(Stage.DETECT, 0)) is None
    assert ledger.snapshot(RUN).stages[Stage.DETECT].finished == 0


def test_the_record_that_stands_is_the_one_that_counts(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    first = BatchRecord(
        run_id=RUN, stage=Stage.DETECT, batch=0, attempt=1, worker="first", finished_at="", made_with={},
        sources=work._results([0, 1], Outcome.FAILED, "as the first writer saw it"),
    )  # fmt: skip
    store.put(RunKeys(RUN).record(Stage.DETECT, 0), encode(first))
    worker(work, store, ledger, settings, "second").do(RUN, 0)
    assert record(store).worker == "first"
    assert ledger.snapshot(RUN).stages[Stage.DETECT].failed == 2


def test_a_transient_error_sends_the_batch_back_with_a_delay(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.error = TransientError("the network is away")
    worker(work, store, ledger, settings).do(RUN, 0)
    counts = ledger.snapshot(RUN).stages[Stage.DETECT]
    assert (counts.waiting, counts.leased, counts.finished) == (1, 0, 0)


def test_a_redis_that_refuses_writes_costs_no_attempt(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.before_save = lambda: fill(ledger.redis)
    try:
        worker(work, store, ledger, settings).do(RUN, 0)
    finally:
        ledger.redis.config_set("maxmemory", 0)
    assert ledger.snapshot(RUN).stages[Stage.DETECT].waiting == 1
    ledger.redis.delete(f"posemill:run:{RUN}:detect:waiting")
    assert ledger.claim(RUN, Stage.DETECT, 0, 30).attempt == 1


def test_a_redis_that_was_away_past_the_lease_costs_no_attempt(
    work: Work, store: Store, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def go_away() -> None:
        monkeypatch.setitem(ledger._scripts, "release", away)
        raise redis.ConnectionError("nobody there")

    def away(*place: Any, **wanted: Any) -> None:
        raise redis.ConnectionError("nobody there")

    work.before_save = go_away
    busy = worker(work, store, ledger, settings)
    busy.do(RUN, 0)
    ledger.redis.delete(f"posemill:run:{RUN}:detect:holders", f"posemill:run:{RUN}:detect:leases")  # as expire.lua does
    busy.debts.pay()
    assert ledger.redis.hget(f"posemill:run:{RUN}:detect:attempts", "0") == "1"
    monkeypatch.undo()
    busy.debts.pay()
    busy.debts.pay()
    assert ledger.claim(RUN, Stage.DETECT, 0, 30).attempt == 1


def again(worker: StageWorker, ledger: Ledger, times: int) -> None:
    """Deliver the batch's message `times` times, as if all delays and leases were over."""
    for _ in range(times):
        with contextlib.suppress(Killed):
            worker.do(RUN, 0)
        ledger.redis.delete(*(f"posemill:run:{RUN}:detect:{name}" for name in ("waiting", "leases", "holders")))


class Killed(BaseException):
    """Ends a worker as SIGKILL does: nothing after it is done."""


def test_a_row_that_cannot_be_made_fails_alone_with_its_error_and_its_neighbour_is_done(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.error, work.culprit = RuntimeError("boom"), 1
    again(worker(work, store, ledger, settings), ledger, 3)
    good, bad = record(store).sources
    assert (good.outcome, bad.outcome) == (Outcome.DONE, Outcome.FAILED)
    assert "boom" in bad.message


def test_a_row_that_kills_its_worker_is_found_and_its_neighbour_is_done(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.error, work.culprit = Killed(), 0
    again(worker(work, store, ledger, settings), ledger, 5)
    bad, good = record(store).sources
    assert (bad.outcome, good.outcome) == (Outcome.FAILED, Outcome.DONE)
    assert "given up after 4 attempts" in bad.message


def test_transient_errors_cost_no_attempt_until_there_were_too_many(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.error = TransientError("storage is away")
    again(worker(work, store, ledger, settings.model_copy(update={"max_delays": 5})), ledger, 5)
    assert store.head(RunKeys(RUN).record(Stage.DETECT, 0)) is None
    again(worker(work, store, ledger, settings.model_copy(update={"max_delays": 5})), ledger, 1)
    assert "after 5 delays" in record(store).sources[0].message


def test_a_record_whose_writer_died_before_counting_is_counted_without_working_again(
    work: Work, store: Store, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "commit", lambda *_: (_ for _ in ()).throw(Killed()))
        again(worker(work, store, ledger, settings), ledger, 1)
    assert ledger.snapshot(RUN).stages[Stage.DETECT].finished == 0
    again(worker(work, store, ledger, settings), ledger, 1)
    assert (work.computed, ledger.snapshot(RUN).stages[Stage.DETECT].done) == (1, 2)


def test_a_worker_that_is_ending_hands_back_what_has_not_reached_the_device(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    ending = worker(work, store, ledger, settings)
    ending.drain()
    ending.do(RUN, 0)
    assert work.computed == 0
    assert ledger.claim(RUN, Stage.DETECT, 0, 30).attempt == 1


def test_a_permanent_error_is_recorded_at_once(work: Work, store: Store, ledger: Ledger, settings: Settings) -> None:
    work.error = BadInput("it cannot be")
    worker(work, store, ledger, settings).do(RUN, 0)
    assert work.computed == 1
    assert store.head(RunKeys(RUN).flag(Stage.DETECT, 0)) is not None
    assert record(store).counts[Outcome.FAILED] == 2


def test_a_fault_of_the_run_pauses_it_and_costs_no_attempt(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.error = RunFault("the model is missing")
    worker(work, store, ledger, settings).do(RUN, 0)
    assert ledger.state(RUN) is RunState.PAUSED
    assert read_state(store, RUN).reason == "the model is missing"
    ledger.set_state(RUN, RunState.RUNNING)
    assert ledger.claim(RUN, Stage.DETECT, 0, 30).attempt == 1


def test_what_retry_set_aside_is_handed_to_the_next_attempt(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    earlier = BatchRecord(run_id=RUN, stage=Stage.DETECT, batch=0, attempt=1, worker="w", finished_at="", made_with={})
    store.put(RunKeys(RUN).superseded(Stage.DETECT, 0), encode(earlier))
    worker(work, store, ledger, settings).do(RUN, 0)
    assert work.kept == earlier


def test_delays_between_attempts_grow_and_stay_bounded() -> None:
    delays = [retry_delay(attempt) for attempt in range(1, 20)]
    assert delays[0] < delays[3] < delays[6]
    assert max(delays) <= 75

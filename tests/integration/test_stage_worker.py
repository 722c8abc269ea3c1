"""Claim, load, compute, save, commit: with real Redis and S3 and a stand-in for the device."""

from typing import Any

import pytest

from posemill.errors import BadInput, PosemillError, RunFault, TransientError
from posemill.ledger import Ledger
from posemill.names import RunKeys, Stage
from posemill.rebuild import read_state
from posemill.records import BatchRecord, Outcome, Run, RunState, SourceResult, decode, encode
from posemill.settings import Settings
from posemill.storage import Store
from tests.planned import plan_run
from workers.leases import LeaseKeeper
from workers.slices import Slices
from workers.stage import StageWorker, retry_delay

RUN = "r"


class Work:
    """Two sources a batch, done at once; raises what a test tells it to."""

    stage = Stage.DETECT

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.computed = 0
        self.kept: BatchRecord | None = None
        self.before_save = lambda: None

    def load(self, run: Run, batch: int, kept: BatchRecord | None) -> int:
        self.kept = kept
        return batch

    def compute(self, run: Run, loaded: int) -> int:
        self.computed += 1
        if self.error:
            raise self.error
        return loaded

    def save(self, run: Run, computed: int) -> list[SourceResult]:
        self.before_save()
        return self._results(computed, Outcome.DONE, "")

    def failed(self, run: Run, batch: int, error: PosemillError) -> list[SourceResult]:
        return self._results(batch, Outcome.FAILED, str(error))

    def made_with(self, run: Run) -> dict[str, Any]:
        return {"by": "a test"}

    def _results(self, batch: int, outcome: Outcome, message: str) -> list[SourceResult]:
        numbers = (2 * batch, 2 * batch + 1)
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
        sources=work._results(0, Outcome.FAILED, "as the first writer saw it"),
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


def test_a_batch_that_keeps_failing_is_given_up_with_its_last_error(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.error = RuntimeError("boom")
    hasty = worker(work, store, ledger, settings.model_copy(update={"max_attempts": 2}))
    for _ in range(3):
        hasty.do(RUN, 0)
        ledger.redis.delete(f"posemill:run:{RUN}:detect:waiting")  # the delays are over
    assert work.computed == 2
    assert "boom" in record(store).sources[0].message
    assert ledger.snapshot(RUN).stages[Stage.DETECT].failed == 2


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

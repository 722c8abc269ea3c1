"""Claim, load, compute, save, commit: with real Redis and S3 and a stand-in for the device."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis

import workers.batches.single_rows
from posemill.contract.keys import RunKeys, Stage, StageKeys
from posemill.contract.records import BatchRecord, Outcome, Run, RunState, SourceResult, decode, encode
from posemill.errors import BadInput, LeaseLost, PosemillError, RunFault, TransientError
from posemill.queue.ledger import History, Ledger, OnDevice
from posemill.settings import Settings
from posemill.storage.run_documents import read_state
from posemill.storage.store import Store
from tests.chaos.faults import fill
from tests.conftest import wait_until
from tests.planned import plan_run, write_records
from workers.batches.anatomy import StageWorker
from workers.batches.attempts import retry_delay
from workers.batches.heartbeat import Heartbeat
from workers.batches.leases import LeaseKeeper
from workers.batches.plan_reader import Slices
from workers.batches.row_process import RowProcessEnded

RUN = "r"
KEYS = StageKeys(RUN, Stage.DETECT)


class Work:
    """Two sources a batch, done at once; raises what a test tells it to."""

    stage = Stage.DETECT

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.culprit: int | None = None  # the only row that raises it
        self.bad_load: int | None = None  # a row whose loading goes wrong
        self.computed = 0
        self.unloaded = 0
        self.resident: list[str] = []
        self.ends: list[int] = []  # exit statuses of its worker
        self.kept: BatchRecord | None = None
        self.before_save = lambda: None

    def load(self, run: Run, batch: int, kept: BatchRecord | None, row: int | None = None) -> list[int]:
        self.kept = kept
        rows = [2 * batch, 2 * batch + 1]
        rows = rows if row is None else rows[row : row + 1]
        if self.bad_load is not None and self.bad_load in rows:
            raise RuntimeError("it cannot be read")
        return rows

    def recorded(self, run: Run, record: BatchRecord) -> None:
        """Nothing is left to do."""

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

    def pinned(self, run, batch):
        return run

    def fetch(self, run, loaded, watch) -> None:
        pass

    def unload(self) -> None:
        self.unloaded += 1

    def _results(self, numbers: list[int], outcome: Outcome, message: str) -> list[SourceResult]:
        return [SourceResult(source_number=n, name=f"{n}.png", outcome=outcome, message=message) for n in numbers]


@pytest.fixture
def work(store: Store, ledger: Ledger) -> Work:
    plan_run(store, ledger, RUN)
    return Work()


class Rows:
    """A process for single rows that ends, or answers, as it is told."""

    def __init__(self, *, killing: int | None = None, error: Exception | None = None) -> None:
        self.killing = killing  # a row that ends it
        self.error = error  # of its start
        self.made: list[int] = []
        self.running = False
        self.made_with = {"by": "a row's process"}

    def start(self, watch: Callable[[], None]) -> None:
        watch()
        if self.error:
            raise self.error
        self.running = True

    def make(self, run: Run, batch: int, row: int, watch: Callable[[], None]) -> list[SourceResult]:
        assert self.running
        self.made.append(row)
        if row == self.killing:
            self.running = False
            raise RowProcessEnded("signal 11 (SIGSEGV)")
        return [SourceResult(source_number=2 * batch + row, name="", outcome=Outcome.DONE)]

    def stop(self) -> None:
        self.running = False


def worker(
    work: Work, store: Store, ledger: Ledger, settings: Settings, name: str = "w", rows: Rows | None = None
) -> StageWorker:
    return StageWorker(
        work,
        worker=name,
        store=store,
        ledger=ledger,
        slices=Slices(store),
        keeper=LeaseKeeper(ledger, settings.lease_seconds),
        settings=settings,
        row_process=rows or Rows(),
        end=work.ends.append,
    )


def record(store: Store, batch: int = 0) -> BatchRecord:
    return decode(store.get(RunKeys(RUN).record(Stage.DETECT, batch)), BatchRecord)


def test_a_batch_is_recorded_and_counted(work: Work, store: Store, ledger: Ledger, settings: Settings) -> None:
    worker(work, store, ledger, settings).do(RUN, 0)
    assert [source.source_number for source in record(store).sources] == [0, 1]
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
        results=work._results([0, 1], Outcome.FAILED, "as the first writer saw it"),
    )  # fmt: skip
    work.before_save = lambda: store.put(RunKeys(RUN).record(Stage.DETECT, 0), encode(first))
    worker(work, store, ledger, settings, "second").do(RUN, 0)
    assert record(store).worker == "first"
    assert ledger.snapshot(RUN).stages[Stage.DETECT].failed == 2


def test_a_transient_error_sends_the_batch_back_with_a_delay_and_charges_nothing(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.error = TransientError("the network is away")
    worker(work, store, ledger, settings).do(RUN, 0)
    counts = ledger.snapshot(RUN).stages[Stage.DETECT]
    assert (counts.waiting, counts.leased, counts.finished) == (1, 0, 0)
    due = ledger.redis.zscore(KEYS.waiting, "0") - ledger._now()
    assert 0.5 < due < 1.5, "the first delay is a second, spread by a quarter"
    assert ledger.history(RUN, Stage.DETECT, 0) == History(claims=1, delays=1, error="the network is away")


@pytest.fixture
def down(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The kinds of calls that Redis refuses just now."""
    refused: set[str] = set()

    def guarded(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*arguments: Any, **options: Any) -> Any:
            if name in refused:
                raise redis.ConnectionError("nobody there")
            return call(*arguments, **options)

        return answer

    for name, script in list(ledger._scripts.items()):
        monkeypatch.setitem(ledger._scripts, name, guarded(name, script))
    for name in ("note_device", "clear_device"):
        monkeypatch.setattr(ledger, name, guarded(name, getattr(ledger, name)))
    return refused


CALLS = ("renew", "commit", "release", "pause", "note_device", "clear_device")


ERRORS = {
    "done": None,
    "fault": RunFault("x"),
    "transient": TransientError("x"),
    "lost": LeaseLost("x"),
    "permanent": BadInput("x"),
    "unknown": OSError("x"),
}


@pytest.mark.parametrize("ending", ERRORS)
@pytest.mark.parametrize("call", CALLS)
def test_no_call_to_the_ledger_leaves_the_task_and_what_could_not_be_said_is_said_later(
    work: Work, store: Store, ledger: Ledger, settings: Settings, down: set[str], call: str, ending: str
) -> None:
    work.error = ERRORS[ending]
    busy = worker(work, store, ledger, settings)
    down.add(call)
    busy.do(RUN, 0)
    down.clear()
    busy.pending.flush()
    assert ledger.state(RUN) is (RunState.PAUSED if ending == "fault" else RunState.RUNNING)
    ledger.set_state(RUN, RunState.RUNNING)
    busy.do(RUN, 1)  # the same without an outage
    assert facts(ledger, 0) == facts(ledger, 1)
    assert ledger.redis.keys("posemill:device:*") == []


def facts(ledger: Ledger, batch: int) -> tuple[object, ...]:
    """What the ledger has of a batch, in the end."""
    history = ledger.history(RUN, Stage.DETECT, batch)
    return (
        ledger.redis.getbit(KEYS.done, batch),
        ledger.redis.zscore(KEYS.leases, str(batch)) is not None,
        ledger.redis.zscore(KEYS.waiting, str(batch)) is not None,
        (history.failures, history.deaths, history.delays),
    )


def test_an_outage_past_the_lease_charges_nothing_and_nothing_is_made_again(
    work: Work, store: Store, ledger: Ledger, settings: Settings, down: set[str]
) -> None:
    work.before_save = lambda: down.update(CALLS)
    busy = worker(work, store, ledger, settings)
    busy.do(RUN, 0)
    assert ledger.snapshot(RUN).stages[Stage.DETECT].finished == 0
    down.clear()
    ledger.redis.delete(KEYS.holders, KEYS.leases)  # as expire.lua does
    worker(work, store, ledger, settings, "another").do(RUN, 0)
    busy.pending.flush()
    assert (work.computed, ledger.snapshot(RUN).stages[Stage.DETECT].done) == (1, 2)


def test_a_claim_that_redis_does_not_answer_leaves_the_task_in_peace(
    work: Work, store: Store, ledger: Ledger, settings: Settings, down: set[str]
) -> None:
    down.add("claim")
    worker(work, store, ledger, settings).do(RUN, 0)
    assert work.computed == 0


def test_a_redis_that_refuses_writes_charges_nothing(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.before_save = lambda: fill(ledger.redis)
    busy = worker(work, store, ledger, settings)
    try:
        busy.do(RUN, 0)
    finally:
        ledger.redis.config_set("maxmemory", 0)
    busy.pending.flush()
    assert ledger.snapshot(RUN).stages[Stage.DETECT].done == 2, "the record stands; it is counted when Redis takes it"


def again(worker: StageWorker, ledger: Ledger, times: int) -> None:
    """Deliver the batch's message `times` times, as if all delays and leases were over."""
    for _ in range(times):
        worker.do(RUN, 0)
        ledger.redis.delete(KEYS.waiting, KEYS.leases, KEYS.holders)


def die(worker_name: str, ledger: Ledger, times: int) -> None:
    """Deaths of a worker with the batch on its device, as its supervisor reports them."""
    for _ in range(times):
        claim = ledger.claim(RUN, Stage.DETECT, 0, 30)
        on_device = OnDevice(run_id=RUN, stage=Stage.DETECT, batch=0, fence=claim.fence, alone=False)
        ledger.note_device(worker_name, on_device, seconds=60)
        ledger.report_death(worker_name, "signal 9", delay_seconds=lambda deaths: 0.0)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.batches.single_rows, "FIRST_PAUSE_SECONDS", 0.0)


def test_a_row_that_cannot_be_made_fails_alone_with_its_error_and_its_neighbour_is_done(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.error, work.culprit = RuntimeError("boom"), 1
    again(worker(work, store, ledger, settings), ledger, 3)
    good, bad = record(store).sources
    assert (good.outcome, bad.outcome) == (Outcome.DONE, Outcome.FAILED)
    assert "boom" in bad.message


def test_a_row_that_cannot_be_loaded_fails_alone(work: Work, store: Store, ledger: Ledger, settings: Settings) -> None:
    work.bad_load = 0
    again(worker(work, store, ledger, settings), ledger, 3)
    bad, good = record(store).sources
    assert (bad.outcome, good.outcome) == (Outcome.FAILED, Outcome.DONE)
    assert "cannot be read" in bad.message


def test_a_batch_is_on_the_device_for_the_ledger_only_while_it_is_computed(
    work: Work, store: Store, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def look() -> None:
        seen.append(ledger.redis.exists("posemill:device:w"))

    load, compute = work.load, work.compute
    monkeypatch.setattr(work, "load", lambda *place: (look(), load(*place))[1])
    monkeypatch.setattr(work, "compute", lambda *rows: (look(), compute(*rows))[1])
    work.before_save = look
    worker(work, store, ledger, settings).do(RUN, 0)
    assert seen == [0, 1, 0]


@pytest.mark.usefixtures("no_pauses")
def test_a_row_that_ends_its_process_alone_is_failed_with_its_history_and_its_neighbour_is_done(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    die("w", ledger, 2)
    rows = Rows(killing=0)
    worker(work, store, ledger, settings, rows=rows).do(RUN, 0)
    bad, good = record(store).sources
    assert (bad.outcome, good.outcome) == (Outcome.FAILED, Outcome.DONE)
    assert "5 processes that made it alone ended: signal 11 (SIGSEGV)" in bad.message
    assert (rows.made, rows.running, work.computed) == ([0] * 5 + [1], False, 0)
    assert record(store).made_with == {"by": "a row's process"}


@pytest.mark.usefixtures("no_pauses")
def test_the_ends_of_a_row_are_counted_across_workers(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    die("w", ledger, 2)
    for _ in range(4):
        ledger.note_row_death(RUN, Stage.DETECT, 0, 0, "signal 9")
    rows = Rows(killing=0)
    worker(work, store, ledger, settings, rows=rows).do(RUN, 0)
    assert rows.made == [0, 1]
    assert record(store).sources[0].outcome is Outcome.FAILED


def test_deaths_alone_fail_nothing_however_many(work: Work, store: Store, ledger: Ledger, settings: Settings) -> None:
    die("w", ledger, 50)
    worker(work, store, ledger, settings).do(RUN, 0)
    assert record(store).counts[Outcome.DONE] == 2
    assert work.unloaded == 1, "the other process needs the memory"


def test_leases_that_run_out_again_and_again_are_looked_into_row_by_row(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    for _ in range(6):
        ledger.claim(RUN, Stage.DETECT, 0, 30)
        ledger.redis.zadd(KEYS.leases, {"0": 1.0})
    rows = Rows()
    worker(work, store, ledger, settings, rows=rows).do(RUN, 0)
    assert (rows.made, record(store).counts[Outcome.DONE]) == ([0, 1], 2)


def test_a_process_for_single_rows_that_cannot_start_fails_no_row(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    die("w", ledger, 2)
    worker(work, store, ledger, settings, rows=Rows(error=TransientError("no memory"))).do(RUN, 0)
    assert store.head(RunKeys(RUN).record(Stage.DETECT, 0)) is None
    assert ledger.history(RUN, Stage.DETECT, 0).delays == 1


@pytest.mark.usefixtures("no_pauses")
def test_when_delays_run_out_only_the_row_that_needs_them_fails(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.error, work.culprit = TransientError("its host is away"), 1
    patient = worker(work, store, ledger, settings.model_copy(update={"max_delays": 5}))
    again(patient, ledger, 5)
    assert store.head(RunKeys(RUN).record(Stage.DETECT, 0)) is None
    again(patient, ledger, 1)
    good, bad = record(store).sources
    assert (good.outcome, bad.outcome) == (Outcome.DONE, Outcome.FAILED)
    assert "after 5 delays; the last one: its host is away" in bad.message


def test_an_error_that_no_row_has_pauses_the_run_in_the_end(
    work: Work, store: Store, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a fault of our own")

    monkeypatch.setattr(work, "compute", broken)
    monkeypatch.setattr(work, "failed", broken)
    again(worker(work, store, ledger, settings), ledger, 6)
    assert ledger.state(RUN) is RunState.PAUSED
    assert "a fault of our own" in read_state(store, RUN).reason


def test_a_lost_device_ends_the_worker_and_fails_nothing(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    work.error = RuntimeError("CUDA error: an illegal memory access was encountered")
    worker(work, store, ledger, settings).do(RUN, 0)
    assert work.ends == [75]
    assert ledger.snapshot(RUN).stages[Stage.DETECT].finished == 0


def test_a_record_that_stands_is_counted_without_working_again(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    write_records(store, RUN, Stage.DETECT, [0])
    worker(work, store, ledger, settings).do(RUN, 0)
    assert (work.computed, ledger.snapshot(RUN).stages[Stage.DETECT].done) == (0, 2)


def test_a_worker_that_is_ending_hands_back_what_has_not_reached_the_device(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    ending = worker(work, store, ledger, settings)
    ending.drain()
    ending.do(RUN, 0)
    assert work.computed == 0
    assert ledger.claim(RUN, Stage.DETECT, 0, 30).history == History(claims=2)


def test_the_end_of_a_worker_that_was_told_to_end_charges_nothing(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    ending = worker(work, store, ledger, settings)
    work.before_save = lambda: None
    note_seen: list[object] = []
    compute = work.compute

    def drained(run: Run, loaded: list[int]) -> list[int]:
        ending.drain()  # SIGTERM comes while the batch is on the device
        wait_until(lambda: not ledger.redis.exists("posemill:device:w"), seconds=5)
        note_seen.append(ledger.report_death("w", "signal 9", delay_seconds=float))
        return compute(run, loaded)

    work.compute = drained  # type: ignore[method-assign]
    ending.do(RUN, 0)
    assert note_seen == [None]
    assert record(store).counts[Outcome.DONE] == 2, "what was on the device is finished"


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
    assert ledger.history(RUN, Stage.DETECT, 0) == History(claims=1, error="the model is missing")


@pytest.mark.parametrize("row", [b"{", b"[1]", b"null", b'{"name": 3}', b"\xff"])
def test_a_row_of_the_plan_that_nobody_can_read_pauses_its_run_at_the_first_attempt(
    work: Work, store: Store, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch, row: bytes
) -> None:
    key = RunKeys(RUN).shard(Stage.DETECT, 0)
    header, first, _, *rest = store.get(key).splitlines()
    store.put(key, b"\n".join([header, first, row, *rest, b""]))
    slices = Slices(store)
    monkeypatch.setattr(work, "load", lambda run, batch, kept, row=None: slices.sources(run, batch))
    worker(work, store, ledger, settings).do(RUN, 0)
    assert ledger.state(RUN) is RunState.PAUSED
    assert f"{key} cannot be read (row " in read_state(store, RUN).reason
    assert ledger.history(RUN, Stage.DETECT, 0).failures == 0


def test_what_retry_set_aside_is_handed_to_the_next_attempt(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    done = work._results([0, 1], Outcome.DONE, "")
    earlier = BatchRecord(
        run_id=RUN, stage=Stage.DETECT, batch=0, attempt=1, worker="w", finished_at="", made_with={}, results=done
    )
    store.put(RunKeys(RUN).superseded(Stage.DETECT, 0), encode(earlier))
    worker(work, store, ledger, settings).do(RUN, 0)
    assert work.kept == earlier


def test_delays_between_attempts_grow_and_stay_bounded() -> None:
    delays = [retry_delay(attempt) for attempt in range(1, 20)]
    assert delays[0] < delays[3] < delays[6]
    assert max(delays) <= 75


def test_a_record_says_which_attempt_by_whom_and_with_what(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    claim = ledger.claim(RUN, Stage.DETECT, 0, 30)
    ledger.release(RUN, Stage.DETECT, 0, claim.fence)
    worker(work, store, ledger, settings, "me").do(RUN, 0)
    made = record(store)
    assert (made.attempt, made.worker, made.made_with) == (2, "me", {"by": "a test"})
    assert (made.run_id, made.stage, made.batch) == (RUN, Stage.DETECT, 0)
    assert made.finished_at.endswith("+00:00")


def test_a_batch_all_done_has_no_flag_and_one_with_a_rejected_row_has(
    work: Work, store: Store, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, save = worker(work, store, ledger, settings), work.save
    busy.do(RUN, 0)
    monkeypatch.setattr(work, "save", lambda *rows: [save(*rows)[0], *work._results([3], Outcome.REJECTED, "")])
    busy.do(RUN, 1)
    keys = RunKeys(RUN)
    assert [store.head(keys.flag(Stage.DETECT, batch)) is not None for batch in (0, 1)] == [False, True]


def test_a_worker_counts_what_it_finished_and_a_step_at_each_message(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    busy = worker(work, store, ledger, settings)
    for batch, finished in ((0, 1), (0, 1), (1, 2)):
        busy.stepped = 0.0
        busy.do(RUN, batch)
        assert (busy.finished, busy.stepped > 0) == (finished, True)


def test_a_lease_lost_while_the_batch_is_computed_uploads_nothing(
    work: Work, store: Store, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy, saved = worker(work, store, ledger, settings), []
    work.before_save = lambda: saved.append(1)

    def lose(run: Run, loaded: list[int]) -> list[int]:
        (lease,) = busy._keeper.held
        lease.lost = True
        return loaded

    monkeypatch.setattr(work, "compute", lose)
    busy.do(RUN, 0)
    assert (saved, store.head(RunKeys(RUN).record(Stage.DETECT, 0))) == ([], None)
    assert ledger.history(RUN, Stage.DETECT, 0) == History(claims=1), "and nothing is charged"


def test_what_is_held_is_handed_back_at_once(work: Work, store: Store, ledger: Ledger, settings: Settings) -> None:
    busy = worker(work, store, ledger, settings)
    work.before_save = busy.hand_back
    busy.do(RUN, 0)
    assert store.head(RunKeys(RUN).record(Stage.DETECT, 0)) is None
    assert ledger.history(RUN, Stage.DETECT, 0) == History(claims=1)


def test_calls_that_wait_are_made_before_the_next_batch_is_claimed(
    work: Work, store: Store, ledger: Ledger, settings: Settings, down: set[str]
) -> None:
    busy = worker(work, store, ledger, settings)
    down.add("commit")
    busy.do(RUN, 0)
    down.clear()
    busy.do("no-such-run", 0)
    assert ledger.snapshot(RUN).stages[Stage.DETECT].done == 2


def test_a_batch_is_not_made_before_its_run_is_paused_when_it_is_hopeless(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    for _ in range(settings.max_attempts + 3):
        fence = ledger.claim(RUN, Stage.DETECT, 0, 30).fence
        ledger.release(RUN, Stage.DETECT, 0, fence, failed=True, error="boom")
    worker(work, store, ledger, settings).do(RUN, 0)
    assert (work.computed, ledger.state(RUN)) == (0, RunState.PAUSED)
    assert read_state(store, RUN).reason == "detect batch 0 cannot be made nor failed: boom"


def test_a_note_of_the_device_outlives_a_batch_that_is_nearly_stuck_and_says_how_it_is_made(
    work: Work, store: Store, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[OnDevice, float]] = []
    monkeypatch.setattr(ledger, "note_device", lambda _, note, *, seconds: seen.append((note, seconds)))
    patient = settings.model_copy(update={"stuck_seconds": 50})
    busy = worker(work, store, ledger, patient)
    busy.do(RUN, 0)
    assert [(note.run_id, note.stage, note.batch, note.alone, seconds) for note, seconds in seen] == [
        (RUN, Stage.DETECT, 0, False, 100)
    ]


def test_a_watched_process_is_noted_as_such(
    work: Work, store: Store, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    die("w", ledger, 2)
    seen: list[bool] = []
    monkeypatch.setattr(ledger, "note_device", lambda _, note, *, seconds: seen.append(note.alone))
    worker(work, store, ledger, settings).do(RUN, 0)
    assert seen == [True]


def test_a_heartbeat_says_what_its_worker_holds_and_is_taken_away_at_the_end(
    work: Work, store: Store, ledger: Ledger, settings: Settings
) -> None:
    busy, queue, stopped = worker(work, store, ledger, settings), "some-queue", threading.Event()
    work.resident = ["openpose"]
    busy.stepped, busy.finished = time.monotonic() - 40, 7
    ledger.redis.lpush(queue, "one")
    beat = Heartbeat(ledger, stage=Stage.DETECT, queue=queue, worker=busy, keeper=busy._keeper)
    beat.beat()
    (said,) = ledger.workers().values()
    assert 39 < said.pop("idle_seconds") < 60
    assert abs(said.pop("seen") - time.time()) < 30
    assert said == {"stage": "detect", "batches": 7, "leases": 0, "resident": ["openpose"], "queued": 1}
    stopped.set()
    busy.pending._calls.append(partial(ledger.redis.set, "paid", 1))
    beat.run_until(stopped)
    assert (ledger.workers(), ledger.redis.get("paid")) == ({}, "1"), "what is owed is paid without another batch"

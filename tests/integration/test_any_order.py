"""Claims, deaths, outages, takeovers, lost messages, retries and rebuilds in any order, against a model.

The ledger, the window and the dispatcher are the real ones on a real Redis; workers are reduced to the calls that
workers/batches/anatomy.py makes, so that each may die or lose Redis between any two of them.
"""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from posemill.contract.keys import Priority, Stage, StageKeys, queue_list, queue_name
from posemill.contract.records import BatchRecord, ItemResult, Outcome, RunState, SourceResult
from posemill.queue import dispatcher
from posemill.queue.dispatcher import Dispatcher
from posemill.queue.ledger import Claim, Ledger, OnDevice, Verdict
from posemill.queue.rebuild import rebuild
from posemill.queue.run_states import retry
from posemill.settings import Settings
from posemill.storage.record_writing import write_record
from posemill.storage.run_documents import read_record
from tests.memory_store import MemoryStore
from tests.planned import plan_run

RUN, SOURCES, BATCHES, WINDOW = "any", 12, 6, 3
WORKERS = strategies.integers(0, 2)
STAGES = strategies.sampled_from(list(Stage))


class Queues:
    """Celery's part of the app: messages lie on the same Redis lists, and are taken one by one."""

    def __init__(self, ledger: Ledger) -> None:
        self._redis = ledger.redis
        self.producer_pool = self

    @contextmanager
    def acquire(self, *, block: bool) -> Any:
        yield self

    def send_task(self, name: str, *, args: list[Any], queue: str, producer: Any, priority: int) -> None:
        self._redis.lpush(queue_list(queue, Priority(priority)), json.dumps(args))

    def take(self, stage: Stage) -> int | None:
        for priority in Priority:
            if message := self._redis.rpop(queue_list(queue_name(stage), priority)):
                return int(json.loads(message)[1])  # type: ignore[arg-type]
        return None


class Worker:
    """One process with one batch at most: what it holds, and what it could not say while Redis was away."""

    def __init__(self) -> None:
        self.stage = Stage.DETECT
        self.batch = -1
        self.claim: Claim | None = None
        self.on_device = False
        self.pending: list[Callable[[], object]] = []
        self.is_cut_off = False

    def say(self, call: Callable[[], object]) -> None:
        self.pending.append(call)
        if not self.is_cut_off:
            while self.pending:
                self.pending.pop(0)()


class AnyOrder(RuleBasedStateMachine):
    ledger: Ledger  # given by the test

    @initialize()
    def begin(self) -> None:
        self.ledger.redis.flushdb()
        self.store = MemoryStore()
        plan_run(self.store, self.ledger, RUN, sources=SOURCES)
        self.queues = Queues(self.ledger)
        limits = {"window": WINDOW, "resend_seconds": 1e-6}
        self.dispatcher = Dispatcher(self.store, self.ledger, self.queues, Settings().model_copy(update=limits))  # type: ignore[arg-type]
        self.workers = [Worker() for _ in range(3)]
        self.deaths: Counter[tuple[Stage, int]] = Counter()  # seen, with the batch on the device

    @rule()
    def look(self) -> None:
        self.dispatcher.tick()

    @precondition(lambda self: self._any(lambda worker: not worker.claim and not worker.is_cut_off))
    @rule(number=WORKERS, stage=STAGES, begins=strategies.booleans())
    def take(self, number: int, stage: Stage, begins: bool) -> None:
        number, worker = self._one(number, lambda worker: not worker.claim and not worker.is_cut_off)
        batch = self.queues.take(stage)
        if batch is None:
            self.dispatcher.tick()
            batch = self.queues.take(stage)
        if batch is None:
            return
        claim = self.ledger.claim(RUN, stage, batch, 1000)
        if claim.verdict is Verdict.CLAIMED:
            worker.stage, worker.batch, worker.claim = stage, batch, claim
            if begins:
                self._begin(number, worker)

    @precondition(lambda self: self._any(lambda worker: worker.claim and not worker.on_device))
    @rule(number=WORKERS)
    def compute(self, number: int) -> None:
        number, worker = self._one(number, lambda worker: worker.claim and not worker.on_device)
        if worker.is_cut_off:
            return
        self._begin(number, worker)

    def _begin(self, number: int, worker: Worker) -> None:
        assert worker.claim
        if standing := read_record(self.store, RUN, worker.stage, worker.batch):
            self._count(worker, standing)
            return
        note = OnDevice(run_id=RUN, stage=worker.stage, batch=worker.batch, fence=worker.claim.fence, alone=False)
        self.ledger.note_device(str(number), note, seconds=1000)
        worker.on_device = True

    @precondition(lambda self: self._any(lambda worker: worker.on_device))
    @rule(number=WORKERS, failed=strategies.sampled_from([0, 0, 1]))
    def finish(self, number: int, failed: int) -> None:
        number, worker = self._one(number, lambda worker: worker.on_device)
        assert worker.claim
        worker.say(partial(self.ledger.clear_device, str(number)))
        worker.on_device = False
        kept = worker.is_cut_off or self.ledger.renew(RUN, worker.stage, worker.batch, worker.claim.fence, 1000)
        if not kept:
            self._let_go(worker)
            return
        self._count(worker, write_record(self.store, record(worker.stage, worker.batch, failed)))

    @precondition(lambda self: self._any(lambda worker: worker.claim))
    @rule(number=WORKERS, transient=strategies.booleans())
    def meet_an_error(self, number: int, transient: bool) -> None:
        number, worker = self._one(number, lambda worker: worker.claim)
        if worker.on_device:
            worker.say(partial(self.ledger.clear_device, str(number)))
        self._let_go(worker, failed=not transient, put_off=transient)

    @precondition(lambda self: self._any(lambda worker: worker.claim))
    @rule(number=WORKERS, seen=strategies.booleans())
    def die(self, number: int, seen: bool) -> None:
        """What it could not say is lost with it. Where nobody saw it, as on a machine switched off, nothing is told."""
        number, _ = self._one(number, lambda worker: worker.claim)
        noted = self.ledger.redis.exists(f"posemill:device:{number}") == 1
        if seen:
            told = self.ledger.report_death(str(number), "signal 9", delay_seconds=lambda _: 0.0)
            assert bool(told) == noted
            if told:
                self.deaths[told.stage, told.batch] += 1
        else:
            self.ledger.clear_device(str(number))  # another process has this number from now on
        self.workers[number] = Worker()

    @rule(number=WORKERS, away=strategies.booleans())
    def cut_off(self, number: int, away: bool) -> None:
        self.workers[number].is_cut_off = away
        if not away and self.workers[number].pending:
            self.workers[number].say(lambda: None)

    @rule(stage=STAGES, batch=strategies.integers(0, BATCHES - 1))
    def run_out_of_time(self, stage: Stage, batch: int) -> None:
        self.ledger.redis.zadd(StageKeys(RUN, stage).leases, {str(batch): 1.0}, xx=True)

    @rule(stage=STAGES)
    def lose_a_message(self, stage: Stage) -> None:
        self.queues.take(stage)

    @rule(stage=STAGES, batch=strategies.integers(0, BATCHES - 1))
    def repeat_a_message(self, stage: Stage, batch: int) -> None:
        self.queues.send_task("", args=[RUN, batch], queue=queue_name(stage), producer=None, priority=Priority.NORMAL)

    @rule()
    def lose_redis(self) -> None:
        """All of it; somebody resumes the run. Histories are lost: nothing may be charged for them."""
        self.ledger.redis.flushdb()
        rebuild(self.store, self.ledger, RUN)
        self.deaths.clear()

    @rule()
    def resume(self) -> None:
        rebuild(self.store, self.ledger, RUN)
        self.deaths.clear()

    @precondition(lambda self: self.ledger.state(RUN) in (RunState.RUNNING, RunState.COMPLETE))
    @rule(dies=strategies.booleans())
    def retry_what_failed(self, dies: bool) -> None:
        if dies:
            self.ledger.set_state(RUN, RunState.RETRYING)
        elif retry(self.store, self.ledger, RUN):
            self.deaths.clear()

    @invariant()
    def nothing_is_charged_without_evidence(self) -> None:
        for stage in (Stage.DETECT, Stage.GENERATE):
            for batch in range(BATCHES):
                history = self.ledger.history(RUN, stage, batch)
                assert 0 <= history.deaths <= self.deaths[stage, batch]
                assert min(history.claims, history.failures, history.delays, history.expiries) >= 0

    @invariant()
    def no_more_is_out_than_the_window_holds(self) -> None:
        for stage in (Stage.DETECT, Stage.GENERATE):
            out = self.ledger.redis.zcard(StageKeys(RUN, stage).sent) + self._leased_in_time(stage)
            assert out <= WINDOW + len(self.workers), "a repeated message may be claimed beside a full window"

    def teardown(self) -> None:
        """From wherever it is: three workers that meet nothing more end the run, and everything is counted once."""
        if not hasattr(self, "store"):
            return
        for _ in range(200):
            for stage in (Stage.DETECT, Stage.GENERATE):
                self._make_due(stage)
                while (batch := self.queues.take(stage)) is not None:
                    self._work_through(stage, batch)
            self.dispatcher.tick()
            if self.ledger.state(RUN) is RunState.COMPLETE:
                break
        self._require_all_counted_once()

    def _work_through(self, stage: Stage, batch: int) -> None:
        claim = self.ledger.claim(RUN, stage, batch, 1000)
        if claim.verdict is Verdict.CLAIMED:
            standing = read_record(self.store, RUN, stage, batch)
            made = standing or write_record(self.store, record(stage, batch, 0))
            self.ledger.commit(RUN, stage, batch, made.counts)

    def _require_all_counted_once(self) -> None:
        snapshot = self.ledger.snapshot(RUN)
        assert snapshot
        assert snapshot.state is RunState.COMPLETE
        for stage in (Stage.DETECT, Stage.GENERATE):
            records = [read_record(self.store, RUN, stage, batch) for batch in range(BATCHES)]
            failed = sum(found.counts[Outcome.FAILED] for found in records if found)
            counts = snapshot.stages[stage]
            assert (counts.batches_done, counts.failed, counts.done) == (BATCHES, failed, SOURCES - failed)
            assert self.ledger.redis.exists(StageKeys(RUN, stage).holders, StageKeys(RUN, stage).history) == 0

    def _make_due(self, stage: Stage) -> None:
        """Whoever holds a batch is gone, and all delays are over."""
        keys = StageKeys(RUN, stage)
        for key in (keys.waiting, keys.leases):
            for batch in self.ledger.redis.zrange(key, 0, -1):
                self.ledger.redis.zadd(key, {str(batch): 1.0})

    def _any(self, kind: Callable[[Worker], object]) -> bool:
        return any(kind(worker) for worker in self.workers)

    def _one(self, number: int, kind: Callable[[Worker], object]) -> tuple[int, Worker]:
        """One of the workers of that kind, by a number."""
        found = [(place, worker) for place, worker in enumerate(self.workers) if kind(worker)]
        return found[number % len(found)]

    def _leased_in_time(self, stage: Stage) -> int:
        return int(self.ledger.redis.zcount(StageKeys(RUN, stage).leases, 2, "+inf"))

    def _count(self, worker: Worker, standing: BatchRecord) -> None:
        worker.say(partial(self.ledger.commit, RUN, standing.stage, standing.batch, standing.counts))
        worker.claim = None

    def _let_go(self, worker: Worker, **how: bool) -> None:
        if worker.claim:
            worker.say(partial(self.ledger.release, RUN, worker.stage, worker.batch, worker.claim.fence, **how))
        worker.claim, worker.on_device = None, False


def record(stage: Stage, batch: int, failed: int) -> BatchRecord:
    outcomes = [Outcome.FAILED] * failed + [Outcome.DONE] * (2 - failed)
    numbers = [2 * batch, 2 * batch + 1]
    made = {
        "run_id": RUN,
        "stage": stage,
        "batch": batch,
        "attempt": 1,
        "worker": "",
        "finished_at": "",
        "made_with": {},
    }
    if stage is Stage.DETECT:
        rows = zip(numbers, outcomes, strict=True)
        return BatchRecord(
            **made, results=[SourceResult(source_number=n, name="", outcome=outcome) for n, outcome in rows]
        )
    items = [ItemResult(id=f"item{n:04d}", outcome=outcome) for n, outcome in zip(numbers, outcomes, strict=True)]
    return BatchRecord(**made, results=items)


def test_in_any_order_nothing_is_lost_stuck_or_charged_without_evidence(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "ABANDONED_SECONDS", 0.0)
    AnyOrder.ledger = ledger
    run_state_machine_as_test(
        AnyOrder,
        settings=settings(
            max_examples=100, stateful_step_count=50, deadline=None, derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )  # fmt: skip

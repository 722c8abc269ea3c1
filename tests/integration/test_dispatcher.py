"""The dispatcher against real Redis, S3 and Celery's queues."""

import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest
from celery import Celery

from posemill.contract.keys import Priority, RunKeys, Stage, StageKeys, queue_list, queue_name
from posemill.contract.records import Outcome, RunState, encode
from posemill.queue.celery_app import make_app
from posemill.queue.dispatcher import Dispatcher, PlanReader
from posemill.queue.ledger import Ledger
from posemill.queue.rebuild import rebuild
from posemill.queue.window import queue_length
from posemill.settings import Settings
from posemill.storage.run_documents import read_state
from posemill.storage.store import Store
from tests.conftest import wait_until
from tests.planned import make_run, open_in_ledger, plan_run, write_records

RUN = "r"
DONE = {Outcome.DONE: 2, Outcome.REJECTED: 0, Outcome.FAILED: 0}


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    made = make_app(settings.redis_url.get_secret_value())
    yield made
    made.close()


def dispatcher(store: Store, ledger: Ledger, app: Celery, settings: Settings, *, window: int = 256) -> Dispatcher:
    return Dispatcher(store, ledger, app, settings.model_copy(update={"window": window}))


def queued(ledger: Ledger, stage: Stage) -> int:
    return queue_length(ledger.redis, queue_name(stage))


def test_generating_waits_until_its_own_sources_are_detected(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=8)
    loop = dispatcher(store, ledger, app, settings)
    loop.tick()
    assert (queued(ledger, Stage.DETECT), queued(ledger, Stage.GENERATE)) == (4, 0)
    ledger.commit(RUN, Stage.DETECT, 2, DONE)
    loop.tick()
    assert queued(ledger, Stage.GENERATE) == 1
    assert ledger.redis.zrange(StageKeys(RUN, Stage.GENERATE).sent, 0, -1) == ["2"]


def test_no_more_messages_are_out_than_the_window_holds(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=40)
    loop = dispatcher(store, ledger, app, settings, window=3)
    for _ in range(3):
        loop.tick()
    assert queued(ledger, Stage.DETECT) == 3


def test_every_batch_is_sent_once_when_nothing_goes_wrong(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan = plan_run(store, ledger, RUN, sources=50)
    loop = dispatcher(store, ledger, app, settings, window=4)
    for stage in Stage:
        write_records(store, RUN, stage, range(25))
    for _ in range(2 * plan.batches[Stage.DETECT]):
        loop.tick()
        for stage in Stage:
            for batch in ledger.redis.zrange(StageKeys(RUN, stage).sent, 0, -1):
                assert ledger.commit(RUN, stage, int(batch), DONE) == "committed"
    assert queued(ledger, Stage.DETECT) == queued(ledger, Stage.GENERATE) == 25
    assert ledger.state(RUN) is RunState.COMPLETE


def test_a_batch_whose_worker_died_goes_out_again(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=2)
    loop = dispatcher(store, ledger, app, settings)
    loop.tick()
    ledger.redis.delete(
        queue_list(queue_name(Stage.DETECT), Priority.NORMAL)
    )  # the message was popped by the worker that dies
    ledger.claim(RUN, Stage.DETECT, 0, 0.05)
    wait_until(lambda: loop.tick() or queued(ledger, Stage.DETECT) == 1, seconds=10)


def test_a_message_that_vanished_unclaimed_goes_out_again(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=2)
    loop = dispatcher(store, ledger, app, settings)
    loop.tick()
    ledger.redis.delete(queue_list(queue_name(Stage.DETECT), Priority.NORMAL))
    loop.tick()
    assert queued(ledger, Stage.DETECT) == 0, "it may still be on its way to a worker"
    ledger.redis.zadd(StageKeys(RUN, Stage.DETECT).sent, {"0": 1.0})  # as if sent long ago
    loop.tick()
    assert queued(ledger, Stage.DETECT) == 1


def messages(app: Celery, queue: str, number: int) -> list[tuple[str, int]]:
    """The first messages that a worker on the queue would get: run id and batch."""
    with app.connection() as connection, connection.SimpleQueue(queue) as simple:
        taken = [simple.get(timeout=5) for _ in range(number)]
        for message in taken:
            message.ack()
    return [tuple(message.payload[0]) for message in taken]


def test_a_dead_worker_s_batch_does_not_wait_behind_a_full_queue(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=40)
    loop = dispatcher(store, ledger, app, settings)
    loop.tick()
    queue = queue_name(Stage.DETECT)
    assert messages(app, queue, 2) == [(RUN, 0), (RUN, 1)], "new batches come in their order"
    ledger.claim(RUN, Stage.DETECT, 1, 0.05)
    wait_until(lambda: loop.tick() or ledger.redis.llen(queue_list(queue, Priority.AGAIN)) == 1, seconds=10)
    assert messages(app, queue, 2) == [(RUN, 1), (RUN, 2)]


def test_a_run_of_high_priority_goes_before_one_that_was_first(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    loop = dispatcher(store, ledger, app, settings)
    for run_id, priority in (("a-low", "low"), ("b-normal", "normal"), ("c-high", "high")):
        plan_run(store, ledger, run_id, sources=2)
        store.put(RunKeys(run_id).run, encode(msgspec.structs.replace(make_run(run_id), priority=priority)))
        loop.tick()
    assert [run_id for run_id, _ in messages(app, queue_name(Stage.DETECT), 3)] == ["c-high", "b-normal", "a-low"]


def test_a_paused_run_gets_no_new_messages(store: Store, ledger: Ledger, app: Celery, settings: Settings) -> None:
    plan_run(store, ledger, RUN)
    ledger.set_state(RUN, RunState.PAUSED)
    dispatcher(store, ledger, app, settings).tick()
    assert queued(ledger, Stage.DETECT) == 0


def test_a_run_with_a_queue_of_its_own_is_sent_there(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN)
    run = msgspec.structs.replace(make_run(RUN), queues={Stage.DETECT: "big", Stage.GENERATE: "gpus"})
    store.put(RunKeys(RUN).run, encode(run))
    dispatcher(store, ledger, app, settings).tick()
    assert (queue_length(ledger.redis, "big"), queued(ledger, Stage.DETECT)) == (2, 0)


def test_two_dispatchers_elect_one(store: Store, ledger: Ledger, app: Celery, settings: Settings) -> None:
    first, second = (dispatcher(store, ledger, app, settings) for _ in range(2))
    assert first._elected()
    assert not second._elected()
    assert first._elected()
    first._resign()
    assert second._elected()


def test_a_run_without_a_plan_keeps_no_other_run_from_going_on(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    open_in_ledger(ledger, "broken", plan_run(store, ledger, RUN))  # a run without a plan in storage
    loop = dispatcher(store, ledger, app, settings)
    stopped = threading.Event()
    thread = threading.Thread(target=loop.run_until, args=(stopped,), daemon=True)
    thread.start()
    wait_until(lambda: queued(ledger, Stage.DETECT) == 2, seconds=10)
    stopped.set()
    thread.join(5)
    assert not thread.is_alive()


def test_a_ledger_that_was_flushed_is_rebuilt_from_storage(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=8)
    dispatcher(store, ledger, app, settings).tick()
    store.put(f"runs/{RUN}/records/detect/000000/000000001.json", b"{}")
    ledger.redis.flushdb()
    rebuild(store, ledger, RUN)
    counts = ledger.snapshot(RUN).stages[Stage.DETECT]
    assert (counts.rows, counts.batches_done, counts.done) == (8, 1, 2)
    dispatcher(store, ledger, app, settings).tick()
    assert ledger.redis.zrange(StageKeys(RUN, Stage.DETECT).sent, 0, -1) == ["0", "2", "3"]


def spoil_run(store: Store, run_id: str, content: bytes) -> str:
    store.put(RunKeys(run_id).run, content)
    return RunKeys(run_id).run


def spoil_value(store: Store, run_id: str, content: bytes) -> str:
    return spoil_run(store, run_id, store.get(RunKeys(run_id).run).replace(b'"detect"', content))


def spoil_shard(store: Store, run_id: str, content: bytes) -> str:
    key = RunKeys(run_id).shard(Stage.GENERATE, 0)
    store.put(key, content)
    return key


@pytest.mark.parametrize(
    ("spoil", "content"),
    [
        (spoil_run, b'{"id": "a-bad", "na'),
        (spoil_run, b""),
        (spoil_run, b"\xff\xfe"),
        (spoil_value, b'"no-such-stage"'),
        (spoil_shard, b""),
        (spoil_shard, b"[]\n"),
        (spoil_shard, b'{"first":0,"rows":4,"needs":[[0],[1]]}\n'),
    ],
    ids=["cut", "empty", "no-text", "unknown-value", "empty-shard", "no-header", "shard-without-rows"],
)
def test_a_run_that_cannot_be_read_is_paused_with_its_reason_and_the_others_go_on(
    store: Store, ledger: Ledger, app: Celery, settings: Settings, spoil: Callable[..., str], content: bytes
) -> None:
    for run_id in ("a-bad", "b-good"):
        plan_run(store, ledger, run_id)
    key = spoil(store, "a-bad", content)
    for batch in (0, 1):
        ledger.commit("a-bad", Stage.DETECT, batch, DONE)
    dispatcher(store, ledger, app, settings).tick()
    snapshot = ledger.snapshot("a-bad")
    assert (snapshot.state, key in snapshot.reason, "restore it" in snapshot.reason) == (RunState.PAUSED, True, True)
    assert read_state(store, "a-bad").reason == snapshot.reason
    assert ledger.redis.zcard(StageKeys("b-good", Stage.DETECT).sent) == 2


def test_a_run_whose_records_are_not_all_in_storage_is_not_complete(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN)
    for stage in Stage:
        write_records(store, RUN, stage, (0, 1))
        for batch in (0, 1):
            ledger.commit(RUN, stage, batch, DONE)
    store.delete(RunKeys(RUN).record(Stage.GENERATE, 1))
    loop = dispatcher(store, ledger, app, settings)
    loop.tick()
    assert ledger.state(RUN) is RunState.RUNNING
    loop.tick()
    assert ledger.redis.zrange(StageKeys(RUN, Stage.GENERATE).sent, 0, -1) == ["1"]


def test_the_reader_of_plans_keeps_the_last_few_runs_only(store: Store, ledger: Ledger) -> None:
    reader = PlanReader(store, keep=2)
    for run_id in ("a", "b", "c"):
        plan_run(store, ledger, run_id)
        reader.needs(run_id, Stage.GENERATE, 0)
    assert (list(reader._runs), list(reader._headers)) == (
        ["b", "c"],
        [("b", Stage.GENERATE, 0), ("c", Stage.GENERATE, 0)],
    )

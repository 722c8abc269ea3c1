"""The dispatcher against real Redis, S3 and Celery's queues."""

import threading
from collections.abc import Callable, Iterator

import msgspec
import pytest
import redis
from celery import Celery

from posemill.contract.keys import DISPATCHER, RUNS, Priority, RunKeys, Stage, StageKeys, queue_list, queue_name
from posemill.contract.records import Outcome, RunState, encode
from posemill.errors import TransientError
from posemill.queue.celery_app import make_app
from posemill.queue.dispatcher import LOCK_SECONDS, Dispatcher, PlanReader
from posemill.queue.ledger import Ledger
from posemill.queue.rebuild import rebuild
from posemill.queue.run_states import write_state
from posemill.queue.window import Window, queue_length
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
    waiting = StageKeys(RUN, Stage.DETECT).waiting
    for claimed in range(3):  # leased and sent together, and retries that are due beside them
        loop.tick()
        assert out(ledger) == (claimed, 3 - claimed)
        ledger.redis.zadd(waiting, {str(30 + claimed): 1.0})
        ledger.claim(RUN, Stage.DETECT, claimed, 30)
    loop.tick()
    assert out(ledger) == (3, 0)
    assert queued(ledger, Stage.DETECT) == 3
    ledger.commit(RUN, Stage.DETECT, 0, DONE)
    loop.tick()
    assert (out(ledger), sent(ledger, Stage.DETECT)) == ((2, 1), ["30"]), "what is due comes first, and counts"


def out(ledger: Ledger) -> tuple[int, int]:
    counts = ledger.snapshot(RUN).stages[Stage.DETECT]
    return counts.leased, counts.sent


def sent(ledger: Ledger, stage: Stage) -> list[str]:
    return sorted(ledger.redis.zrange(StageKeys(RUN, stage).sent, 0, -1), key=int)


def test_a_batch_that_went_out_again_is_neither_due_nor_passed_over_any_more(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN)
    keys = StageKeys(RUN, Stage.DETECT)
    ledger.redis.zadd(keys.waiting, {"0": 1.0})
    ledger.redis.zadd(keys.blocked, {"1": 1.0})
    ledger.redis.hset(f"posemill:run:{RUN}", "detect.cursor", 2)
    loop = dispatcher(store, ledger, app, settings)
    for _ in range(2):
        loop.tick()
    assert (sent(ledger, Stage.DETECT), queued(ledger, Stage.DETECT)) == (["0", "1"], 2)
    assert ledger.redis.exists(keys.waiting, keys.blocked) == 0


def test_a_retry_that_is_not_due_stays_in_line(store: Store, ledger: Ledger, app: Celery, settings: Settings) -> None:
    plan_run(store, ledger, RUN)
    ledger.redis.zadd(StageKeys(RUN, Stage.DETECT).waiting, {"1": ledger._now() + 60})
    ledger.redis.hset(f"posemill:run:{RUN}", "detect.cursor", 2)
    dispatcher(store, ledger, app, settings).tick()
    assert sent(ledger, Stage.DETECT) == []


def test_what_the_window_has_no_room_for_is_sent_later_and_what_is_done_never(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=12)
    ledger.commit(RUN, Stage.DETECT, 3, DONE)
    for batch in (0, 1):
        ledger.claim(RUN, Stage.DETECT, batch, 30)  # one place of three is left
    ledger.redis.hset(f"posemill:run:{RUN}", "detect.cursor", 2)
    loop, seen = dispatcher(store, ledger, app, settings, window=3), []
    for _ in range(5):
        loop.tick()
        seen.append(sent(ledger, Stage.DETECT))
        for batch in seen[-1]:
            ledger.commit(RUN, Stage.DETECT, int(batch), DONE)
    assert seen == [["2"], ["4"], ["5"], [], []]


def test_a_generate_batch_waits_for_all_its_detect_batches(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=8)
    need(store, {0: [0, 1, 3], 1: [2]})
    loop = dispatcher(store, ledger, app, settings)
    for detected, ready in ((0, []), (3, []), (1, ["0"]), (2, ["0", "1", "2", "3"])):
        ledger.commit(RUN, Stage.DETECT, detected, DONE)
        loop.tick()
        assert sent(ledger, Stage.GENERATE) == ready, f"after batch {detected}"


def need(store: Store, needs: dict[int, list[int]]) -> None:
    """Lets the first generate batches wait for these detect batches, the others in their shards for batch 2."""
    for shard in (0, 1):
        key = RunKeys(RUN).shard(Stage.GENERATE, shard)
        header, rows = store.get(key).split(b"\n", 1)
        values = msgspec.json.decode(header)
        values["needs"] = [needs.get(2 * shard + place, [2]) for place in (0, 1)]
        store.put(key, msgspec.json.encode(values) + b"\n" + rows)


def test_no_batch_is_lost_in_a_small_window_in_which_most_wait_for_another(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=24)
    loop, order = dispatcher(store, ledger, app, settings, window=3), [11, 4, 0, 8, 9, 1, 2, 10, 3, 5, 7, 6]
    seen: list[str] = []
    for detected in order:
        ledger.commit(RUN, Stage.DETECT, detected, DONE)
        for _ in range(3):
            loop.tick()
            seen += sent(ledger, Stage.GENERATE)
            for batch in sent(ledger, Stage.GENERATE):
                assert ledger.commit(RUN, Stage.GENERATE, int(batch), DONE) == "committed"
    assert sorted(seen, key=int) == [str(batch) for batch in range(12)]


def test_due_passed_over_and_new_batches_share_the_window_in_this_order(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=24)
    keys = StageKeys(RUN, Stage.DETECT)
    ledger.redis.zadd(keys.waiting, {"9": 1.0})
    ledger.redis.zadd(keys.blocked, {"4": 4, "5": 5, "6": 6})
    loop = dispatcher(store, ledger, app, settings, window=3)
    loop.tick()
    assert sent(ledger, Stage.DETECT) == ["4", "5", "9"]
    for batch in (4, 5):
        ledger.commit(RUN, Stage.DETECT, batch, DONE)
    loop.tick()
    assert sent(ledger, Stage.DETECT) == ["0", "6", "9"]


def test_the_look_ahead_ends_where_a_window_of_batches_was_passed_over(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=24)
    loop, blocked = dispatcher(store, ledger, app, settings, window=3), StageKeys(RUN, Stage.GENERATE).blocked
    for _ in range(4):
        loop.tick()
    assert ledger.redis.zrange(blocked, 0, -1) == ["0", "1", "2"]
    window = Window(ledger, RUN, Stage.GENERATE, "q", 2)
    assert window.passed_over() == [0, 1], "no more of them are looked at than the window holds"


@pytest.mark.parametrize(
    ("state", "age", "goes_on"),
    [(RunState.RETRYING, 60, True), (RunState.RETRYING, 5, False), (RunState.PAUSED, 60, False)],
    ids=["abandoned", "somebody is at it", "paused"],
)
def test_a_retry_is_gone_on_with_when_nobody_has_ended_it_for_ten_seconds(
    store: Store, ledger: Ledger, app: Celery, settings: Settings, state: RunState, age: float, goes_on: bool
) -> None:
    plan_run(store, ledger, RUN)
    write_state(store, RUN, state)
    ledger.set_state(RUN, state)
    ledger.redis.hset(f"posemill:run:{RUN}", "changed", ledger._now() - age)
    dispatcher(store, ledger, app, settings).tick()
    assert ledger.state(RUN) is (RunState.RUNNING if goes_on else state)


def test_a_run_submitted_again_under_the_same_id_is_read_again(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN, sources=8)
    loop = dispatcher(store, ledger, app, settings)
    loop.tick()
    queues = {Stage.DETECT: "big", Stage.GENERATE: "gpus"}
    store.put(RunKeys(RUN).run, encode(msgspec.structs.replace(make_run(RUN), queues=queues)))
    rebuild(store, ledger, RUN)
    loop.tick()
    assert queue_length(ledger.redis, "big") == 4


def test_a_reader_of_plans_forgets_what_it_read_of_another_submission_alone(store: Store, ledger: Ledger) -> None:
    reader = PlanReader(store)
    for run_id in ("other", RUN):
        plan_run(store, ledger, run_id)
        reader.follow(run_id, "first")
        reader.needs(run_id, Stage.GENERATE, 0)
    reader.follow(RUN, "second")
    assert (list(reader._runs), list(reader._headers)) == (["other"], [("other", Stage.GENERATE, 0)])


def test_a_reader_of_plans_reads_a_run_and_a_header_once(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_run(store, ledger, RUN, sources=16)
    reader, read, get = PlanReader(store), [], store.get
    monkeypatch.setattr(store, "get", lambda key: (read.append(key), get(key))[1])
    for _ in range(2):
        reader.follow(RUN, "the same")
        assert [reader.needs(RUN, Stage.GENERATE, batch) for batch in range(8)] == [[batch] for batch in range(8)]
    keys = RunKeys(RUN)
    assert read == [keys.run, *(keys.shard(Stage.GENERATE, shard) for shard in range(4))]


def test_the_pace_is_noted_once_a_second_with_what_each_stage_has_finished(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan_run(store, ledger, RUN)
    ledger.commit(RUN, Stage.DETECT, 0, {Outcome.DONE: 4, Outcome.REJECTED: 2, Outcome.FAILED: 1})
    loop = dispatcher(store, ledger, app, settings)
    for _ in range(2):
        loop.tick()
    assert [finished for _, finished in ledger.pace(RUN)] == [{"detect": 7, "generate": 0}]
    loop._paced -= 2
    loop.tick()
    assert len(ledger.pace(RUN)) == 2


def test_a_run_that_the_ledger_has_lost_is_taken_off_the_list(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    ledger.redis.sadd(RUNS, "gone")
    dispatcher(store, ledger, app, settings).tick()
    assert ledger.open_runs() == []


@pytest.mark.parametrize("error", [TransientError("away"), OSError("away"), RuntimeError("a fault of our own")])
def test_an_outage_pauses_no_run_and_a_fault_of_our_own_does(
    store: Store, ledger: Ledger, app: Celery, settings: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    plan_run(store, ledger, RUN)
    loop = dispatcher(store, ledger, app, settings)

    def broken(*_: object) -> None:
        raise error

    monkeypatch.setattr(loop, "_advance", broken)
    loop.tick()
    assert ledger.state(RUN) is (RunState.PAUSED if isinstance(error, RuntimeError) else RunState.RUNNING)


def test_the_loop_goes_on_after_any_error_and_resigns_at_the_end(
    store: Store, ledger: Ledger, app: Celery, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, stopped = dispatcher(store, ledger, app, settings.model_copy(update={"tick_seconds": 0.001})), Once()
    errors: list[Exception] = [TransientError("away"), redis.ConnectionError("away"), RuntimeError("of Celery's")]

    def tick() -> None:
        if not errors:
            assert ledger.redis.get(DISPATCHER), "it is elected while it works"
            stopped.set()
            return
        raise errors.pop()

    monkeypatch.setattr(loop, "tick", tick)
    loop.run_until(stopped)
    assert stopped.waited.count(1.0) == 3, "a second's pause after each"
    assert ledger.redis.get(DISPATCHER) is None


class Once(threading.Event):
    """Waits for nothing, and keeps how long it should have."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout or 0.0)
        return self.is_set()


def test_who_is_not_elected_sends_nothing_and_removes_no_lock(
    store: Store, ledger: Ledger, app: Celery, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.redis.set(DISPATCHER, "another", ex=60)
    loop, ticked = dispatcher(store, ledger, app, settings), []
    monkeypatch.setattr(loop, "tick", lambda: ticked.append(1))
    assert not loop._elected()
    assert ledger.redis.ttl(DISPATCHER) > 50, "nor shortens it"
    loop._resign()
    assert (ledger.redis.get(DISPATCHER), ticked) == ("another", [])


def test_the_elected_one_s_lock_is_kept_while_it_works_and_runs_out_without_it(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    loop = dispatcher(store, ledger, app, settings)
    assert loop._elected()
    assert 0 < ledger.redis.ttl(DISPATCHER) <= LOCK_SECONDS == 10
    ledger.redis.expire(DISPATCHER, 2)
    assert loop._elected()
    assert ledger.redis.ttl(DISPATCHER) > 8


def test_every_batch_is_sent_once_when_nothing_goes_wrong(
    store: Store, ledger: Ledger, app: Celery, settings: Settings
) -> None:
    plan = plan_run(store, ledger, RUN, sources=50)
    loop = dispatcher(store, ledger, app, settings, window=4)
    for stage in (Stage.DETECT, Stage.GENERATE):
        write_records(store, RUN, stage, range(25))
    for _ in range(2 * plan.batches[Stage.DETECT]):
        loop.tick()
        for stage in (Stage.DETECT, Stage.GENERATE):
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
    for stage in (Stage.DETECT, Stage.GENERATE):
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

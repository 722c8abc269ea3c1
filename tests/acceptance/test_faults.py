"""The faults of a fleet's days, each with its outcome: real Redis, S3 and worker processes (tests/chaos)."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import product, zip_longest
from pathlib import Path
from typing import Any

import pytest
import redis

from posemill.contract.keys import DISPATCHER, RunKeys, Stage, run_hash
from posemill.contract.records import BatchRecord, Outcome, RunState, decode
from posemill.errors import RunFault
from posemill.processes.supervisor import Supervisor
from posemill.queue.celery_app import make_app
from posemill.queue.dispatcher import Dispatcher
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.local.services import EmbeddedServices
from producer.runs.checking import check
from producer.runs.handle import RunHandle
from producer.submitting.submission import submit
from tests.chaos.faults import dump, fill, restore
from tests.chaos.proxy import Fault, FaultProxy
from tests.chaos.runs import chaos_workers, differences, recipe, take_controls_away, write_sources
from tests.chaos.tampering import Moment
from tests.chaos.tcp_proxy import TcpProxy
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
NO_DISK = ("sh", "-c", 'ulimit -f 0; exec "$@" >/dev/full 2>&1', "sh")  # every write to a file fails
Start = Callable[..., Supervisor]


@pytest.fixture
def start(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts chaos workers, as chaos_workers does; they end with the test."""
    for name in ("POSEMILL_LEASE_SECONDS", "POSEMILL_RESEND_SECONDS", "CHAOS_LOCK_SECONDS"):
        monkeypatch.setenv(name, "2")
    monkeypatch.chdir(ROOT)
    with ExitStack() as stack:

        def start_workers(**options: Any) -> Supervisor:
            workers = chaos_workers(tmp_path / f"logs-{time.monotonic_ns()}", **options)
            workers.start()
            stack.callback(workers.stop, timeout_seconds=0)
            return workers

        yield start_workers


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    return recipe(write_sources(tmp_path / "in", 20))  # 160 items: 5 detect and 20 generate batches


def records(store: Store, run_id: str, stage: Stage) -> list[BatchRecord]:
    return [decode(store.get(info.key), BatchRecord) for info in store.list(RunKeys(run_id).records(stage))]


def claims(ledger: Ledger, run_id: str) -> int:
    """How often a batch of the run was given to a worker."""
    return int(ledger.redis.hget(run_hash(run_id), "fence") or 0)  # type: ignore[arg-type]


def answers(ledger: Ledger) -> bool:
    try:
        return bool(ledger.redis.ping())
    except redis.RedisError:
        return False


def wait_for_batches(handle: RunHandle, batches: int) -> None:
    wait_until(lambda: handle.status().snapshot.stages[Stage.GENERATE].batches_done >= batches)


def require_all_done(handle: RunHandle) -> None:
    """Every item is done and counted once, and every object is there, unchanged."""
    status = handle.wait(timeout_seconds=180)
    assert status.snapshot.state is RunState.COMPLETE
    for stage, counts in status.snapshot.stages.items():
        assert (counts.done, counts.batches_done) == (counts.rows, counts.batches), stage
    proof = check(handle.store, handle.id, deep=True)
    assert proof.faults == []
    assert proof.counts[Stage.GENERATE][Outcome.DONE] == status.snapshot.stages[Stage.GENERATE].rows


def plan_objects(store: Store, run_id: str) -> dict[str, bytes]:
    root = f"{RunKeys(run_id).root}plan/"
    return {info.key.removeprefix(root): store.get(info.key) for info in store.list(root)}


@pytest.mark.parametrize(
    ("moment", "extra_claims", "attempts"),
    [(Moment.STORED, 2, {1, 2}), (Moment.RECORDED, 2, {1}), (Moment.COUNTED, 0, {1})],
)
def test_a_worker_killed_between_two_steps_of_a_batch_leaves_the_calm_run_s_data_set(
    settings: Settings, start: Start, wanted: dict[str, Any], tmp_path: Path, moment: Moment, extra_claims: int,
    attempts: set[int],
) -> None:  # fmt: skip
    died, few = tmp_path / "died", wanted | {"seeds": 1}
    died.mkdir()
    dying = {"CHAOS_DIE_AT": moment, "CHAOS_DIED": str(died), "POSEMILL_WORKER_THREADS": "1", "CHAOS_SECONDS": "0"}
    start(environment=dying)
    disturbed = submit(few, run_id="disturbed", settings=settings)
    require_all_done(disturbed)
    assert {mark.name for mark in died.iterdir()} == {Stage.DETECT, Stage.GENERATE}
    assert claims(disturbed.ledger, "disturbed") == 10 + extra_claims
    assert {record.attempt for record in records(disturbed.store, "disturbed", Stage.GENERATE)} == attempts
    disturbed_controls = take_controls_away(disturbed.store)  # so that the calm run detects as well
    submit(few, run_id="calm", settings=settings).wait(timeout_seconds=60)
    found = differences(disturbed.store, "calm", "disturbed", disturbed_controls)
    assert found == {"items": 40, "lost": 0, "duplicated": 0, "differing": 0}


def test_a_redis_that_stands_still_past_every_lease_loses_nothing(
    settings: Settings, services: EmbeddedServices, start: Start, wanted: dict[str, Any]
) -> None:
    start(generate=2)
    handle = submit(wanted, run_id="still", settings=settings)
    wait_for_batches(handle, 2)
    server = services.supervisor.pid("redis") or 0
    os.kill(server, signal.SIGSTOP)
    try:
        threading.Event().wait(2.5 * 2)  # the fault itself: two and a half leases
    finally:
        os.kill(server, signal.SIGCONT)
    require_all_done(handle)


def _is_back(services: EmbeddedServices, handle: RunHandle, killed: int) -> bool:
    """Whether another Redis than the killed one answers."""
    return answers(handle.ledger) and services.supervisor.pid("redis") != killed


def test_a_redis_that_is_killed_and_restarted_under_load_loses_nothing(
    settings: Settings, services: EmbeddedServices, start: Start, wanted: dict[str, Any]
) -> None:
    start(environment={"POSEMILL_DEAF_SECONDS": "3"})  # Celery may stop consuming; then the worker ends itself
    handle = submit(wanted, run_id="restarted", settings=settings)
    for batches in (2, 6, 10):
        wait_for_batches(handle, batches)
        killed = services.supervisor.pid("redis") or 0
        os.kill(killed, signal.SIGKILL)
        wait_until(partial(_is_back, services, handle, killed))
    require_all_done(handle)


def test_a_redis_at_its_memory_limit_delays_a_run_and_loses_nothing(
    settings: Settings, ledger: Ledger, start: Start, wanted: dict[str, Any]
) -> None:
    def refused() -> int:
        found: dict[str, Any] = ledger.redis.info("errorstats")
        return int(found.get("errorstat_OOM", {"count": 0})["count"])

    start(generate=2)
    handle = submit(wanted, run_id="full", settings=settings)
    wait_for_batches(handle, 2)
    before = refused()
    fill(ledger.redis)
    try:
        wait_until(lambda: refused() >= before + 5, seconds=20)
    finally:
        ledger.redis.config_set("maxmemory", 0)
    require_all_done(handle)


def test_a_run_is_resumed_on_a_redis_that_was_restored_from_an_old_state(
    settings: Settings, start: Start, wanted: dict[str, Any]
) -> None:
    start(generate=2)
    handle = submit(wanted, run_id="old", settings=settings)
    wait_for_batches(handle, 2)
    client = redis.Redis.from_url(settings.redis_url.get_secret_value())
    old = dump(client)
    wait_for_batches(handle, 12)
    restore(client, old)
    assert handle.status().snapshot.stages[Stage.GENERATE].batches_done < 12
    handle.resume()
    require_all_done(handle)


@pytest.mark.parametrize("cut", [TcpProxy.refuse, TcpProxy.keep_silent], ids=["refused", "silent"])
def test_a_worker_cut_off_from_redis_for_6_seconds_is_back_at_work_within_5(
    settings: Settings, services: EmbeddedServices, ledger: Ledger, start: Start, wanted: dict[str, Any],
    cut: Callable[[TcpProxy], None],
) -> None:  # fmt: skip
    with TcpProxy(settings.redis_url.get_secret_value()) as proxy:
        start(generate=0)
        start(detect=0, environment={"POSEMILL_REDIS_URL": proxy.url, "CHAOS_SECONDS": "0.05"})
        handle = submit(wanted, run_id="cut", settings=settings)
        wait_for_batches(handle, 2)
        cut(proxy)
        threading.Event().wait(6)  # the fault itself
        before = handle.status().snapshot.stages[Stage.GENERATE].batches_done
        claimed = claims(ledger, "cut")
        assert before < 18, "there is work left"
        proxy.answer()
        wait_until(lambda: claims(ledger, "cut") > claimed, seconds=5)
        require_all_done(handle)


@pytest.mark.parametrize("fault", [Fault.FORBIDDEN, Fault.NO_BUCKET])
def test_storage_that_refuses_pauses_the_run_and_costs_no_attempt(
    settings: Settings, services: EmbeddedServices, start: Start, wanted: dict[str, Any], fault: Fault
) -> None:
    with FaultProxy(services.s3_url) as proxy:
        start(environment={"AWS_ENDPOINT_URL": proxy.url})
        handle = submit(wanted, run_id="refused", settings=settings)
        wait_for_batches(handle, 2)
        proxy.choose = lambda method, path: fault
        with pytest.raises(RunFault, match="storage refuses"):
            handle.wait(timeout_seconds=30)
        wait_until(lambda: not any(stage.leased for stage in handle.status().snapshot.stages.values()))
        assert handle.status().snapshot.state is RunState.PAUSED
        for stage, batch in product(Stage, range(20)):
            history = handle.ledger.history("refused", stage, batch)
            assert (history.failures, history.delays, history.deaths) == (0, 0, 0)
        proxy.choose = lambda method, path: None
        handle.unpause()
        require_all_done(handle)


def test_workers_on_a_full_disk_complete_a_run(settings: Settings, start: Start, wanted: dict[str, Any]) -> None:
    start(before=NO_DISK)
    handle = submit(wanted, run_id="full-disk", settings=settings)
    require_all_done(handle)


KILLED_HALFWAY = """
import json, os, signal, sys
from posemill.storage.store import S3Store
from producer.submitting.submission import submit

whole, shards = S3Store.put_if_absent, []

def put_if_absent(store, key, *arguments, **options):
    if "/plan/" in key:
        shards.append(key)
        if len(shards) > 15:
            os.kill(os.getpid(), signal.SIGKILL)
    return whole(store, key, *arguments, **options)

S3Store.put_if_absent = put_if_absent
submit(json.loads(sys.argv[1]), run_id="killed")
"""


def test_a_submitter_killed_halfway_and_run_again_writes_the_undisturbed_plan(
    settings: Settings, store: Store, tmp_path: Path
) -> None:
    pictures = sorted(write_sources(tmp_path, 5).glob("*.png"))
    manifest = tmp_path / "rows.jsonl"
    rows = ({"source": pictures[n % 5].name, "prompt": f"number {n}"} for n in range(29_997))
    bad = ({"source": "nowhere.png", "prompt": f"bad {n}"} for n in range(3))
    manifest.write_text("".join(json.dumps(row) + "\n" for pair in zip_longest(rows, bad) for row in pair if row))
    wanted = recipe(manifest, prompts=(), seeds=1)
    killed = subprocess.run((sys.executable, "-c", KILLED_HALFWAY, json.dumps(wanted)), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert store.head(RunKeys("killed").sealed) is None
    assert 2 <= len(plan_objects(store, "killed")) <= 15
    submit(wanted, run_id="killed", settings=settings)
    submit(wanted, run_id="undisturbed", settings=settings)
    planned = plan_objects(store, "undisturbed")
    assert len(planned) >= 32
    assert plan_objects(store, "killed") == planned


class Killed(BaseException):
    """Ends a submitter as SIGKILL does."""


def test_a_submitter_killed_before_any_of_its_calls_to_redis_is_run_again_with_success(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = recipe(write_sources(tmp_path / "in", 1), seeds=1)
    connection = redis.connection.Connection
    send, left = connection.send_packed_command, [0]

    def send_or_die(*arguments: Any, **options: Any) -> Any:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return send(*arguments, **options)

    for calls in range(200):
        ledger.redis.flushdb()
        run_id = f"run-{calls}"
        left[0] = calls
        with monkeypatch.context() as patched:
            patched.setattr(connection, "send_packed_command", send_or_die)
            try:
                submit(wanted, run_id=run_id, settings=settings)
                break
            except Killed:
                pass
        submit(wanted, run_id=run_id, settings=settings)
        snapshot = ledger.snapshot(run_id)
        assert snapshot
        assert (run_id in ledger.open_runs(), snapshot.stages[Stage.DETECT].batches) == (True, 1), calls
    assert 5 < calls < 199


@pytest.mark.parametrize("hours", [1, -1], ids=["ahead", "behind"])
def test_a_worker_whose_clock_is_an_hour_off_takes_no_lease_away_and_is_known(
    settings: Settings, ledger: Ledger, start: Start, wanted: dict[str, Any], hours: int
) -> None:
    start(environment={"CHAOS_CLOCK_OFFSET_SECONDS": str(hours * 3700)})
    wait_until(lambda: ledger.redis.exists(DISPATCHER), seconds=20)  # it is the dispatcher as well
    start()
    wait_until(lambda: len(ledger.workers()) == 4, seconds=20)
    handle = submit(wanted, run_id="clocks", settings=settings)
    require_all_done(handle)
    assert claims(ledger, "clocks") == 25, "a batch was given to a second worker"
    assert len({record.worker for record in records(handle.store, "clocks", Stage.GENERATE)}) == 2
    assert len(ledger.workers()) == 4


def test_two_submitters_at_once_make_one_plan(settings: Settings, start: Start, wanted: dict[str, Any]) -> None:
    start()
    wanted["seeds"] = 2
    handles = at_once(*[lambda: submit(wanted, run_id="twice", settings=settings)] * 2)
    for handle in handles:
        require_all_done(handle)
    once = submit(wanted, run_id="once", settings=settings)
    assert plan_objects(once.store, "twice") == plan_objects(once.store, "once")
    require_all_done(once)


def test_two_resumes_at_once_under_load_lose_and_repeat_nothing(
    settings: Settings, start: Start, wanted: dict[str, Any]
) -> None:
    start(generate=2)
    handle = submit(wanted, run_id="resumed", settings=settings)
    for batches in (2, 6, 10):
        wait_for_batches(handle, batches)
        at_once(handle.resume, handle.resume)
    require_all_done(handle)


def test_two_dispatchers_at_once_send_twice_and_nothing_is_done_twice(
    settings: Settings, store: Store, ledger: Ledger, start: Start, wanted: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(Dispatcher, "_elected", lambda _: True)
    stopped, app = threading.Event(), make_app(settings.redis_url.get_secret_value())
    loops = [Dispatcher(store, ledger, app, settings) for _ in range(2)]
    threads = [threading.Thread(target=loop.run_until, args=(stopped,)) for loop in loops]
    for thread in threads:
        thread.start()
    try:
        start(generate=2)
        handle = submit(wanted, run_id="two", settings=settings)
        require_all_done(handle)
    finally:
        stopped.set()
        for thread in threads:
            thread.join(10)
        app.close()
    assert claims(ledger, "two") == 25


def at_once(*acts: Callable[[], Any]) -> list[Any]:
    """What the acts give that begin at one moment."""
    with ThreadPoolExecutor(len(acts)) as pool:
        barrier = threading.Barrier(len(acts))
        return [
            future.result() for future in [pool.submit(lambda act: (barrier.wait(), act())[1], act) for act in acts]
        ]

"""The worker process around Celery: how it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from posemill.contract.keys import Priority, Stage, queue_list, queue_name
from posemill.queue.celery_app import make_app, send_batches
from posemill.queue.ledger import History, Ledger
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.runs.handle import RunHandle
from producer.submitting.submission import submit
from tests.chaos.runs import recipe, write_sources
from tests.conftest import wait_until
from workers.worker_process import queues_of

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(settings: Settings, store: Store) -> Iterator[Start]:
    """Starts a detect worker of tests.chaos.worker with these variables added to its environment."""
    started: list[subprocess.Popen[str]] = []

    def start_worker(**environment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.chaos.worker", "detect"]
        started.append(subprocess.Popen(command, env=os.environ | environment, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start_worker
    for process in started:
        process.kill()
        process.communicate()


def with_a_busy_worker(
    start: Start, settings: Settings, tmp_path: Path, **environment: str
) -> tuple[RunHandle, "subprocess.Popen[str]"]:
    """A run whose only detect batch is on the device of a worker for an hour."""
    handle = submit(recipe(write_sources(tmp_path / "in", 2)), run_id="long", settings=settings)
    process = start(CHAOS_SECONDS="3600", **environment)
    wait_until(lambda: "On the device" in process.stderr.readline())
    return handle, process


def require_handed_back(handle: RunHandle) -> None:
    """Nobody holds the batch any more, and nothing is charged."""
    counts = handle.status().snapshot.stages[Stage.DETECT]
    assert (counts.leased, counts.finished) == (0, 0)
    assert handle.ledger.history("long", Stage.DETECT, 0) == History(claims=1)
    assert handle.ledger.redis.keys("posemill:device:*") == []


def test_a_worker_that_is_ended_hands_back_what_it_cannot_finish_in_time(
    start: Start, settings: Settings, tmp_path: Path
) -> None:
    handle, process = with_a_busy_worker(start, settings, tmp_path, POSEMILL_DRAIN_SECONDS="0.5")
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    require_handed_back(handle)


def test_a_second_sigterm_hands_back_and_ends_at_once(start: Start, settings: Settings, tmp_path: Path) -> None:
    handle, process = with_a_busy_worker(start, settings, tmp_path, POSEMILL_DRAIN_SECONDS="3000")
    process.send_signal(signal.SIGTERM)
    wait_until(lambda: "is handed back" in process.stderr.readline(), seconds=20)
    assert process.poll() is None, "the first one gives it time"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    require_handed_back(handle)


def test_a_worker_that_celery_gave_up_does_not_end_as_if_all_were_well(
    start: Start, settings: Settings, ledger: Ledger
) -> None:
    ledger.redis.set(queue_list(queue_name(Stage.DETECT), Priority.NORMAL), "no list")  # retrying cannot mend that
    process = start()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped consuming by itself" in errors


def test_a_detect_worker_takes_what_is_to_be_judged_before_what_is_to_be_detected(settings: Settings) -> None:
    queues = queues_of(Stage.DETECT, None)
    taken: list[str] = []
    with make_app(settings.redis_url.get_secret_value()) as app:
        for stage in (Stage.DETECT, Stage.VERIFY, Stage.DETECT, Stage.VERIFY):
            send_batches(app, stage, queue_name(stage), "r", [0, 1])
        app.amqp.queues.select(list(queues.values()))
        with app.connection_for_read() as connection:

            def take(body: object, message: Any) -> None:
                taken.append(message.headers["task"])
                message.ack()

            consumer = app.amqp.TaskConsumer(connection.default_channel, callbacks=[take])
            consumer.qos(prefetch_count=1)
            consumer.consume()
            while len(taken) < 8:
                connection.drain_events(timeout=10)
    assert taken == ["posemill.verify"] * 4 + ["posemill.detect"] * 4
    assert queues_of(Stage.DETECT, "mine") == {Stage.VERIFY: "posemill.verify", Stage.DETECT: "mine"}
    assert queues_of(Stage.GENERATE, None) == {Stage.GENERATE: "posemill.generate"}

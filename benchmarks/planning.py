"""A run of a million items as it is submitted: how fast, in how much memory, with how much in Redis, and its status.

`plan_rate`, `plan_memory`, `plan_memory_ratio`, `redis_memory` and `status_latency` share the runs.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figure import Figure, alternate, median_ratio, seconds_of
from benchmarks.submitting import Submitted, submitted_apart, write_manifest
from posemill.contract.keys import Priority, Stage, queue_list, queue_name, task_name
from posemill.contract.records import Outcome, RunState
from posemill.contract.rounds import PlanLayout
from posemill.queue.celery_app import make_app
from posemill.queue.dispatcher import Dispatcher
from posemill.queue.ledger import Ledger, open_ledger
from posemill.queue.progress import StageProgress
from posemill.queue.window import queue_length
from posemill.settings import Settings
from posemill.storage.run_documents import read_plan, read_run, submission_digest
from posemill.storage.store import open_store
from producer.local.services import EmbeddedServices

ROWS, FEWER_ROWS, FEWEST_ROWS = 1_000_000, 100_000, 100
MESSAGES = 20_000  # of the peer, each round
ROUNDS = 3
STATUS_ROUNDS = 9
POLL_SECONDS = 0.05
MIB = 2**20
MANIFEST = "each row a photograph in a bucket (s3://) and a prompt of its own"
PEER_QUEUE = "bench.peer"


def measure() -> Iterable[Figure]:
    """Submit a million rows several times, each beside the peer, then look at what the last of them left."""
    with tempfile.TemporaryDirectory(prefix="posemill-bench-") as name:
        folder = Path(name)
        many, fewer, fewest = (write_manifest(folder / f"{n}.jsonl", n) for n in (ROWS, FEWER_ROWS, FEWEST_ROWS))
        with EmbeddedServices(folder / "services") as services:
            os.environ.update(services.environment())
            ledger = open_ledger(Settings().redis_url.get_secret_value())
            submitted_apart(fewest, "fewest")
            fewer_submitted = submitted_apart(fewer, "fewer")
            rounds = [_round(many, f"many-{number}", ledger) for number in range(ROUNDS)]
            yield _rate(rounds)
            yield from _memory(rounds, fewer_submitted)
            yield _redis(rounds)
            yield _status(f"many-{ROUNDS - 1}", "fewest")


@dataclass(frozen=True, kw_only=True)
class Round:
    """A submission and its peer."""

    ours: Submitted
    redis_bytes: int  # the most that it had there, above what was there before
    message_bytes: float  # of each of the peer's messages
    peer_seconds: float


def _round(manifest: Path, run_id: str, ledger: Ledger) -> Round:
    for earlier in ledger.open_runs():
        if earlier != "fewest":
            ledger.forget(earlier)
    _empty(ledger, *(queue_name(stage) for stage in Stage))
    with RedisWatch(ledger) as watch:
        ours = submitted_apart(manifest, run_id)
        _fill_generate_window(ledger, run_id)
    with RedisWatch(ledger) as peer_watch:
        peer_seconds = seconds_of(_send_messages)
    _empty(ledger, PEER_QUEUE)
    message_bytes = peer_watch.most_bytes / MESSAGES
    return Round(ours=ours, redis_bytes=watch.most_bytes, message_bytes=message_bytes, peer_seconds=peer_seconds)


def _rate(rounds: list[Round]) -> Figure:
    rates = [each.ours.items / each.ours.seconds for each in rounds]
    peers = [MESSAGES / each.peer_seconds for each in rounds]
    return Figure(
        name="plan_rate", value=round(median_ratio(rates, peers), 1), unit="ratio", goal=">= 10",
        peer="one apply_async an item, with posemill's own Celery app",
        detail={"items_a_second": round(statistics.median(rates)),
                "peer_items_a_second": round(statistics.median(peers)), "items": rounds[0].ours.items,
                "peer_items": MESSAGES, "rounds": len(rounds), "manifest": MANIFEST},
    )  # fmt: skip


def _memory(rounds: list[Round], fewer: Submitted) -> Iterable[Figure]:
    peak = max(each.ours.peak_mib for each in rounds)
    detail = {"items": rounds[0].ours.items, "peak_mib": round(peak, 1), "fewer_items": fewer.items,
              "fewer_peak_mib": round(fewer.peak_mib, 1), "manifest": MANIFEST}  # fmt: skip
    yield Figure(
        name="plan_memory", value=round(peak, 1), unit="MiB", goal="<= 300",
        peer="nothing: the whole process that submits", detail=detail,
    )  # fmt: skip
    yield Figure(
        name="plan_memory_ratio", value=round(peak / fewer.peak_mib, 3), unit="ratio", goal="<= 1.1",
        peer=f"the same submission of {fewer.items} items", detail=detail,
    )  # fmt: skip


def _redis(rounds: list[Round]) -> Figure:
    most = max(each.redis_bytes for each in rounds)
    message = statistics.median(each.message_bytes for each in rounds)
    return Figure(
        name="redis_memory", value=round(most / MIB, 2), unit="MiB", goal="<= 16",
        peer="one message an item",
        detail={"items": rounds[0].ours.items, "peer_mib": round(message * rounds[0].ours.items / MIB),
                "peer_bytes_a_message": round(message), "window_messages": 2 * Settings().window},
    )  # fmt: skip


def _status(many: str, few: str) -> Figure:
    ours, peer = alternate(lambda: _show(many), lambda: _show(few), STATUS_ROUNDS + 1)
    return Figure(
        name="status_latency", value=round(median_ratio(ours[1:], peer[1:]), 3), unit="ratio", goal="<= 1.2",
        peer=f"the same command on a run of {FEWEST_ROWS} items",
        detail={"seconds": round(statistics.median(ours[1:]), 3), "peer_seconds": round(statistics.median(peer[1:]), 3),
                "items": ROWS, "rounds": STATUS_ROUNDS},
    )  # fmt: skip


def _show(run_id: str) -> None:
    subprocess.run([sys.executable, "-m", "producer", "status", run_id], check=True, stdout=subprocess.DEVNULL)


def _fill_generate_window(ledger: Ledger, run_id: str) -> None:
    """Take every source for detected, so that generate messages go out beside those of detect."""
    settings = Settings()
    store = open_store(settings.store)
    plan = read_plan(store, run_id)
    batches = plan.batches[Stage.DETECT]
    detected = StageProgress(
        layout=PlanLayout(slicing=read_run(store, run_id).slicing[Stage.DETECT], first_rows=plan.rows[Stage.DETECT]),
        done=b"\xff" * -(-batches // 8),
        batches_done=batches,
        counts=dict.fromkeys(Outcome, 0) | {Outcome.DONE: plan.rows[Stage.DETECT]},
    )
    submission = submission_digest(store, run_id)
    ledger.restore(run_id, plan, {Stage.DETECT: detected}, RunState.RUNNING, submission=submission)
    app = make_app(settings.redis_url.get_secret_value())
    Dispatcher(store, ledger, app, settings).tick()
    app.close()
    waiting = [queue_length(ledger.redis, queue_name(stage)) for stage in (Stage.DETECT, Stage.GENERATE)]
    assert min(waiting) == settings.window, f"the windows are not full: {waiting}"


def _send_messages() -> None:
    """What a producer does that knows no plan: a message for each item."""
    app = make_app(Settings().redis_url.get_secret_value())

    @app.task(name=task_name(Stage.GENERATE))
    def generate(run_id: str, batch: int) -> None:
        """Does nothing: nobody runs it."""

    for item in range(MESSAGES):
        generate.apply_async(args=["peer", item], queue=PEER_QUEUE)
    app.close()


def _empty(ledger: Ledger, *queues: str) -> None:
    ledger.redis.delete(*(queue_list(queue, priority) for queue in queues for priority in Priority))


class RedisWatch:
    """Looks again and again how much memory Redis uses."""

    def __init__(self, ledger: Ledger) -> None:
        self._redis = ledger.redis
        self._before = self._used()
        self._most = self._before
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    @property
    def most_bytes(self) -> int:
        """The most seen, above what was used at the beginning."""
        return self._most - self._before

    def __enter__(self) -> "RedisWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._most = max(self._most, self._used())

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            self._most = max(self._most, self._used())

    def _used(self) -> int:
        return int(self._redis.info("memory")["used_memory"])

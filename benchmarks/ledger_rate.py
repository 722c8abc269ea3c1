"""`ledger_rate`: batches a second that one dispatcher and one Redis sustain, by the processor time that each takes.

`python -m benchmarks.ledger_rate client RUN` is a light client: it takes Celery messages, claims, renews and commits,
and does nothing else. Its own time is not counted: it stands for the workers' machines.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import redis

from benchmarks.figure import Figure
from posemill.contract.keys import RunKeys, Stage, queue_name
from posemill.contract.records import Item, Outcome, Plan, Run, ShardHeader, Slicing, encode, encode_shard
from posemill.queue.celery_app import make_app
from posemill.queue.dispatcher import Dispatcher
from posemill.queue.ledger import Ledger, Verdict, open_ledger
from posemill.settings import Settings
from producer.local.services import EmbeddedServices
from tests.memory_store import MemoryStore
from tests.planned import make_run, open_in_ledger

BATCHES = {"many": 1_000_000, "few": 10_000}
MEASURED, WARM_UP = 6_000, 500  # of each run's batches
SIZE, CLIENTS, THREADS = 8, 2, 4
ROUNDS = 2


def measure() -> Iterable[Figure]:
    """The first batches of a run of a million, and of one of ten thousand, in turns."""
    with tempfile.TemporaryDirectory(prefix="posemill-bench-") as name, EmbeddedServices(Path(name)) as services:
        os.environ.update(services.environment())
        costs: dict[str, list[tuple[float, float]]] = {run: [] for run in BATCHES}
        for _ in range(ROUNDS):
            for run, batches in BATCHES.items():
                costs[run].append(_cost(run, batches))
    best = {run: min(found, key=max) for run, found in costs.items()}
    dispatcher, server = best["many"]
    rate = 1 / max(dispatcher, server)
    detail = {
        "dispatcher_microseconds_a_batch": round(1e6 * dispatcher), "redis_microseconds_a_batch": round(1e6 * server),
        "of_ten_thousand": [round(1e6 * seconds) for seconds in best["few"]], "measured_batches": MEASURED,
        "clients": CLIENTS * THREADS,
    }  # fmt: skip
    yield Figure(
        name="ledger_rate", value=round(rate), unit="batches a second", goal=">= 1000",
        peer="none: the dearer of the two, one core each", detail=detail,
    )  # fmt: skip
    yield Figure(
        name="ledger_growth", value=round(max(best["many"]) / max(best["few"]), 3), unit="ratio", goal="<= 1.2",
        peer="the same of a run of 10,000 batches", detail=detail,
    )  # fmt: skip


def _cost(run_id: str, batches: int) -> tuple[float, float]:
    """Processor seconds a batch of the dispatcher and of Redis."""
    settings = Settings()
    url = settings.redis_url.get_secret_value()
    client = redis.Redis.from_url(url)
    client.flushdb()
    store, ledger = PlanOnDemand(run_id, batches), open_ledger(url)
    plan = Plan(rows={Stage.DETECT: 1, Stage.GENERATE: SIZE * batches},
                batches={Stage.DETECT: 1, Stage.GENERATE: batches}, refused_rows=0)  # fmt: skip
    open_in_ledger(ledger, run_id, plan)
    with make_app(url) as app, _clients(run_id):
        dispatcher = Dispatcher(store, ledger, app, settings)
        _tick_until(dispatcher, ledger, run_id, WARM_UP, settings)
        begun, spent, before = _done(ledger, run_id), time.process_time(), _redis_seconds(client)
        _tick_until(dispatcher, ledger, run_id, begun + MEASURED, settings)
        made = _done(ledger, run_id) - begun
        return (time.process_time() - spent) / made, (_redis_seconds(client) - before) / made


def _tick_until(dispatcher: Dispatcher, ledger: Ledger, run_id: str, wanted: int, settings: Settings) -> None:
    while _done(ledger, run_id) < wanted:
        dispatcher.tick()
        time.sleep(settings.tick_seconds)


def _done(ledger: Ledger, run_id: str) -> int:
    snapshot = ledger.snapshot(run_id)
    assert snapshot is not None
    return snapshot.stages[Stage.GENERATE].batches_done


def _redis_seconds(client: redis.Redis) -> float:
    found = client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


@contextmanager
def _clients(run_id: str) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.ledger_rate", "client", run_id]
    running = [subprocess.Popen(command) for _ in range(CLIENTS)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


class PlanOnDemand(MemoryStore):
    """A run of any length, whose shards are made up when they are read."""

    def __init__(self, run_id: str, batches: int) -> None:
        super().__init__()
        self._keys, self._slicing = RunKeys(run_id), Slicing(batch_size=SIZE, shard_size=125 * SIZE)
        run: Run = make_run(run_id)
        self.put(self._keys.run, encode(_sliced(run, self._slicing)))
        rows = self._slicing.shard_size
        items = [Item(id=f"{number:032x}", prompt="a dancer", seed=number) for number in range(rows)]
        self._shard = encode_shard(ShardHeader(first=0, rows=rows, needs=[[]] * 125), items)

    def get(self, key: str) -> bytes:
        return self._shard if key.startswith(self._keys.shards(Stage.GENERATE)) else super().get(key)


def _sliced(run: Run, slicing: Slicing) -> Run:
    return msgspec.structs.replace(run, slicing=dict.fromkeys(run.slicing, slicing))


def client(run_id: str) -> None:
    """Threads that take, claim, renew and commit until they are killed."""
    threads = [threading.Thread(target=_work, args=(run_id,)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _work(run_id: str) -> None:
    settings = Settings()
    url = settings.redis_url.get_secret_value()
    ledger = open_ledger(url)
    app = make_app(url)
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(queue_name(Stage.GENERATE))
        while True:
            message = queue.get(block=True)
            (_, batch), *_ = message.payload
            message.ack()
            claim = ledger.claim(run_id, Stage.GENERATE, batch, settings.lease_seconds)
            if claim.verdict is Verdict.CLAIMED:
                ledger.renew(run_id, Stage.GENERATE, batch, claim.fence, settings.lease_seconds)
                ledger.commit(run_id, Stage.GENERATE, batch, {Outcome.DONE: SIZE})


if __name__ == "__main__":
    client(sys.argv[2])

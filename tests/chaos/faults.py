"""The faults: each does its harm once and returns when the next one may come."""

import os
import random
import signal
import time
from collections.abc import Callable

import redis

from posemill.contract.keys import Priority, Stage, queue_list, queue_name
from posemill.contract.records import RunState
from posemill.errors import PosemillError
from posemill.processes.supervisor import Supervisor
from posemill.queue.celery_app import make_app, send_batches
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from producer.local.services import EmbeddedServices
from producer.runs.handle import RunHandle
from tests.chaos.proxy import Fault, FaultProxy

PASSING = (Fault.ERROR_500, Fault.SLOW_DOWN, Fault.NOTHING, Fault.LOST_REPLY, Fault.HALF_BODY)
Dumped = tuple[bytes, int, bytes]  # a key, the milliseconds it has left (none: -1), its content


class Harm:
    """All that can be done to a fleet, with chances drawn from one seed."""

    def __init__(
        self,
        *,
        services: EmbeddedServices,
        proxy: FaultProxy,
        workers: Supervisor,
        worker_names: list[str],
        settings: Settings,
        handle: RunHandle,
        seed: int,
    ) -> None:
        self.random = random.Random(seed)
        self._services = services
        self._proxy = proxy
        self._workers = workers
        self._worker_names = worker_names
        self._settings = settings
        self._handle = handle

    @property
    def ledger(self) -> Ledger:
        return self._handle.ledger

    def is_over(self) -> bool:
        """Whether the run has nothing left to harm."""
        try:
            return self.ledger.state(self._handle.id) is RunState.COMPLETE
        except redis.RedisError:
            return False

    def kill_worker(self) -> None:
        self._signal(signal.SIGKILL)

    def stop_worker_past_its_lease(self) -> None:
        """Another worker takes over; the late commit of this one is refused."""
        pid = self._signal(signal.SIGSTOP)
        time.sleep(1.5 * self._settings.lease_seconds)
        if pid:
            _send(pid, signal.SIGCONT)

    def kill_redis(self) -> None:
        pid = self._services.supervisor.pid("redis")
        if pid:
            _send(pid, signal.SIGKILL)
        self._wait_for_redis()

    def stop_redis(self) -> None:
        """For a minute; it keeps its connections and answers all at once afterwards."""
        pid = self._services.supervisor.pid("redis")
        if pid:
            _send(pid, signal.SIGSTOP)
            time.sleep(60)
            _send(pid, signal.SIGCONT)

    def fill_redis(self) -> None:
        """For three seconds Redis refuses every write."""
        self._guarded(lambda: fill(self.ledger.redis))
        time.sleep(3)
        self._wait_for_redis()  # it must not stay full
        self.ledger.redis.config_set("maxmemory", 0)

    def turn_redis_back(self) -> None:
        """To its state of two seconds ago, as a server does that is restored from an old file."""
        raw = redis.Redis.from_url(self._settings.redis_url.get_secret_value())
        old: list[Dumped] = []
        self._guarded(lambda: old.extend(dump(raw)))
        time.sleep(2)
        self._guarded(lambda: restore(raw, old))
        self._guarded(self._handle.resume)

    def flush_redis(self) -> None:
        self._guarded(self.ledger.redis.flushall)
        self._guarded(self._handle.resume)

    def lose_message(self) -> None:
        """As a worker does that is killed between popping a message and noting it."""
        stage = self.random.choice(list(Stage))
        self._guarded(lambda: self.ledger.redis.ltrim(queue_list(queue_name(stage), Priority.NORMAL), 1, -1))

    def repeat_message(self) -> None:
        stage = self.random.choice(list(Stage))
        batch = self.random.randrange(self._handle.plan.batches[stage])
        app = make_app(self._settings.redis_url.get_secret_value())
        self._guarded(lambda: send_batches(app, stage, queue_name(stage), self._handle.id, [batch] * 10))
        app.close()

    def send_garbage(self) -> None:
        stage = self.random.choice(list(Stage))
        self._guarded(lambda: self.ledger.redis.lpush(queue_name(stage), b"\x80\x04no message"))

    def spoil_storage(self) -> None:
        """For two seconds every fourth answer is spoiled."""
        self._proxy.choose = lambda method, path: self.random.choice(PASSING) if self.random.random() < 0.25 else None
        time.sleep(2)
        self._proxy.choose = lambda method, path: None

    def take_storage_away(self) -> None:
        self._proxy.choose = lambda method, path: Fault.NOTHING
        time.sleep(2)
        self._proxy.choose = lambda method, path: None

    def _signal(self, number: signal.Signals) -> int | None:
        pid = self._workers.pid(self.random.choice(self._worker_names))
        if pid:
            _send(pid, number)
        return pid

    def _wait_for_redis(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                self.ledger.redis.ping()
                return
            except redis.RedisError:
                time.sleep(0.1)

    def _guarded(self, act: Callable[[], object]) -> None:
        """Two faults may meet; then the second is lost, which is no failure of the run."""
        try:
            act()
        except (redis.RedisError, PosemillError, OSError):
            time.sleep(0.2)


def fill(client: "redis.Redis") -> None:
    """Set the memory limit a little below what is in use, so that clients that leave make no room."""
    client.config_set("maxmemory", int(0.9 * client.info("memory")["used_memory"]))


def dump(client: "redis.Redis") -> list[Dumped]:
    """Every key as it is; `client` must not decode."""
    keys = client.keys()
    pipe = client.pipeline()
    for key in keys:
        pipe.pttl(key)
        pipe.dump(key)
    answers = pipe.execute()
    return [found for found in zip(keys, answers[::2], answers[1::2], strict=True) if found[2]]


def restore(client: "redis.Redis", old: list[Dumped]) -> None:
    """Put `old` in the place of all that is there, at one moment."""
    pipe = client.pipeline()
    pipe.flushdb()
    for key, milliseconds_left, content in old:
        pipe.restore(key, max(0, milliseconds_left), content)
    pipe.execute()


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return

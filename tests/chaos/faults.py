"""The faults: each does its harm once and returns when the next one may come."""

import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import redis

from posemill.contract.keys import Priority, StageKeys, queue_list, queue_name
from posemill.contract.records import RunState
from posemill.errors import PosemillError
from posemill.processes.supervisor import Supervisor
from posemill.queue.celery_app import make_app, send_batches
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from producer.local.services import EmbeddedServices
from producer.runs.handle import RunHandle
from tests.chaos.aims import Place, kill_busy, send_signal
from tests.chaos.beside import kill_a_retry
from tests.chaos.proxy import Fault, FaultProxy
from tests.chaos.tcp_proxy import TcpProxy

PASSING = (Fault.ERROR_500, Fault.SLOW_DOWN, Fault.NOTHING, Fault.LOST_REPLY, Fault.HALF_BODY)
AT_AN_ERROR = (*PASSING, Fault.FORBIDDEN)  # the last one pauses the run
Dumped = tuple[bytes, int, bytes]  # a key, the milliseconds it has left (none: -1), its content


class Harm:
    """All that can be done to a fleet, with chances drawn from one seed."""

    def __init__(
        self,
        *,
        services: EmbeddedServices,
        proxy: FaultProxy,
        redis_proxy: TcpProxy,
        errors: Path,
        workers: Supervisor,
        worker_names: list[str],
        settings: Settings,
        handle: RunHandle,
        others: Sequence[RunHandle] = (),
        seed: int,
    ) -> None:
        """`errors`: where workers leave a mark before they raise an error. `others`: more runs on the fleet."""
        self.random = random.Random(seed)
        self._services = services
        self._proxy = proxy
        self._redis_proxy = redis_proxy
        self._errors = errors
        self._workers = workers
        self._worker_names = worker_names
        self._settings = settings
        self._handle = handle
        self._others = others
        self._aim: Place | None = None  # the batch that is followed
        self._retries = 0
        self.missed = 0  # faults whose moment did not come

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

    def kill_busy_worker(self) -> None:
        """With a batch on its device."""
        self._kill_with(lambda place: True)

    def kill_worker_of_one_batch(self) -> None:
        """Whoever has it on the device, again and again until it is done; then comes another batch's turn."""
        if self._aim and self._is_done(self._aim):
            self._aim = None
        self._aim = self._kill_with(lambda place: self._aim in (None, place)) or self._aim

    def stop_worker_past_its_lease(self) -> None:
        """Another worker takes over; the late commit of this one is refused."""
        pid = self._signal(signal.SIGSTOP)
        time.sleep(1.5 * self._settings.lease_seconds)
        if pid:
            send_signal(pid, signal.SIGCONT)

    def kill_redis(self) -> None:
        pid = self._services.supervisor.pid("redis")
        if pid:
            send_signal(pid, signal.SIGKILL)
        self._wait_for_redis()

    def stop_redis(self) -> None:
        """For a minute; it keeps its connections and answers all at once afterwards."""
        pid = self._services.supervisor.pid("redis")
        if pid:
            send_signal(pid, signal.SIGSTOP)
            time.sleep(60)
            send_signal(pid, signal.SIGCONT)

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
        self._resume_all()

    def flush_redis(self) -> None:
        self._guarded(self.ledger.redis.flushall)
        self._resume_all()

    def lose_message(self) -> None:
        """As a worker does that is killed between popping a message and noting it."""
        stage = self.random.choice(list(self._handle.plan.batches))
        self._guarded(lambda: self.ledger.redis.ltrim(queue_list(queue_name(stage), Priority.NORMAL), 1, -1))

    def repeat_message(self) -> None:
        stage = self.random.choice(list(self._handle.plan.batches))
        batch = self.random.randrange(self._handle.plan.batches[stage])
        app = make_app(self._settings.redis_url.get_secret_value())
        self._guarded(lambda: send_batches(app, stage, queue_name(stage), self._handle.id, [batch] * 10))
        app.close()

    def send_garbage(self) -> None:
        stage = self.random.choice(list(self._handle.plan.batches))
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

    def take_all_away_at_a_storage_error(self) -> None:
        """A request goes wrong; from then on neither Redis nor storage answers, for up to two leases."""
        begun, first = threading.Event(), self.random.choice(AT_AN_ERROR)

        def choose(method: str, path: str) -> Fault | None:
            if begun.is_set():
                return Fault.NOTHING
            if not any(part in path for part in ("/images/", "/records/", "controls/", "/plan/")):
                return None
            begun.set()
            self._cut_redis()
            return first

        self._proxy.choose = choose
        self.missed += not begun.wait(5)
        self._bring_all_back()

    def take_all_away_at_a_row_s_error(self) -> None:
        """A row raises an error that nobody knows; the rest as above."""
        before, deadline = set(self._errors.iterdir()), time.monotonic() + 5
        while time.monotonic() < deadline:
            if set(self._errors.iterdir()) > before:
                self._proxy.choose = lambda method, path: Fault.NOTHING
                self._cut_redis()
                self._bring_all_back()
                return
            time.sleep(0.01)
        self.missed += 1

    def cut_workers_off_from_redis(self) -> None:
        self._cut_redis()
        self._bring_all_back()

    def kill_a_retry(self) -> None:
        """Before its first call that changes storage, then its second, ...: the next one or the dispatcher ends it."""
        self.missed += not kill_a_retry(self._settings, self._retries)
        self._retries += 1

    def go_on(self) -> None:
        """What a user does when storage works again that refused: unpause the run."""
        for handle in (self._handle, *self._others):
            self._guarded(lambda handle=handle: self._unpause(handle))  # type: ignore[misc]

    def _unpause(self, handle: RunHandle) -> None:
        if self.ledger.state(handle.id) is RunState.PAUSED:
            handle.unpause()

    def _cut_redis(self) -> None:
        self.random.choice((self._redis_proxy.refuse, self._redis_proxy.keep_silent))()

    def _bring_all_back(self) -> None:
        time.sleep(self.random.uniform(0.5, 2) * self._settings.lease_seconds)
        self._redis_proxy.answer()
        self._proxy.choose = lambda method, path: None

    def _resume_all(self) -> None:
        for handle in (self._handle, *self._others):
            self._guarded(handle.resume)

    def _kill_with(self, wanted: Callable[[Place], bool]) -> Place | None:
        """Kill a worker that has a wanted batch on its device, as soon as there is one; gives the batch."""
        deadline = time.monotonic() + 10
        killed = kill_busy(
            self.ledger, self._workers, self._worker_names, wanted=wanted, choose=self.random.choice,
            given_up=lambda: self.is_over() or time.monotonic() > deadline,
        )  # fmt: skip
        self.missed += killed is None
        return killed

    def _is_done(self, place: Place) -> bool:
        run_id, stage, batch = place
        try:
            return self.ledger.redis.getbit(StageKeys(run_id, stage).done, batch) == 1
        except redis.RedisError:
            return False

    def _signal(self, number: signal.Signals) -> int | None:
        pid = self._workers.pid(self.random.choice(self._worker_names))
        if pid:
            send_signal(pid, number)
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
    dumped: list[Dumped] = list(zip(cast("list[bytes]", keys), answers[::2], answers[1::2], strict=True))
    return [found for found in dumped if found[2]]


def restore(client: "redis.Redis", old: list[Dumped]) -> None:
    """Put `old` in the place of all that is there, at one moment."""
    pipe = client.pipeline()
    pipe.flushdb()
    for key, milliseconds_left, content in old:
        pipe.restore(key, max(0, milliseconds_left), content)
    pipe.execute()

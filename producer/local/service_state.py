"""What embedded services keep between two starts: their ports, their credentials and who runs them."""

import fcntl
import json
import os
import random
import secrets
import shlex
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from posemill.errors import ServiceError

LOOPBACK = "127.0.0.1"
SECOND_PORT_OFFSET = 10_000  # each SeaweedFS port P also takes P + 10000
# Below the systems' ephemeral ports (from 32768), second ports included, so that no outgoing connection
# takes one while a server is being restarted.
FIRST_PORTS = range(10_000, 22_700)


@dataclass(frozen=True, kw_only=True)
class ServicePorts:
    """The ports that the local services listen on."""

    redis: int
    s3: int
    master: int
    volume: int
    filer: int
    admin: int

    def all(self) -> tuple[int, ...]:
        """Every port that the services listen on."""
        return tuple(getattr(self, each.name) for each in fields(self))


@dataclass(frozen=True, kw_only=True)
class ServiceState:
    """What must outlive a restart of the local services: ports and passwords."""

    ports: ServicePorts
    redis_password: str = field(repr=False)
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)


def load_or_create_state(path: Path) -> ServiceState:
    """The state of the last start, with new ports if one of the old is taken; stored before it is used."""
    state = read_state(path) if path.exists() else _new_state()
    if not all_free(state.ports):
        state = replace(state, ports=free_ports())
    write_private(path, json.dumps(asdict(state), indent=2) + "\n")
    return state


def free_ports() -> ServicePorts:
    """Ports that nothing listens on, nor on their second ports, at this moment."""
    names = [each.name for each in fields(ServicePorts)]
    candidates = random.SystemRandom().sample(FIRST_PORTS, len(FIRST_PORTS))
    free = (port for port in candidates if is_free(port))
    chosen = dict(zip(names, free, strict=False))
    if len(chosen) < len(names):
        raise ServiceError(f"no {len(names)} free ports in {FIRST_PORTS.start}-{FIRST_PORTS.stop}; free some")
    return ServicePorts(**chosen)


def all_free(ports: ServicePorts) -> bool:
    """Whether nobody listens on any of the ports."""
    return all(is_free(port) for port in ports.all())


def is_free(port: int) -> bool:
    """Whether nobody listens on the port, nor on the second one that goes with it."""
    return all(_can_bind(each) for each in (port, port + SECOND_PORT_OFFSET))


def write_private(path: Path, text: str) -> None:
    """Replaces a file in one step; only its owner may read it."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


def require_own(folder: Path) -> None:
    """Raises ServiceError for a folder that somebody else can write to: what lies in it would be theirs."""
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise ServiceError(
            f"{folder} belongs to another user, who could change what is in it; use a folder of your own"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ServiceError(
            f"{folder} can be written to by other users, so nothing in it can be trusted; "
            f"look at what is there, then: chmod go-rwx {shlex.quote(str(folder))}"
        )


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Held by one process at a time; the system releases it when that process ends, however it ends."""
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            raise ServiceError(
                f"{folder} is in use: its services were started by process {pid}; "
                "use those, stop that process, or choose another folder"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def read_state(path: Path) -> ServiceState:
    """The state as it was written."""
    try:
        stored = json.loads(path.read_text())
        return ServiceState(**{**stored, "ports": ServicePorts(**stored["ports"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ServiceError(
            f"{path} cannot be read ({error}); it holds the credentials of the data beside it: "
            "restore it, or remove the whole folder to begin with empty services"
        ) from error


def _new_state() -> ServiceState:
    return ServiceState(
        ports=free_ports(),
        redis_password=secrets.token_urlsafe(24),
        access_key=secrets.token_hex(10),
        secret_key=secrets.token_hex(20),
    )


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection does not count
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True

"""Another user of this machine, and all that they could try against local services."""

import http.client
import os
import pickle
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from producer.local.services import EmbeddedServices

Value = TypeVar("Value")

NOBODY = 65534
PUBLIC_ANSWERS = {"/status", "/healthz"}  # of the S3 port: whether it is alive, without a word more
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PROPFIND")
PATHS = (
    "/", "/status", "/healthz", "/metrics", "/ui/index.html", "/favicon.ico", "/posemill", "/posemill/kept",
    "/posemill/?list-type=2", "/buckets/", "/buckets/posemill/kept", "/buckets/posemill/?recursive=true", "/etc/iam/",
    "/dir/assign", "/dir/status", "/dir/lookup?volumeId=1", "/vol/status", "/vol/grow?count=1",
    "/col/delete?collection=posemill", "/cluster/status", "/submit", "/1,01637037d6", "/?Action=ListUsers",
    "/api/config", "/api/files/list", "/login", "/debug/pprof/", "/.tus/x",
)  # fmt: skip
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can act as another user")


@dataclass(frozen=True, kw_only=True)
class Doors:
    """Where running services could be reached."""

    ports: tuple[int, ...]  # all that their processes listen on
    sockets: tuple[str, ...]  # Unix sockets
    folders: tuple[Path, ...]

    @staticmethod
    def of(services: EmbeddedServices) -> "Doors":
        pids = [services.supervisor.pid(name) or 0 for name in ("redis", "s3")]
        processes = [psutil.Process(pid) for pid in pids]
        tcp = [each for process in processes for each in process.net_connections("tcp") if each.status == "LISTEN"]
        unix = [each.laddr for process in processes for each in process.net_connections("unix")]
        sockets = {str(each) for each in unix if re.search(r"\d+\.sock$", str(each))}
        return Doors(
            ports=tuple(sorted({each.laddr.port for each in tcp})),
            sockets=tuple(sorted(sockets)),
            folders=(services.folder,),
        )


def as_another_user(look: Callable[[], Value]) -> Value:
    """What `look` gives in a copy of this process that is nobody's; it must import nothing."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            content = pickle.dumps(look())
        except BaseException as error:  # noqa: BLE001  # told to the parent
            content = pickle.dumps(error)
        with os.fdopen(writing, "wb") as file:
            file.write(content)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        found = pickle.loads(file.read())
    os.waitpid(pid, 0)
    if isinstance(found, BaseException):
        raise found
    return found


def break_in(doors: Doors) -> list[str]:
    """Everything that gave way: an answer that is more than a refusal, a socket or a folder that opened."""
    opened = [f"unix {path}" for path in doors.sockets if _connects(path)]
    opened += [f"folder {folder}" for folder in doors.folders if _lists(folder)]
    for port in doors.ports:
        opened += _http_answers(port)
        opened += [f"{port} HTTP/2 {kind}" for kind in ("plain", "tls") if _speaks_http2(port, tls=kind == "tls")]
    return opened


def _http_answers(port: int) -> Iterator[str]:
    spoken = [scheme for scheme in ("http", "https") if _status(port, scheme, "GET", "/") is not None]
    for scheme, method, path in product(spoken, METHODS, PATHS):
        status = _status(port, scheme, method, path)
        is_public = method in ("GET", "HEAD") and path in PUBLIC_ANSWERS and scheme == "http"
        if status is not None and status < 400 and not is_public:
            yield f"{port} {scheme} {method} {path}: {status}"


def _status(port: int, scheme: str, method: str, path: str) -> int | None:
    kind = http.client.HTTPConnection
    options = {"timeout": 2}
    if scheme == "https":
        kind, options = http.client.HTTPSConnection, {"timeout": 2, "context": _trusting()}
    connection = kind("127.0.0.1", port, **options)
    try:
        connection.request(method, path, body=b"stolen" if method in ("POST", "PUT") else None)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _speaks_http2(port: int, *, tls: bool) -> bool:
    """Whether a gRPC client gets as far as the server's settings."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as plain:
        context = _trusting()
        context.set_alpn_protocols(["h2"])
        connection = context.wrap_socket(plain) if tls else plain
        connection.sendall(HTTP2)
        head = connection.recv(9)
        return len(head) == 9 and head[3] == 4  # the type of a SETTINGS frame
    return False


def _trusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _connects(path: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as door:
        door.connect(path)
        return True
    return False


def _lists(folder: Path) -> bool:
    try:
        return bool(os.listdir(folder))
    except OSError:
        return False

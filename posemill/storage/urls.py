"""Reads sources by URL: only from allowed hosts, and never from an address inside the network.

The address that was checked is the address that is connected to, so a name that resolves differently a moment later
gains nothing; every redirect is checked like a first request. No proxy is used, for it would look the name up again.
"""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import NamedTuple
from urllib.parse import urljoin

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationValueError
from urllib3.response import BaseHTTPResponse
from urllib3.util import parse_url

from posemill.errors import BadInput, NotFound, TransientError
from posemill.storage.public_addresses import is_public

REDIRECTS = 5
TIMEOUT_SECONDS = 20.0  # without a byte
DEADLINE_SECONDS = 120.0  # from the first look to the last byte, redirects included
LIMIT_BYTES = 200_000_000
PIECE_BYTES = 1 << 20
LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
HOST = re.compile(r"[\w.:-]+", re.ASCII)  # a name in IDNA, or an address
PORTS = {"http": 80, "https": 443}
Resolve = Callable[[str, int], Sequence[str]]  # addresses of a host


class UrlError(BadInput):
    """A URL that is not read."""

    code = "bad_url"


class WebAddress(NamedTuple):
    """A URL as it is asked for: ASCII alone, everything else percent-encoded, the host in IDNA."""

    scheme: str
    host: str
    port: int
    target: str  # path and query

    @property
    def url(self) -> str:
        """The address with its host in the form that is sent."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{'' if self.port == PORTS[self.scheme] else f':{self.port}'}{self.target}"


def fetch(url: str, allowed_hosts: Sequence[str], *, resolve: Resolve | None = None) -> bytes:
    """The content behind an http(s) URL.

    Raises UrlError where it may not be read, NotFound, and TransientError where trying later may help.
    """
    with _deadline(DEADLINE_SECONDS) as deadline:
        for _ in range(REDIRECTS + 1):
            address = require_allowed(url, allowed_hosts)
            places = _public_places(address, resolve or _resolve)
            status, location, content = _get(address, places, deadline)
            if status in (301, 302, 303, 307, 308) and location:
                url = urljoin(address.url, location)
                continue
            if status == 200:
                return content
            raise _error(status, url)
    raise UrlError(f"{url}: more than {REDIRECTS} redirects")


def require_allowed(url: str, allowed_hosts: Sequence[str]) -> WebAddress:
    """The URL's parts. Raises UrlError unless it is plain http(s) to an allowed host."""
    address = read_url(url)
    if not any(_matches(address.host, host) for host in allowed_hosts):
        raise UrlError(f"{url!a}: its host is not allowed; name it in POSEMILL_ALLOWED_HOSTS")
    return address


def read_url(url: str) -> WebAddress:
    """A URL's parts, as they are sent. Raises UrlError for what is no plain http(s) URL."""
    try:
        url.encode()
        parts = parse_url(LONE_PERCENT.sub("%25", url.strip()))
    except (LocationValueError, UnicodeError) as error:
        raise UrlError(f"{url!a} is not a URL ({error!s:.200})") from error
    if parts.scheme not in PORTS or not parts.host or parts.auth is not None:
        raise UrlError(f"{url!a}: only http and https URLs without a user name are read")
    if parts.port not in (None, *PORTS.values()):
        raise UrlError(f"{url!a}: only ports 80 and 443 are read")
    host = parts.host.strip("[]")
    if not HOST.fullmatch(host):
        raise UrlError(f"{url!a} is not a URL (its host cannot be read)")
    return WebAddress(parts.scheme, host, parts.port or PORTS[parts.scheme], parts.request_uri)


def _matches(host: str, allowed: str) -> bool:
    """`example.org` allows itself, `.example.org` its subdomains."""
    host, allowed = host.lower().rstrip("."), _in_ascii(allowed)
    return host.endswith(allowed) if allowed.startswith(".") else host == allowed


@cache
def _in_ascii(allowed: str) -> str:
    """An allowed host in IDNA; as it is where it has no such form, for then no URL matches it."""
    name = allowed.strip().rstrip(".")
    with suppress(UrlError):
        return ("." if name.startswith(".") else "") + read_url(f"http://{name.removeprefix('.')}/").host.lower()
    return name.lower()


def _resolve(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _public_places(address: WebAddress, resolve: Resolve) -> Sequence[str]:
    try:
        places = resolve(address.host, address.port)
    except UnicodeError as error:
        raise UrlError(f"{address.host}: no host can be called that ({error})") from error
    except OSError as error:
        raise TransientError(f"{address.host}: its address cannot be found ({error})") from error
    if not places:
        raise TransientError(f"{address.host}: it has no address")
    for place in places:
        if not is_public(place):
            raise UrlError(f"{address.host} leads to {place}, which is not on the public internet")
    return places


class _Deadline:
    """Ends the connection that is open when time is over, whatever it is doing: a header or a handshake drips too."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._ends = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._watched: socket.socket | None = None

    def patience(self) -> float:
        """Seconds that one step may take."""
        return min(TIMEOUT_SECONDS, max(self._ends - time.monotonic(), 0.001))

    def watch(self, connection: socket.socket) -> None:
        """TLS takes the socket over, so that a second handle on the connection is kept."""
        self.release()
        with self._lock:
            self._watched = connection.dup()
        if self.is_over:
            self.end()

    def end(self) -> None:
        """Close the connection: the download has taken too long."""
        with self._lock:
            self.is_over = True
            if self._watched is not None:
                with suppress(OSError):
                    self._watched.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """The download is over; nothing is closed any more."""
        with self._lock:
            if self._watched is not None:
                self._watched.close()
            self._watched = None


@contextmanager
def _deadline(seconds: float) -> Iterator[_Deadline]:
    deadline = _Deadline(seconds)
    timer = threading.Timer(seconds, deadline.end)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    finally:
        timer.cancel()
        deadline.release()


def _get(address: WebAddress, places: Sequence[str], deadline: _Deadline) -> tuple[int, str, bytes]:
    """Status, where it leads on, and content of an answer that is no redirect."""
    with _pool(address, places, deadline) as pool:
        try:
            answer = pool.urlopen(
                "GET", address.target, headers={"User-Agent": "posemill"}, redirect=False, retries=False,
                preload_content=False, decode_content=False,
            )  # fmt: skip
            location = answer.headers.get("Location", "")
            content = b"" if location or answer.status != 200 else _content(answer, address.url)
            answer.close()
        except (OSError, HTTPError) as error:
            if deadline.is_over:
                raise TransientError(f"{address.url}: not read to its end in {DEADLINE_SECONDS:.0f} s") from error
            raise TransientError(f"{address.url}: {error}") from error
    if deadline.is_over:
        raise TransientError(f"{address.url}: not read to its end in {DEADLINE_SECONDS:.0f} s")
    return answer.status, _as_sent(location), content


def _content(answer: BaseHTTPResponse, url: str) -> bytes:
    """All of it; urllib3 raises at the end of one that is shorter than was announced."""
    announced = answer.headers.get("Content-Length", "")
    content = bytearray()
    is_larger = announced.isdecimal() and int(announced) > LIMIT_BYTES
    while not is_larger and (piece := answer.read(PIECE_BYTES)):
        content += piece
        is_larger = len(content) > LIMIT_BYTES
    if is_larger:
        raise UrlError(f"{url} is larger than {LIMIT_BYTES} bytes")
    return bytes(content)


def _as_sent(location: str) -> str:
    """A header's text; servers send UTF-8, which HTTP's client has read as Latin-1."""
    with suppress(UnicodeError):
        return location.encode("latin-1").decode()
    return location


def _pool(address: WebAddress, places: Sequence[str], deadline: _Deadline) -> HTTPConnectionPool:
    """Connections to those very addresses, with the host's name for TLS and the Host header."""

    def connected() -> socket.socket:
        connection = _connect(places, address.port, deadline)
        deadline.watch(connection)
        return connection

    class Plain(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return connected()

    class Secure(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return connected()

    timeout = Timeout(TIMEOUT_SECONDS)
    host = f"[{address.host}]" if ":" in address.host else address.host
    pool: HTTPConnectionPool
    if address.scheme == "https":
        pool = HTTPSConnectionPool(host, address.port, timeout=timeout, cert_reqs="CERT_REQUIRED")
        pool.ConnectionCls = Secure
    else:
        pool = HTTPConnectionPool(host, address.port, timeout=timeout)
        pool.ConnectionCls = Plain
    return pool


def _connect(places: Sequence[str], port: int, deadline: _Deadline) -> socket.socket:
    """To the first address that answers; raises the last one's OSError."""
    for place in places[:-1]:
        with suppress(OSError):
            return socket.create_connection((place, port), deadline.patience())
    return socket.create_connection((places[-1], port), deadline.patience())


def _error(status: int, url: str) -> Exception:
    if status in (404, 410):
        return NotFound(f"{url!a}: no such page")
    if status == 429 or status >= 500:
        return TransientError(f"{url!a}: the server answered {status}")
    return UrlError(f"{url!a}: the server answered {status}")

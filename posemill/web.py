"""Reads sources by URL: only from allowed hosts, and never from an address inside the network.

The address that was checked is the address that is connected to, so a name that resolves differently a moment later
gains nothing; every redirect is checked like a first request.
"""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from posemill.errors import BadInput, NotFound, TransientError

REDIRECTS = 5
TIMEOUT_SECONDS = 20.0
LIMIT_BYTES = 200_000_000
Resolve = Callable[[str, int], Sequence[str]]  # addresses of a host


class UrlError(BadInput):
    """A URL that is not read."""

    code = "bad_url"


def fetch(url: str, allowed_hosts: Sequence[str], *, resolve: Resolve | None = None) -> bytes:
    """The content behind an http(s) URL.

    Raises UrlError where it may not be read, NotFound, and TransientError where trying later may help.
    """
    for _ in range(REDIRECTS + 1):
        parts = require_allowed(url, allowed_hosts)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = _public_address(parts.hostname or "", port, resolve or _resolve)
        status, location, content = _get(parts, port, address)
        if status in (301, 302, 303, 307, 308) and location:
            url = urljoin(url, location)
            continue
        if status == 200:
            return content
        raise _error(status, url)
    raise UrlError(f"{url}: more than {REDIRECTS} redirects")


def require_allowed(url: str, allowed_hosts: Sequence[str]) -> SplitResult:
    """The URL's parts. Raises UrlError unless it is plain http(s) to an allowed host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlError(f"{url!r} is not a URL ({error})") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise UrlError(f"{url!r}: only http and https URLs without a user name are read")
    if port not in (None, 80, 443):
        raise UrlError(f"{url!r}: only ports 80 and 443 are read")
    if not any(_matches(parts.hostname, host) for host in allowed_hosts):
        raise UrlError(f"{url!r}: its host is not allowed; name it in POSEMILL_ALLOWED_HOSTS")
    return parts


def _matches(host: str, allowed: str) -> bool:
    """`example.org` allows itself, `.example.org` its subdomains."""
    host, allowed = host.lower().rstrip("."), allowed.lower()
    return host.endswith(allowed) if allowed.startswith(".") else host == allowed


def _resolve(host: str, port: int) -> list[str]:
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _public_address(host: str, port: int, resolve: Resolve) -> str:
    try:
        addresses = resolve(host, port)
    except OSError as error:
        raise TransientError(f"{host}: its address cannot be found ({error})") from error
    if not addresses:
        raise TransientError(f"{host}: it has no address")
    for address in addresses:
        if not _is_public(address):
            raise UrlError(f"{host} leads to {address}, which is not on the public internet")
    return addresses[0]


def _is_public(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    return parsed.is_global and not parsed.is_multicast and (inner is None or inner.is_global)


def _get(parts: SplitResult, port: int, address: str) -> tuple[int, str | None, bytes]:
    connection = _connection(parts, port, address)
    target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
    try:
        connection.request("GET", target, headers={"Host": parts.netloc, "User-Agent": "posemill"})
        answer = connection.getresponse()
        content = answer.read(LIMIT_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"{parts.geturl()}: {error}") from error
    finally:
        connection.close()
    if len(content) > LIMIT_BYTES:
        raise UrlError(f"{parts.geturl()} is larger than {LIMIT_BYTES} bytes")
    return answer.status, answer.getheader("Location"), content


def _connection(parts: SplitResult, port: int, address: str) -> http.client.HTTPConnection:
    """A connection to that very address, with the name for TLS."""
    host = parts.hostname or ""

    class Pinned(http.client.HTTPConnection):
        def connect(self) -> None:
            plain = socket.create_connection((address, port), TIMEOUT_SECONDS)
            secure: Any = plain
            if parts.scheme == "https":
                secure = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            self.sock = secure

    return Pinned(host, port, timeout=TIMEOUT_SECONDS)


def _error(status: int, url: str) -> Exception:
    if status in (404, 410):
        return NotFound(f"{url}: no such page")
    if status == 429 or status >= 500:
        return TransientError(f"{url}: the server answered {status}")
    return UrlError(f"{url}: the server answered {status}")

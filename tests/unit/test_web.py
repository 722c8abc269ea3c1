"""Sources by URL: what is never read. The server stands on loopback, which a test alone may allow."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from posemill import web
from posemill.errors import NotFound, TransientError
from posemill.web import UrlError, fetch, require_allowed

HOSTS = ("example.org", ".example.net")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A web server; every public address leads to it."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pages = {"/a.png": (200, ""), "/moved": (302, "http://example.org/a.png"), "/busy": (503, ""),
                     "/inside": (302, "http://127.0.0.1/a.png"), "/away": (302, "http://elsewhere.org/"),
                     "/round": (302, "/round")}  # fmt: skip
            status, location = pages.get(self.path, (404, ""))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(b"content")

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        connect = web.socket.create_connection
        port = running.server_address[1]
        monkeypatch.setattr(web.socket, "create_connection", lambda address, timeout: connect(("127.0.0.1", port)))
        yield port
        running.shutdown()
        thread.join()


def public(host: str, port: int) -> list[str]:
    return ["93.184.216.34"]


def test_an_allowed_host_is_read_also_after_a_redirect(server: int) -> None:
    assert fetch("http://example.org/a.png", HOSTS, resolve=public) == b"content"
    assert fetch("http://example.org/moved", HOSTS, resolve=public) == b"content"


@pytest.mark.parametrize("page", ["inside", "away", "round"])
def test_a_redirect_is_checked_like_a_first_request(server: int, page: str) -> None:
    with pytest.raises(UrlError):
        fetch(f"http://example.org/{page}", HOSTS, resolve=public)


@pytest.mark.parametrize(("page", "error"), [("missing", NotFound), ("busy", TransientError)])
def test_what_the_server_answers_decides_whether_to_try_again(server: int, page: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        fetch(f"http://example.org/{page}", HOSTS, resolve=public)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.8", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
     "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "2002:7f00:1::"],
)  # fmt: skip
def test_a_name_that_leads_inside_the_network_is_not_read(server: int, address: str) -> None:
    with pytest.raises(UrlError, match="public internet"):
        fetch("http://example.org/a.png", HOSTS, resolve=lambda host, port: ["93.184.216.34", address])


@pytest.mark.parametrize(
    "url",
    ["http://elsewhere.org/", "http://example.org.evil.com/", "http://evilexample.org/", "http://user@example.org/",
     "ftp://example.org/", "file:///etc/passwd", "http://example.org:6379/", "http://", "http://[::1", "gopher://x"],
)  # fmt: skip
def test_a_url_that_is_not_plainly_allowed_is_refused(url: str) -> None:
    with pytest.raises(UrlError):
        require_allowed(url, HOSTS)


def test_subdomains_are_allowed_only_with_a_leading_dot() -> None:
    assert require_allowed("https://img.example.net/a", HOSTS).hostname == "img.example.net"
    with pytest.raises(UrlError):
        require_allowed("https://img.example.org/a", HOSTS)


def test_without_allowed_hosts_nothing_is_read() -> None:
    with pytest.raises(UrlError, match="POSEMILL_ALLOWED_HOSTS"):
        fetch("http://example.org/a.png", ())

"""Sources by URL: what is never read. The server stands on loopback, which a test alone may allow."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posemill.errors import NotFound, PosemillError, TransientError
from posemill.storage import urls as web
from posemill.storage.public_addresses import is_public
from posemill.storage.urls import UrlError, fetch, read_url, require_allowed
from producer.local.server_certificates import CERTIFICATE, KEY, write_certificates
from tests.conftest import wait_until

HOSTS = ("example.org", ".example.net")


@pytest.fixture
def asked() -> list[str]:
    """Hosts and paths as the server read them."""
    return []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, asked: list[str]) -> Iterator[int]:
    """A web server; every public address leads to it."""
    ended = threading.Event()

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.headers['Host']}{self.path}")
            if self.path in ("/drip", "/drip-headers"):
                self.drip()
                return
            pages = {"/a.png": (200, ""), "/moved": (302, "http://example.org/a.png"), "/busy": (503, ""),
                     "/inside": (302, "http://127.0.0.1/a.png"), "/away": (302, "http://elsewhere.org/"),
                     "/round": (302, "/round"), "/to-words": (302, "/größe b.png?q=é%20 ".encode().decode("latin-1")),
                     "/gr%C3%B6%C3%9Fe%20b.png?q=%C3%A9%20": (200, ""), "/short": (200, "")}  # fmt: skip
            status, location = pages.get(self.path, (404, ""))
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            if self.path == "/short":
                self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"content")

        def drip(self) -> None:
            """A byte every now and then, for ever: of the content, or of a header."""
            self.wfile.write(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if self.path == "/drip" else b"X: "))
            with suppress(OSError):
                while not ended.wait(0.05):
                    self.wfile.write(b"x")

        def log_message(self, format: str, *args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        connect = socket.create_connection
        port = running.server_address[1]
        monkeypatch.setattr(socket, "create_connection", lambda address, timeout: connect(("127.0.0.1", port)))
        yield port
        ended.set()
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
     "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "2002:7f00:1::", "192.0.0.9", "192.0.0.170", "192.0.0.1",
     "64:ff9b::7f00:1", "64:ff9b::a00:8", "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "::7f00:1", "::8.8.8.8", "::",
     "::ffff:10.0.0.8", "::ffff:0:127.0.0.1", "2001:0:808:808::f5ff:fff7", "2002:a9fe:a9fe::", "2001:db8::1", "ff02::1",
     "fec0::1", "3fff::1", "5f00::1", "100::1", "2606:4700::5efe:127.0.0.1", "2606:4700::200:5efe:10.0.0.8",
     "fe80::1%eth0", "240.0.0.1", "255.255.255.255", "198.18.0.1", "192.88.99.1"],
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
    assert require_allowed("https://img.example.net/a", HOSTS).host == "img.example.net"
    with pytest.raises(UrlError):
        require_allowed("https://img.example.org/a", HOSTS)


def test_without_allowed_hosts_nothing_is_read() -> None:
    with pytest.raises(UrlError, match="POSEMILL_ALLOWED_HOSTS"):
        fetch("http://example.org/a.png", ())


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
)
def test_public_addresses_are_public_in_every_form(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://example.org/a b/é.png?q=ü x", "http://example.org/a%20b/%C3%A9.png?q=%C3%BC%20x"),
        ("http://example.org/a%20b?c=%C3%BC#part", "http://example.org/a%20b?c=%C3%BC"),
        ("http://example.org/100%/%zz%20", "http://example.org/100%25/%25zz%20"),
        ("  https://EXAMPLE.org:443 ", "https://example.org/"),
        ("http://bücher.example.net/日本", "http://xn--bcher-kva.example.net/%E6%97%A5%E6%9C%AC"),
        ("http://example.org\\@elsewhere.org/", "http://example.org/%5C@elsewhere.org/"),
    ],
)  # fmt: skip
def test_a_url_is_percent_encoded_and_its_host_put_into_idna(url: str, sent: str) -> None:
    assert require_allowed(url, HOSTS).url == sent


def test_words_in_a_url_and_in_a_redirect_are_sent_percent_encoded(server: int, asked: list[str]) -> None:
    assert fetch("http://example.org/größe b.png?q=é%20", HOSTS, resolve=public) == b"content"
    assert fetch("http://example.org/to-words", HOSTS, resolve=public) == b"content"
    words = "example.org/gr%C3%B6%C3%9Fe%20b.png?q=%C3%A9%20"
    assert asked == [words, "example.org/to-words", words]


def test_allowed_hosts_may_be_written_in_letters(server: int, asked: list[str]) -> None:
    assert fetch("http://xn--bcher-kva.org/a.png", ["bücher.org"], resolve=public) == b"content"
    assert fetch("http://img.Bücher.org/a.png", [".bücher.org"], resolve=public) == b"content"
    assert asked == ["xn--bcher-kva.org/a.png", "img.xn--bcher-kva.org/a.png"]


@pytest.mark.parametrize(
    "url",
    ["http://exa mple.org/", "http://[::1", "http://example.org:x/", "http://example.org:99999/", "http:example.org",
     "example.org/a", "", "http://\udcff.org/", "http://example.org/\udcff", "http://[fe80::1%25eth0]/", "http://١.org/"],
)  # fmt: skip
def test_what_is_no_url_is_refused_at_once_and_for_good(url: str) -> None:
    with pytest.raises(UrlError):
        fetch(url, (".org", "example.org"), resolve=lambda host, port: pytest.fail("it was looked up"))


@pytest.mark.parametrize("host", ["a..example.net", f"{'a' * 64}.example.net"])
def test_a_name_that_no_host_can_have_is_refused_for_good(host: str) -> None:
    with pytest.raises(UrlError):
        fetch(f"http://{host}/", HOSTS)


@pytest.mark.parametrize("page", ["drip", "drip-headers"])
def test_an_answer_that_drips_ends_at_the_deadline(server: int, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    monkeypatch.setattr(web, "DEADLINE_SECONDS", 0.5)
    begun = time.monotonic()
    with pytest.raises(TransientError, match="not read to its end"):
        fetch(f"http://example.org/{page}", HOSTS, resolve=public)
    assert time.monotonic() - begun < 5


def test_no_thread_and_no_connection_is_left_of_a_download(server: int) -> None:
    before = threading.active_count()
    for _ in range(3):
        fetch("http://example.org/a.png", HOSTS, resolve=public)
    wait_until(lambda: threading.active_count() <= before, seconds=10)


def test_an_answer_that_breaks_off_is_tried_again(server: int) -> None:
    with pytest.raises(TransientError):
        fetch("http://example.org/short", HOSTS, resolve=public)


def test_an_answer_that_is_too_large_is_refused(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit, page in ((50, "short"), (3, "a.png")):
        monkeypatch.setattr(web, "LIMIT_BYTES", limit)
        with pytest.raises(UrlError, match="larger"):
            fetch(f"http://example.org/{page}", HOSTS, resolve=public)


def test_a_second_address_is_asked_when_the_first_does_not_answer(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.create_connection

    def answering(address: tuple[str, int], timeout: float) -> socket.socket:
        if address[0] == "93.184.216.33":
            raise OSError("no route")
        return connect(address, timeout)

    monkeypatch.setattr(socket, "create_connection", answering)
    assert fetch("http://example.org/a.png", HOSTS, resolve=lambda host, port: ["93.184.216.33", "93.184.216.34"])


def test_a_proxy_is_not_used(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://proxy.example.org:3128")
    assert fetch("http://example.org/a.png", HOSTS, resolve=public) == b"content"


@pytest.mark.parametrize("name", ["posemill.example.net", "127.0.0.1"])
def test_a_certificate_that_nobody_vouches_for_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write_certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / CERTIFICATE, tmp_path / KEY)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as running:
        running.socket = context.wrap_socket(running.socket, server_side=True)
        running.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        connect, port = socket.create_connection, running.server_address[1]
        monkeypatch.setattr(socket, "create_connection", lambda address, timeout: connect(("127.0.0.1", port)))
        try:
            with pytest.raises(TransientError, match="certificate"):
                fetch(f"https://{name}/", [name], resolve=public)
        finally:
            running.shutdown()
            thread.join()


@given(st.text() | st.text(st.sampled_from("htp:/@[]%.é\\ \n\udcff#?1")).map("http://".__add__))
def test_no_text_is_more_than_refused(url: str) -> None:
    try:
        address = read_url(url)
    except PosemillError:
        return
    assert address.url.isascii()
    assert read_url(address.url) == address

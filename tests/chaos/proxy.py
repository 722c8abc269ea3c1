"""An HTTP proxy in front of the real S3 server that spoils some of its answers."""

import http.client
import threading
from collections.abc import Callable
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


class Fault(StrEnum):
    """What happens to a request instead of its answer."""

    ERROR_500 = "500"
    SLOW_DOWN = "503 SlowDown"
    FORBIDDEN = "403"
    NO_BUCKET = "404 NoSuchBucket"
    NOTHING = "the connection is closed before the server sees the request"
    LOST_REPLY = "the server acts, the reply is lost"
    HALF_BODY = "the connection is closed in the middle of the body"


STATUS = {
    Fault.ERROR_500: (500, "InternalError"),
    Fault.SLOW_DOWN: (503, "SlowDown"),
    Fault.FORBIDDEN: (403, "AccessDenied"),
    Fault.NO_BUCKET: (404, "NoSuchBucket"),
}
Choose = Callable[[str, str], Fault | None]  # of a method and a path


class FaultProxy:
    """Forwards to `target` (http://host:port) and spoils what `choose` says."""

    def __init__(self, target: str, choose: Choose = lambda method, path: None) -> None:
        self.choose = choose
        self.injected: dict[Fault, int] = {}
        self._lock = threading.Lock()
        self._server = _QuietServer(("127.0.0.1", 0), _handler(self, urlsplit(target).netloc))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fault_for(self, method: str, path: str) -> Fault | None:
        with self._lock:
            fault = self.choose(method, path)
            if fault:
                self.injected[fault] = self.injected.get(fault, 0) + 1
        return fault

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that is killed resets its connections."""


def _handler(proxy: FaultProxy, target: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def forward(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.fault_for(self.command, self.path)
            if fault in STATUS:
                self._refuse(*STATUS[fault])
            elif fault is Fault.NOTHING:
                self._hang_up()
            else:
                self._pass_on(body, fault)

        def _pass_on(self, body: bytes, fault: Fault | None) -> None:
            connection = http.client.HTTPConnection(target, timeout=30)
            try:
                connection.request(self.command, self.path, body=body, headers=dict(self.headers))
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                self._hang_up()
                return
            finally:
                connection.close()
            if fault is Fault.LOST_REPLY:
                self._hang_up()
                return
            self._answer(answer, content, half=fault is Fault.HALF_BODY and len(content) > 1)

        def _answer(self, answer: http.client.HTTPResponse, content: bytes, *, half: bool) -> None:
            self.send_response(answer.status, answer.reason)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            for name, value in answer.getheaders():
                if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(content[: len(content) // 2] if half else content)
            if half:
                self._hang_up()

        def _refuse(self, status: int, code: str) -> None:
            content = f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def _hang_up(self) -> None:
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            return

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward  # noqa: N815  # the base class's names

    return Handler

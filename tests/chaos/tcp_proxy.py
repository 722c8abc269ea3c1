"""A TCP proxy in front of Redis that can refuse every connection, or keep silent."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class TcpProxy:
    """Forwards to the server of `url`; `url` is the same address through the proxy."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = (target.hostname or "127.0.0.1", target.port or 6379)
        self._open = threading.Event()  # not set: nothing is forwarded
        self._open.set()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._listener: socket.socket | None = None
        self._port = 0
        self._listen()
        user = target.netloc.rpartition("@")[0]
        self.url = urlunsplit(target._replace(netloc=f"{user + '@' if user else ''}127.0.0.1:{self._port}"))

    def refuse(self) -> None:
        """Reset every connection, and take no new one."""
        with self._lock:
            listener, self._listener = self._listener, None
        if listener:
            _end(listener)
        self._end_connections()

    def keep_silent(self) -> None:
        """Connections stay, and nothing comes through them until `answer`."""
        self._open.clear()

    def answer(self) -> None:
        """As if nothing had been."""
        self._open.set()
        if self._listener is None:
            self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.set()
        self.refuse()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(100)
        self._port, self._listener = listener.getsockname()[1], listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        self._open.wait()
        try:
            server = socket.create_connection(self._target)
        except OSError:
            _end(client)
            return
        with self._lock:
            refused = self._listener is None
            self._connections |= {client, server}
        if refused:
            self._end_connections()
        for source, destination in ((client, server), (server, client)):
            threading.Thread(target=self._pump, args=(source, destination), daemon=True).start()

    def _pump(self, source: socket.socket, destination: socket.socket) -> None:
        with suppress(OSError):
            while content := source.recv(65536):
                self._open.wait()
                destination.sendall(content)
        with self._lock:
            self._connections -= {source, destination}
        for end in (source, destination):
            _end(end)

    def _end_connections(self) -> None:
        with self._lock:
            ended, self._connections = self._connections, set()
        for connection in ended:
            _end(connection)


def _end(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()

"""A model hub on loopback that answers as huggingface_hub's client asks: folders, under the names of true models."""

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

LARGE = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".onnx", ".msgpack")  # kept apart, as Git LFS does
INFO = re.compile(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?$")
RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)$")
BLOB = re.compile(r"/blobs/([0-9a-f]{64})$")
PIECE_BYTES = 1 << 14


@dataclass
class Request:
    """One request and what became of it."""

    method: str
    path: str
    range: str
    authorized: bool
    status: int = 0
    sent_bytes: int = 0  # so far


@dataclass
class Repository:
    """A model's commits, the newest one last, and who may read it."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    readers: tuple[str, ...] | None = None  # tokens; None: everybody
    gated: bool = False  # its existence is known to all

    @property
    def newest(self) -> str:
        return list(self.commits)[-1]

    def commit(self, revision: str) -> str | None:
        """The commit that a branch, tag or commit means."""
        return (
            self.newest
            if revision == "main"
            else self.tags.get(revision, revision if revision in self.commits else None)
        )


class LoopbackHub:
    """The server; its troubles are switched on and off while it runs."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.tokens = {"hf_reader", "hf_stranger"}
        self.blobs: dict[str, bytes] = {}
        self.digests: dict[int, str] = {}  # by the content's identity: it is large
        self.requests: list[Request] = []
        self.bytes_a_second: float | None = None
        self.break_off_after: int | None = None  # bytes of each answer with a large file
        self.break_offs = 0  # how many answers more are broken off
        self.closed = False
        self.answers_busy = False  # 503 to everything
        self.hangs = threading.Event()  # large files stop coming until it is cleared
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._store = ThreadingHTTPServer(("127.0.0.1", 0), handler)  # where large files lie: another host
        self._store.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.store_url = f"http://127.0.0.1:{self._store.server_port}"
        for server in (self._server, self._store):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def add(self, model: str, files: Path | Mapping[str, bytes], **how: object) -> str:
        """Put a folder's files under a model's name as its newest commit; gives the commit."""
        if isinstance(files, Path):
            files = {
                str(path.relative_to(files)): path.read_bytes() for path in sorted(files.rglob("*")) if path.is_file()
            }
        repository = self.repositories.setdefault(model, Repository())
        for name, value in how.items():
            setattr(repository, name, value)
        whole = hashlib.sha1(f"{model} {len(repository.commits)}".encode())
        for name, content in sorted(files.items()):
            whole.update(name.encode() + hashlib.sha1(content).digest())
        repository.commits[whole.hexdigest()] = dict(files)
        self.digests.update({id(content): digest_of(content) for content in files.values()})
        self.blobs.update({self.digests[id(content)]: content for content in files.values()})
        return whole.hexdigest()

    def downloads(self, model: str) -> list[str]:
        """The names of the files that were sent to the end, or begun, each time that they were."""
        blobs = {
            self.digests[id(content)]: name
            for files in self.repositories[model].commits.values()
            for name, content in files.items()
        }
        found = []
        for request in self.requests:
            if request.method != "GET" or not request.sent_bytes:
                continue
            if blob := BLOB.match(request.path):
                found += [blobs[blob[1]]] if blob[1] in blobs else []
            elif (whole := RESOLVE.match(request.path)) and whole[1] == model:
                found.append(whole[3])
        return sorted(found)

    def environment(self, home: Path) -> dict[str, str]:
        """What leads a process to this hub, with a cache of its own."""
        return {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}

    def close(self) -> None:
        """Nobody answers any more."""
        self.closed = True  # connections that stand are not used again
        for server in (self._server, self._store):
            server.shutdown()
            server.server_close()


@contextmanager
def loopback_hub() -> Iterator[LoopbackHub]:
    """A hub without models, on a free port."""
    hub = LoopbackHub()
    try:
        yield hub
    finally:
        hub.hangs.clear()
        hub.close()


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _Refused(Exception):
    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing: the hub's own log is `requests`."""

    def do_HEAD(self) -> None:  # http.server's names
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path, asked = unquote(urlsplit(self.path).path), self.headers.get("Range", "")
        self._request = Request(self.command, path, range=asked, authorized="Authorization" in self.headers)
        self.hub.requests.append(self._request)
        try:
            self._route(path)
        except _Refused as refused:
            self._send(refused.status, b"{}", {"X-Error-Code": refused.code, "X-Error-Message": refused.message})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _route(self, path: str) -> None:
        if self.hub.closed:
            raise ConnectionResetError
        if self.hub.answers_busy:
            raise _Refused(503)
        if found := INFO.match(path):
            self._info(found[1], found[2] or "main")
        elif found := RESOLVE.match(path):
            self._resolve(found[1], found[2], found[3])
        elif found := BLOB.match(path):
            self._blob(found[1])
        else:
            raise _Refused(404, "EntryNotFound")

    def _info(self, model: str, revision: str) -> None:
        repository, commit = self._find(model, revision)
        files = repository.commits[commit]
        document = {
            "_id": "0", "id": model, "modelId": model, "sha": commit, "private": False, "gated": False, "tags": [],
            "downloads": 0, "likes": 0, "siblings": [
                {"rfilename": name, "size": len(content)} for name, content in files.items()],
        }  # fmt: skip
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _resolve(self, model: str, revision: str, name: str) -> None:
        repository, commit = self._find(model, revision)
        content = repository.commits[commit].get(name)
        if content is None:
            raise _Refused(404, "EntryNotFound")
        if not name.endswith(LARGE):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self._send_file(content, {"ETag": f'"{etag}"', "X-Repo-Commit": commit}, large=False)
            return
        digest = self.hub.digests[id(content)]
        headers = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        headers["Location"] = f"{self.hub.store_url}/blobs/{digest}"
        self._send(302, b"", headers)

    def _blob(self, digest: str) -> None:
        if content := self.hub.blobs.get(digest):
            self._send_file(content, {"ETag": f'"{digest}"'}, large=True)
            return
        raise _Refused(403)

    def _find(self, model: str, revision: str) -> tuple[Repository, str]:
        """Raises what the hub answers to those who may not read, and to names that are none."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            raise _Refused(401, "", "Invalid credentials in Authorization header")
        repository = self.hub.repositories.get(model)
        if repository is None:
            raise _Refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if repository.readers is not None and token not in repository.readers:
            if repository.gated:
                raise _Refused(403 if token else 401, "GatedRepo", f"Access to model {model} is restricted")
            raise _Refused(404 if token else 401, "RepoNotFound", "Repository not found")
        commit = repository.commit(revision)
        if commit is None:
            raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, commit

    def _send_file(self, content: bytes, headers: dict[str, str], *, large: bool) -> None:
        begin = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if begin is None:
            self._send(200, content, {"Accept-Ranges": "bytes", **headers}, large=large)
            return
        first, last = int(begin[1]), int(begin[2] or len(content) - 1)
        if first >= len(content):
            raise _Refused(416)
        part = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self._send(206, content[first : last + 1], {**headers, **part}, large=large)

    def _send(self, status: int, content: bytes, headers: dict[str, str], *, large: bool = False) -> None:
        self._request.status = status
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if not large:
            self._request.sent_bytes = len(content)
            self.wfile.write(content)
            return
        self._send_slowly(content)

    def _send_slowly(self, content: bytes) -> None:
        hub = self.hub
        whole = content
        if hub.break_off_after is not None and hub.break_offs > 0 and len(content) > hub.break_off_after:
            hub.break_offs -= 1
            whole = content[: hub.break_off_after]
        piece = min(PIECE_BYTES, int(hub.bytes_a_second / 4)) if hub.bytes_a_second else PIECE_BYTES
        for begin in range(0, len(whole), piece):
            while hub.hangs.is_set():
                time.sleep(0.05)
            self._request.sent_bytes += len(whole[begin : begin + piece])
            self.wfile.write(whole[begin : begin + piece])
            if hub.bytes_a_second:
                time.sleep(piece / hub.bytes_a_second)
        if len(whole) < len(content):
            self.wfile.flush()
            self.close_connection = True


def lead_to(hub: LoopbackHub, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub reads its variables once, when it is imported: here they are set as if that were now."""
    from huggingface_hub import constants

    for name, value in hub.environment(home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HOME", str(home))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))

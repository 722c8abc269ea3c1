"""Reads and uploads what rows name, a few at a time and ahead of the planner, in the rows' order."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from posemill.errors import RowError
from posemill.identity import digest, sha256
from posemill.names import source_key
from posemill.records import Source
from posemill.storage import Store
from producer.rows import Candidate, Row

LOOK_AHEAD = 64  # rows being read at once
LIMIT_BYTES = 200_000_000  # of one picture file
REMEMBERED = 100_000  # sources of late, so that rows that name one again share it


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A row whose content is in storage."""

    row: Row
    source: Source | None = None
    error: RowError | None = None


class Intake:
    """Makes Sources of Candidates. Local files go to storage under their content's digest."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._met: OrderedDict[str, Future[Source]] = OrderedDict()

    def take(self, rows: Iterator[Row]) -> Iterator[Taken]:
        pending: deque[tuple[Row, Future[Source] | None]] = deque()
        with ThreadPoolExecutor(8) as pool:
            for row in rows:
                pending.append((row, self._begin(row, pool)))
                if len(pending) > LOOK_AHEAD:
                    yield _finish(*pending.popleft())
            while pending:
                yield _finish(*pending.popleft())

    def _begin(self, row: Row, pool: ThreadPoolExecutor) -> Future[Source] | None:
        candidate = row.source or row.control
        if row.error or candidate is None:
            return None
        key = str(candidate.path or candidate.uri or "")
        if key in self._met:
            self._met.move_to_end(key)
            return self._met[key]
        future = pool.submit(self._read, candidate, row.place) if candidate.path else _ready(candidate)
        if key:
            self._met[key] = future
            if len(self._met) > REMEMBERED:
                self._met.popitem(last=False)
        return future

    def _read(self, candidate: Candidate, place: str) -> Source:
        path = candidate.path
        assert path is not None
        try:
            if path.stat().st_size > LIMIT_BYTES:
                raise RowError(f"{path} is larger than {LIMIT_BYTES} bytes", place=place)
            content = path.read_bytes()
        except OSError as error:
            raise RowError(f"{path} cannot be read ({error.strerror})", place=place) from error
        content_sha256 = sha256(content)
        key = source_key(content_sha256)
        if self._store.head(key) is None:
            self._store.put_if_absent(key, content)
        return Source(name=candidate.name, identity=content_sha256, key=key)


def _ready(candidate: Candidate) -> Future[Source]:
    """A source that needs no reading: in other storage, or a pose given inline."""
    future: Future[Source] = Future()
    if candidate.pose is not None:
        future.set_result(Source(name=candidate.name, identity=digest("pose", candidate.pose), pose=candidate.pose))
    else:
        identity = f"{candidate.uri}#{candidate.etag}" if candidate.etag else str(candidate.uri)
        future.set_result(Source(name=candidate.name, identity=identity, uri=candidate.uri))
    return future


def _finish(row: Row, future: Future[Source] | None) -> Taken:
    if future is None:
        return Taken(row=row, error=row.error)
    try:
        return Taken(row=row, source=future.result())
    except RowError as error:
        return Taken(row=row, error=error)

"""Reads and uploads what rows name, a few at a time and ahead of the planner, in the rows' order."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from posemill.contract.identity import digest, sha256
from posemill.contract.keys import source_key
from posemill.contract.records import Source
from posemill.errors import RowError
from posemill.storage.store import Store
from producer.sources.rows import Candidate, Row
from producer.sources.source_files import UnreadableFile, read_picture

THREADS = 8
LOOK_AHEAD = 64  # rows that wait for the first of them to be read
REMEMBERED = 100_000  # files of late, so that rows that name one again share it


class PreparedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row whose content is in storage."""

    row: Row
    source: Source | None = None
    error: RowError | None = None


class Intake:
    """Makes Sources of Candidates. Local files go to storage under their content's digest."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._met: OrderedDict[Path, Source | Future[Source]] = OrderedDict()

    def take(self, rows: Iterator[Row]) -> Iterator[PreparedRow]:
        """Each row with its picture judged and uploaded, or with the error that refuses it; in order."""
        pending: deque[tuple[Row, Source | Future[Source] | None]] = deque()
        with ThreadPoolExecutor(THREADS) as pool:
            for row in rows:
                pending.append((row, self._begin(row, pool)))
                while pending and (len(pending) > LOOK_AHEAD or not isinstance(pending[0][1], Future)):
                    yield self._finish(*pending.popleft())
            while pending:
                yield self._finish(*pending.popleft())

    def _begin(self, row: Row, pool: ThreadPoolExecutor) -> Source | Future[Source] | None:
        candidate = row.source or row.control_image
        if row.error or candidate is None:
            return None
        if candidate.path is None:
            return _ready(candidate)
        if candidate.path in self._met:
            self._met.move_to_end(candidate.path)
            return self._met[candidate.path]
        future = pool.submit(self._read, candidate.name, candidate.path, candidate.folders)
        self._met[candidate.path] = future
        if len(self._met) > REMEMBERED:
            self._met.popitem(last=False)
        return future

    def _finish(self, row: Row, begun: Source | Future[Source] | None) -> PreparedRow:
        if not isinstance(begun, Future):
            return PreparedRow(row=row, source=begun, error=row.error)
        try:
            source = begun.result()
        except UnreadableFile as error:
            return PreparedRow(row=row, error=RowError(str(error), place=row.place))
        candidate = row.source or row.control_image
        if candidate and candidate.path and candidate.path in self._met:
            self._met[candidate.path] = source  # a future is ten times as large
        return PreparedRow(row=row, source=source)

    def _read(self, name: str, path: Path, folders: tuple[Path, ...]) -> Source:
        content = read_picture(path, folders)
        content_sha256 = sha256(content)
        key = source_key(content_sha256)
        if self._store.head(key) is None:
            self._store.put_if_absent(key, content)
        return Source(name=name, identity=content_sha256, key=key)


def _ready(candidate: Candidate) -> Source:
    """A source that needs no reading: in other storage, or a pose given inline."""
    if candidate.pose is not None:
        return Source(name=candidate.name, identity=digest("pose", candidate.pose), pose=candidate.pose)
    uri = str(candidate.uri)
    return Source(name=candidate.name, identity=f"{uri}#{candidate.etag}" if candidate.etag else uri, uri=uri)

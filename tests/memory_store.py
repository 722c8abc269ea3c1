"""Storage in memory, behind the same seam as S3: for tests of many orders of events."""

from collections.abc import Iterator
from pathlib import Path

from posemill.contract.identity import sha256
from posemill.contract.records import StoredObject
from posemill.errors import NotFound
from posemill.storage.store import ObjectInfo


class MemoryStore:
    """Keeps every promise of `posemill.storage.store.Store` in one process."""

    url = "memory://"

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def put(self, key: str, content: bytes, *, content_type: str = "") -> StoredObject:
        self.objects[key] = content
        return _stored(key, content)

    def put_if_absent(self, key: str, content: bytes, *, content_type: str = "") -> tuple[StoredObject, bool]:
        created = key not in self.objects
        return _stored(key, self.objects.setdefault(key, content)), created

    def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFound(key)
        return self.objects[key]

    def head(self, key: str) -> StoredObject | None:
        return _stored(key, self.objects[key]) if key in self.objects else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for key in sorted(self.objects):
            if key.startswith(prefix):
                yield ObjectInfo(key=key, size=len(self.objects[key]), etag=sha256(self.objects[key]))

    def folders(self, prefix: str) -> Iterator[str]:
        found = {key[: key.index("/", len(prefix)) + 1] for key in self.objects if "/" in key[len(prefix) :]}
        yield from sorted(name for name in found if name.startswith(prefix))

    def delete(self, key: str) -> None:
        self.objects.pop(key, None)

    def put_file(self, key: str, path: Path) -> None:
        self.objects[key] = path.read_bytes()

    def get_file(self, key: str, path: Path) -> None:
        path.write_bytes(self.get(key))

    def get_uri(self, uri: str) -> bytes:
        raise NotFound(uri)

    def list_uri(self, uri: str) -> Iterator[ObjectInfo]:
        raise NotFound(uri)


def _stored(key: str, content: bytes) -> StoredObject:
    return StoredObject(key=key, sha256=sha256(content), etag=sha256(content), size=len(content))

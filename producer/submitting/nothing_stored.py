"""Stands in for storage where a submission is only rehearsed: takes everything, keeps nothing, counts the bytes."""

from pathlib import Path

from posemill.contract.identity import sha256
from posemill.contract.records import StoredObject


class NothingStored:
    """The part of a Store that reading sources needs."""

    url = "nothing://"

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}

    @property
    def total_bytes(self) -> int:
        """Of all different objects that were handed in."""
        return sum(self._sizes.values())

    def head(self, key: str) -> StoredObject | None:
        """None: nothing stands here."""
        return self._stored(key) if key in self._sizes else None

    def put(self, key: str, content: bytes, *, content_type: str = "") -> StoredObject:
        """Count the bytes that would be written."""
        self._sizes[key] = len(content)
        return self._stored(key, sha256(content))

    def put_if_absent(self, key: str, content: bytes, *, content_type: str = "") -> tuple[StoredObject, bool]:
        """Count the bytes that would be written, once for each key."""
        known = key in self._sizes
        return self.put(key, content, content_type=content_type), not known

    def put_file(self, key: str, path: Path) -> None:
        """Count the bytes that would be uploaded, once for each key."""
        self._sizes[key] = path.stat().st_size

    def _stored(self, key: str, content_sha256: str = "") -> StoredObject:
        return StoredObject(key=key, sha256=content_sha256, etag="", size=self._sizes[key])

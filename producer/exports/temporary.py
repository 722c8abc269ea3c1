"""A shard's file while it grows, on this machine's disk."""

import hashlib
import tempfile
from pathlib import Path
from typing import IO

from producer.exports.destinations import Destination
from producer.exports.shards import StoredFile


class GrowingFile:
    """A file that goes to its destination when it is finished; gone from here in any case."""

    def __init__(self, destination: Destination, name: str) -> None:
        self._destination = destination
        self._name = name
        self._folder = tempfile.TemporaryDirectory(prefix="posemill-export-")
        self.path = Path(self._folder.name) / "shard"
        self.stream: IO[bytes] = self.path.open("wb")

    def finish(self) -> StoredFile:
        """Close the file, digest it and hand it over."""
        self.stream.close()
        with self.path.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        stored = StoredFile(name=self._name, sha256=digest, size=self.path.stat().st_size)
        self._destination.write_file(self._name, self.path)
        self._folder.cleanup()
        return stored

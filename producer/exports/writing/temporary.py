"""A shard's file while it grows, on this machine's disk."""

import hashlib
import io
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import IO, Any

from producer.exports.writing.destinations import Destination, unwritable
from producer.exports.writing.shards import StoredFile

BUFFER_BYTES = 1 << 22  # few long writes: each waits for its turn among the threads that read from storage


class GrowingFile:
    """A file that goes to its destination when it is finished; gone from here in any case."""

    def __init__(self, destination: Destination, name: str) -> None:
        self._destination = destination
        self._name = name
        folder = tempfile.mkdtemp(prefix="posemill-export-")
        self._remove_folder = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)  # given up: then too
        self._path = Path(folder) / "shard"
        self._raw = _Digested(self._path)
        self.stream: IO[bytes] = io.BufferedWriter(self._raw, BUFFER_BYTES)

    def finish(self) -> StoredFile:
        """Close the file and hand it over."""
        self.stream.close()
        stored = StoredFile(name=self._name, sha256=self._raw.digest.hexdigest(), size=self._path.stat().st_size)
        self._destination.write_file(self._name, self._path)
        self._remove_folder()
        return stored


class _Digested(io.FileIO):
    """A new file that is written from one end to the other, and digested on the way."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "wb")
        self.digest = hashlib.sha256()
        self._path = path
        self._is_given_up = False

    def write(self, content: Any) -> int:
        """Write on, and into the digest."""
        if self._is_given_up:  # libraries write their last words when they are dropped, which nobody wants to hear
            return memoryview(content).nbytes
        try:
            written = super().write(content)
        except OSError as error:
            self._is_given_up = True
            raise unwritable(error, self._path) from error
        self.digest.update(memoryview(content)[:written])
        return written

    def seekable(self) -> bool:
        """False: what is written stays as it was digested."""
        return False

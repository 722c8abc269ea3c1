"""Where an export goes: a folder, or a prefix of object storage. Names are relative, with slashes."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from shutil import copyfile
from typing import Protocol

from posemill.errors import BadInput, NotFound, PosemillError, TransientError
from posemill.storage.store import Store, open_store

PARTIAL = ".partial"  # ends the names of files that are not whole
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Destination(Protocol):
    """A place for files; each is written whole or not at all."""

    url: str

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file at once; nobody sees half of it."""

    def write_file(self, name: str, path: Path) -> None:
        """Take a finished local file over; it may be moved."""

    def read(self, name: str) -> bytes:
        """Raises NotFound."""

    def read_file(self, name: str, path: Path) -> None:
        """Put a file's content at a local path. Raises NotFound."""

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""

    def names(self, folder: str = "") -> Iterator[str]:
        """All files below a folder, which ends in a slash; in no order."""


def open_destination(address: str) -> Destination:
    """For a folder's path or an s3:// address. Raises BadInput for the path of a file, and other addresses."""
    if address.startswith("s3://"):
        return BucketDestination(open_store(address))
    if not address or "://" in address:
        raise BadInput(f"an export cannot go to {address!r}; give a folder or an s3:// address")
    if Path(address).exists() and not Path(address).is_dir():
        raise BadInput(f"{address} is a file; give a folder or an s3:// address")
    return FolderDestination(Path(address))


class FolderDestination:
    """A folder on this machine; made when the first file comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = str(folder)

    def write(self, name: str, content: bytes) -> None:
        """Write a whole file at once; nobody sees half of it."""
        with self._partial(name) as partial:
            partial.write_bytes(content)

    def write_file(self, name: str, path: Path) -> None:
        """Move a finished file to its place."""
        with self._partial(name) as partial:
            try:
                path.rename(partial)
            except OSError:  # another file system
                copyfile(path, partial)

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises NotFound."""
        with self._readable(name) as path:
            return path.read_bytes()

    def read_file(self, name: str, path: Path) -> None:
        """Copy a file out. Raises NotFound."""
        with self._readable(name) as stored:
            copyfile(stored, path)

    def delete(self, name: str) -> None:
        """Remove a file; nothing happens where there is none."""
        (self._folder / name).unlink(missing_ok=True)

    def names(self, folder: str = "") -> Iterator[str]:
        """All files below a folder, by their path within the destination."""
        paths = (path for path in (self._folder / folder).rglob("*") if path.suffix != PARTIAL and path.is_file())
        return (path.relative_to(self._folder).as_posix() for path in paths)

    @contextmanager
    def _partial(self, name: str) -> Iterator[Path]:
        """Where a file is written before it gets its name; gone when it cannot be written to its end.

        A dot in front hides it from those who read the set.
        """
        path = self._folder / name
        partial = path.with_name(f".{path.name}.{token_hex(4)}{PARTIAL}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(path)
        except BaseException as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise unwritable(error, path) from error
            raise

    @contextmanager
    def _readable(self, name: str) -> Iterator[Path]:
        path = self._folder / name
        try:
            yield path
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"{path} does not exist") from error


def unwritable(error: OSError, path: Path) -> PosemillError:
    """For a file that cannot be written: a full disk, or a place where nothing may be put."""
    if error.errno in NO_SPACE:
        return TransientError(
            f"{path} cannot be written ({error.strerror}); make room and repeat the command: what is whole stays"
        )
    return BadInput(f"{path} cannot be written ({error.strerror}); choose another place")


class BucketDestination:
    """A prefix of a bucket; its server may be another than the run's only if boto3's variables say so."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url = store.url

    def write(self, name: str, content: bytes) -> None:
        """Write a whole object at once."""
        self._store.put(name, content)

    def write_file(self, name: str, path: Path) -> None:
        """Upload a finished file."""
        self._store.put_file(name, path)

    def read(self, name: str) -> bytes:
        """An object's bytes. Raises NotFound."""
        return self._store.get(name)

    def read_file(self, name: str, path: Path) -> None:
        """Download an object. Raises NotFound."""
        self._store.get_file(name, path)

    def delete(self, name: str) -> None:
        """Remove an object; nothing happens where there is none."""
        self._store.delete(name)

    def names(self, folder: str = "") -> Iterator[str]:
        """All objects below a folder, by their path within the destination."""
        return (info.key for info in self._store.list(folder))

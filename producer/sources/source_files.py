"""Reads the files that rows name: regular ones alone, below allowed folders, judged by how they begin."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from posemill.errors import BadInput
from posemill.pictures.decoding import FORMATS, HEADER_BYTES, picture_format

LIMIT_BYTES = 200_000_000  # of one picture
LIMIT_POSES_BYTES = 2_000_000_000  # of one file of poses: COCO's own have a quarter of a gigabyte
FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW  # a pipe must not be waited for


class UnreadableFile(BadInput):
    """A file that no row can use; several rows may name it."""

    code = "bad_picture"


def read_picture(path: Path, folders: Sequence[Path] = ()) -> bytes:
    """The bytes of a file that begins as a picture does. `folders`: below one of which it must lie; none: anywhere."""
    return _read(path, folders, limit_bytes=LIMIT_BYTES, is_picture=True)


def require_picture(path: Path, folders: Sequence[Path] = ()) -> None:
    """Raises UnreadableFile where `read_picture` would; only the file's beginning is read."""
    _read(path, folders, limit_bytes=LIMIT_BYTES, is_picture=True, header_alone=True)


def read_pose_file(path: Path, folders: Sequence[Path] = ()) -> bytes:
    """The bytes of a JSON file, which are not looked at."""
    return _read(path, folders, limit_bytes=LIMIT_POSES_BYTES, is_picture=False)


def _read(
    path: Path, folders: Sequence[Path], *, limit_bytes: int, is_picture: bool, header_alone: bool = False
) -> bytes:
    try:
        descriptor = _opened(_resolved(path, folders), path)
        with os.fdopen(descriptor, "rb") as file:
            size = os.fstat(descriptor).st_size
            if size == 0:
                raise UnreadableFile(f"{path} is empty (0 bytes)")
            if size > limit_bytes:
                raise UnreadableFile(f"{path} is larger than {limit_bytes} bytes")
            header = file.read(min(size, HEADER_BYTES))
            if is_picture and picture_format(header) is None:
                raise UnreadableFile(f"{path} is not a picture in a known format ({', '.join(FORMATS)}, HEIF)")
            return header if header_alone else header + file.read(size - len(header))
    except OSError as error:
        raise UnreadableFile(f"{path} cannot be read ({error.strerror})") from error
    except ValueError as error:  # no name that a file can have
        raise UnreadableFile(f"{str(path)!r} cannot be read ({error})") from error


def _resolved(path: Path, folders: Sequence[Path]) -> Path:
    """Where the path leads, links followed."""
    resolved = Path(os.path.realpath(path, strict=True))
    if folders and not any(resolved.is_relative_to(folder.resolve()) for folder in folders):
        leads = "" if resolved == path else f" leads to {resolved}, which"
        raise UnreadableFile(
            f"{path}{leads} lies outside of {folders[0]}; move it there, or name its folder in POSEMILL_SOURCE_FOLDERS"
        )
    return resolved


def _opened(path: Path, named: Path) -> int:
    """A descriptor of a regular file; nothing else is opened, or waited for."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise UnreadableFile(f"{named} is not a regular file")
    descriptor = os.open(path, FLAGS)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise UnreadableFile(f"{named} is not a regular file")

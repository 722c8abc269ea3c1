"""Walks a folder for sources: follows links once, and counts by reason what it passes over."""

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from posemill.contract.records import SkippedFiles
from posemill.errors import RecipeError

APPLE_DOUBLE = "apple_double"  # ._x.jpg: what macOS writes beside x.jpg on other file systems
HIDDEN = "hidden"  # a name that begins with a dot
SERVICE_FOLDER = "service_folder"  # what other programs keep beside pictures
OTHER_NAME = "other_name"  # no name of a picture, or of a pose file
NOT_A_FILE = "not_a_file"  # a pipe, a device, a socket
UNREADABLE = "unreadable"  # a folder that cannot be listed
BROKEN_LINK = "broken_link"
LINKED_AGAIN = "linked_again"  # leads to what is read anyway

SERVICE_FOLDERS = frozenset((
    "@eadir", "__macosx", ".thumbnails", ".appledouble", "#recycle", "$recycle.bin", "system volume information",
    "lost+found",
))  # fmt: skip  # in lower case

Parts = tuple[str, ...]


class SkippedTally:
    """What was passed over, counted by reason."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}

    def add(self, reason: str, name: str) -> None:
        """Count one file or folder that was passed over."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        self._first.setdefault(reason, os.fsencode(name).decode(errors="replace"))

    def found(self) -> tuple[SkippedFiles, ...]:
        """In the order of the reasons' names."""
        return tuple(
            SkippedFiles(reason=reason, count=count, first=self._first[reason])
            for reason, count in sorted(self._counts.items())
        )


class FileFilter:
    """All files below a folder whose names end in one of the suffixes."""

    def __init__(self, suffixes: frozenset[str]) -> None:
        self._suffixes = suffixes

    def enters(self, folder: Parts) -> bool:
        """Whether to look into a folder."""
        return True

    def takes(self, file: Parts) -> bool:
        """Whether a file is wanted."""
        return os.path.splitext(file[-1])[1].lower() in self._suffixes

    def passes_over(self, name: str) -> str:
        """Why a name is passed over, as a stable word; nothing when it is not."""
        return why_passed_over(name)

    other = OTHER_NAME  # why a file is not taken; nothing: that needs no mention


class PatternFilter(FileFilter):
    """The files that a pattern matches; `**` stands for any folders."""

    def __init__(self, pattern: Parts) -> None:
        self._pattern = pattern
        self._unusual = [part for part in pattern if part[0] in "._@#$"]

    def enters(self, folder: Parts) -> bool:
        """Whether files below a folder can match."""
        for name, part in zip(folder, self._pattern, strict=False):
            if part == "**":
                return True
            if not fnmatchcase(name, part):
                return False
        return len(folder) < len(self._pattern)

    def takes(self, file: Parts) -> bool:
        """Whether a file matches the pattern."""
        return matches(file, self._pattern)

    def passes_over(self, name: str) -> str:
        """Why a name is passed over; nothing when the pattern asks for such names."""
        asked_for = any(fnmatchcase(name, part) for part in self._unusual)
        return "" if asked_for else why_passed_over(name)

    other = ""


def matches(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path matches a pattern."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return matches(path, pattern[1:]) or (bool(path) and matches(path[1:], pattern))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and matches(path[1:], pattern[1:])


def why_passed_over(name: str) -> str:
    """Why a file or folder of that name is no source and holds none; nothing when it may."""
    if name.startswith("._"):
        return APPLE_DOUBLE
    if name.lower() in SERVICE_FOLDERS:
        return SERVICE_FOLDER
    return HIDDEN if name.startswith(".") else ""


def walk(root: Path, wanted: FileFilter, skipped: SkippedTally) -> Iterator[Path]:
    """The wanted files below root, in the order of their paths. Raises RecipeError when root cannot be listed."""
    return _Walk(root, wanted, skipped).files()


class _Walk:
    """One walk, and where it has been."""

    def __init__(self, root: Path, wanted: FileFilter, skipped: SkippedTally) -> None:
        self._root = root
        self._real_root = os.path.realpath(root)
        self._wanted = wanted
        self._skipped = skipped
        self._folders: set[tuple[int, int]] = set()  # device and inode of those entered
        self._linked: set[str] = set()  # files that links have led to

    def files(self) -> Iterator[Path]:
        """Every wanted file below the root, in the order of their names."""
        try:
            levels = [iter(self._entries(self._root))]
        except OSError as error:
            raise RecipeError(f"sources: {self._root} cannot be read ({error.strerror})") from error
        while levels:
            entry = next(levels[-1], None)
            if entry is None:
                levels.pop()
                continue
            parts = Path(entry.path).relative_to(self._root).parts
            reason, entries = self._looked_at(entry, parts)
            if reason:
                self._skipped.add(reason, str(Path(*parts)))
            elif entries is not None:
                levels.append(iter(entries))
            elif self._wanted.takes(parts):
                yield Path(entry.path)

    def _looked_at(self, entry: "os.DirEntry[str]", parts: Parts) -> tuple[str, "list[os.DirEntry[str]] | None"]:
        """Why the entry is passed over, or nothing; and what it holds where it is a folder to be entered."""
        try:
            if entry.is_dir():
                return self._folder(entry, parts)
            return self._file(entry, parts), None
        except OSError:
            return BROKEN_LINK if entry.is_symlink() and not os.path.exists(entry.path) else UNREADABLE, None

    def _folder(self, entry: "os.DirEntry[str]", parts: Parts) -> tuple[str, "list[os.DirEntry[str]] | None"]:
        if reason := self._wanted.passes_over(entry.name):
            return reason, None
        if not self._wanted.enters(parts):
            return "", []
        if entry.is_symlink() and self._is_walked(entry.path, is_folder=True):
            return LINKED_AGAIN, None
        status = entry.stat()
        if (status.st_dev, status.st_ino) in self._folders:
            return LINKED_AGAIN, None
        return "", self._entries(Path(entry.path))

    def _file(self, entry: "os.DirEntry[str]", parts: Parts) -> str:
        if not self._wanted.takes(parts):
            return self._wanted.passes_over(entry.name) or self._wanted.other
        if reason := self._wanted.passes_over(entry.name):
            return reason
        if entry.is_symlink():
            return self._linked_file(entry)
        return "" if entry.is_file() else NOT_A_FILE

    def _linked_file(self, entry: "os.DirEntry[str]") -> str:
        if not os.path.exists(entry.path):
            return BROKEN_LINK
        if not entry.is_file():
            return NOT_A_FILE
        target = os.path.realpath(entry.path)
        if target in self._linked or self._is_walked(entry.path, is_folder=False):
            return LINKED_AGAIN
        self._linked.add(target)
        return ""

    def _is_walked(self, link: str, *, is_folder: bool) -> bool:
        """Whether the walk comes by what the link leads to without it, or started there: above is a circle."""
        target = Path(os.path.realpath(link))
        if Path(self._real_root).is_relative_to(target):
            return True
        if not target.is_relative_to(self._real_root):
            return False
        parts = target.relative_to(self._real_root).parts
        if any(self._wanted.passes_over(name) for name in parts):
            return False
        return self._wanted.enters(parts) if is_folder else self._wanted.takes(parts)

    def _entries(self, folder: Path) -> "list[os.DirEntry[str]]":
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        status = folder.stat()
        self._folders.add((status.st_dev, status.st_ino))
        return found

"""What one row of work says: a source or a ready-made control image, and what comes with it."""

import math
import re
from collections.abc import Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from posemill.errors import BadInput, RowError
from posemill.storage.urls import require_allowed
from producer.sources.column_names import SOURCE_COLUMNS
from producer.sources.manifest_row import ManifestRow
from producer.sources.plain_values import UNPRINTABLE

ROW_COLUMNS = frozenset((*SOURCE_COLUMNS, "prompt", "negative_prompt", "seed"))
LIMIT_KEY_BYTES = 1024  # of an S3 key
BLANKS = ("", "nan", "none", "null", "na", "<na>")  # how table programs write a number that is not there
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A source before it is read. Exactly one of path, uri and pose is set."""

    name: str
    path: Path | None = None
    folders: tuple[Path, ...] = ()  # below one of which path must lie; none: anywhere
    uri: str | None = None
    etag: str = ""
    pose: Any = None  # OpenPose JSON as a row has it; sources.py checks it, and makes one of a path or text
    is_pose: bool = False  # the path or URI is that of a pose file


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of work: a source or a ready-made control image, and what the row itself says about it."""

    place: str
    source: Candidate | None = None
    control_image: Candidate | None = None
    prompt: str | None = None
    negative_prompt: str | None = None
    seed: int | None = None
    columns: dict[str, Any] = {}
    error: RowError | None = None


def checked_row(row: ManifestRow, folder: Path, allowed_hosts: Sequence[str]) -> Row:
    """The row, or its error; relative paths begin at folder."""
    if row.error:
        return Row(place=row.place, error=row.error)
    try:
        return _checked(row, folder, allowed_hosts)
    except RowError as error:
        return Row(place=row.place, error=error)


def _checked(row: ManifestRow, folder: Path, allowed_hosts: Sequence[str]) -> Row:
    values, place = row.values, row.place
    given = [column for column in SOURCE_COLUMNS if values.get(column) not in (None, "")]
    if len(given) != 1:
        raise RowError(f"give exactly one of the columns {', '.join(SOURCE_COLUMNS)}", place=place)
    column = given[0]
    candidate = _candidate(column, values[column], folder, place, allowed_hosts)
    return Row(
        place=place,
        source=None if column == "control_image" else candidate,
        control_image=candidate if column == "control_image" else None,
        prompt=_text(values, "prompt", place),
        negative_prompt=_text(values, "negative_prompt", place),
        seed=_seed(values, place),
        columns={name: value for name, value in values.items() if name not in ROW_COLUMNS},
    )


def _candidate(column: str, value: Any, folder: Path, place: str, allowed_hosts: Sequence[str]) -> Candidate:
    is_pose = column == "pose"
    if is_pose and (not isinstance(value, str) or value.lstrip()[:1] in ("{", "[")):
        return Candidate(name=place, pose=value)
    where = f"{place}, column {column}"
    if not isinstance(value, str) or (not value.isprintable() and CONTROL_CHARACTERS.search(value)):
        raise RowError("an address is text without control characters", place=where)
    if "://" in value:
        return msgspec.structs.replace(_remote(value, where, allowed_hosts), is_pose=is_pose)
    return Candidate(name=value, path=folder / expanded(value), is_pose=is_pose)


def _remote(value: str, place: str, allowed_hosts: Sequence[str]) -> Candidate:
    if value.startswith("s3://"):
        if len(value) * 4 > LIMIT_KEY_BYTES and len(value.split("/", 3)[-1].encode()) > LIMIT_KEY_BYTES:
            raise RowError(f"the key is longer than {LIMIT_KEY_BYTES} bytes", place=place)
        return Candidate(name=value, uri=value)
    try:
        require_allowed(value, allowed_hosts)
    except BadInput as error:
        raise RowError(str(error), place=place) from error
    return Candidate(name=value, uri=value)


def _text(values: dict[str, Any], column: str, place: str) -> str | None:
    value = values.get(column)
    return None if value is None else text_of(value, f"{place}, column {column}")


def text_of(value: Any, place: str) -> str:
    """What a column's value is in a prompt or a caption: a text as it is, a number as JSON writes it, 7.0 as 7.

    Raises RowError for lists, mappings and bytes, which are no texts, and for characters that no text can hold.
    """
    if isinstance(value, str):
        if found := UNPRINTABLE.search(value):
            raise RowError(f"the character {found[0]!a} cannot stand in a text", place=place)
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if is_whole(value) else repr(value)
    if isinstance(value, int | Decimal | date | time | timedelta):
        return str(value)
    raise RowError(f"{shown(value)} is not text", place=place)


def shown(value: Any) -> str:
    """The value as an error names it: briefly, and what it is where it is long."""
    written = repr(value)
    return written if len(written) <= 60 else f"a {type(value).__name__} ({written[:40]}…)"


def is_whole(value: float) -> bool:
    """Whether a whole number is meant that a table program wrote as 7.0; beyond 2**53 such a one has lost digits."""
    return math.isfinite(value) and value == int(value) and abs(value) <= 2**53


def _seed(values: dict[str, Any], place: str) -> int | None:
    value = values.get("seed")
    if value is None or (isinstance(value, str) and value.strip().lower() in BLANKS):
        return None
    seed = _whole(value)
    if seed is None or not 0 <= seed < 2**63:
        raise RowError(f"{shown(value)} is not a whole number from 0 to 2**63 - 1", place=f"{place}, column seed")
    return seed


def _whole(value: Any) -> int | None:
    """The whole number that a value is, or plainly means."""
    if isinstance(value, str):
        text = value.strip()
        if not re.fullmatch(r"\d{1,19}(\.0*)?", text, re.ASCII):
            return None
        return int(text.partition(".")[0])
    if isinstance(value, float | Decimal):
        return int(value) if is_whole(float(value)) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def expanded(path: str) -> Path:
    """The path with a leading ~ resolved, where there is such a user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # no such user: the name just begins with a tilde
        return Path(path)

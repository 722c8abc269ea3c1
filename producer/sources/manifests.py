"""Reads manifests row by row, in constant memory: .jsonl here, .csv and .parquet in files of their own."""

import itertools
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from posemill.errors import RecipeError, RowError
from posemill.pictures.poses import key_given_twice
from producer.sources.column_names import ColumnNames, ColumnTrouble
from producer.sources.csv_rows import read_csv
from producer.sources.manifest_row import LIMIT_LINE_BYTES, ManifestRow, text_encoding
from producer.sources.parquet_rows import read_parquet

SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
KEYS = re.compile(rb'"\s*:')  # ends of an object's keys, and of texts that look so
SEEN = 1000  # different sets of columns in one .jsonl whose names are looked at once

SeenColumns = dict[tuple[str, ...], tuple[str, ...]]


def read_manifest(path: Path, named: Collection[str] | None = None) -> Iterator[ManifestRow]:
    """Rows of a manifest, in order. `named`: the columns that the recipe's prompts name; None where nobody can say.

    Raises RecipeError when the file as a whole cannot be read.
    """
    readers = {".jsonl": _read_jsonl, ".csv": read_csv, ".tsv": read_csv, ".parquet": read_parquet}
    try:
        if (
            path.exists() and not path.is_file()
        ):  # a pipe would be waited for, and cannot be read twice; a device has no end
            raise RecipeError(f"{path}: a manifest is a regular file; write the rows into one")
        yield from readers[path.suffix.lower()](path, ColumnNames(named=named))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_jsonl(path: Path, names: ColumnNames) -> Iterator[ManifestRow]:
    seen: SeenColumns = {}
    with _Recoded(path) if text_encoding(path) == "utf-16" else path.open("rb") as lines:
        for number in itertools.count(1):
            line = lines.readline(LIMIT_LINE_BYTES + 1)
            if not line:
                return
            if len(line) > LIMIT_LINE_BYTES:
                _skip_rest_of_line(lines, line)
            content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not content.isspace():
                yield _parse_line(content, f"{path.name}:{number}", names, seen)


class _Recoded:
    """Lines of a UTF-16 file in UTF-8."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = path.open(encoding="utf-16", newline="\n")

    def __enter__(self) -> "_Recoded":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()

    def readline(self, limit: int) -> bytes:
        """Raises RecipeError for what is not UTF-16."""
        try:
            return self._lines.readline(limit).encode("utf-8", "surrogatepass")
        except UnicodeError as error:
            raise RecipeError(f"{self._path}: the text is not UTF-16, as its first bytes promise") from error


def _skip_rest_of_line(lines: BinaryIO | _Recoded, part: bytes) -> None:
    while len(part) > LIMIT_LINE_BYTES and not part.endswith(b"\n"):
        part = lines.readline(LIMIT_LINE_BYTES + 1)


def _parse_line(line: bytes, place: str, names: ColumnNames, seen: SeenColumns) -> ManifestRow:
    """`seen`: what the columns of rows before are called."""
    try:
        return ManifestRow(place=place, values=_values_of(line, names, seen))
    except ColumnTrouble as error:
        reason = str(error)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        reason = f"not JSON: {error}"
    return ManifestRow(place=place, error=RowError(reason, place=place))


def _values_of(line: bytes, names: ColumnNames, seen: SeenColumns) -> dict[str, Any]:
    if len(line) > LIMIT_LINE_BYTES:
        raise ColumnTrouble(f"the line is too long; the limit is {LIMIT_LINE_BYTES} bytes")
    values = _with_nan(line) if b"NaN" in line else msgspec.json.decode(line)
    if not isinstance(values, dict):
        raise ColumnTrouble("a row is a JSON object")
    if len(KEYS.findall(line)) > len(values):  # else no key can stand twice
        json.loads(line, object_pairs_hook=_require_once)
    columns = tuple(values)
    meant = seen.get(columns)
    if meant is None:
        meant = tuple(names.header(columns))
        if len(seen) < SEEN:
            seen[columns] = meant
    if meant != columns:
        values = dict(zip(meant, values.values(), strict=True))
    if None in values.values():
        values = {name: value for name, value in values.items() if value is not None}
    return values


def _with_nan(line: bytes) -> Any:
    """The line's values; NaN, which Python writes for a blank and JSON does not have, is nothing."""

    def constant(word: str) -> None:
        if word != "NaN":
            raise ValueError(f"{word} is no number")

    values = json.loads(line, parse_constant=constant)
    msgspec.json.encode(values).decode()  # halves of letters, which msgspec would not have read
    return values


def _require_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ColumnTrouble for a key that an object has twice."""
    if key := key_given_twice(pairs):
        raise ColumnTrouble(f"the key {key} is given twice")
    return dict(pairs)

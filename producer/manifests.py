"""Reads manifests row by row: .jsonl, .csv and .parquet, in constant memory."""

import csv
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from posemill.errors import RecipeError, RowError

SUFFIXES = (".jsonl", ".csv", ".parquet")
LIMIT_LINE_BYTES = 1_000_000
SURROGATE = re.compile("[\ud800-\udfff]")  # stands for a byte that is not UTF-8


class ManifestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row as it was read; `error` instead of values where it could not be."""

    place: str  # file:line
    values: dict[str, Any] = {}
    error: RowError | None = None


def read_manifest(path: Path) -> Iterator[ManifestRow]:
    """Rows of a manifest, in order. Raises RecipeError when the file as a whole cannot be read."""
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    try:
        yield from readers[path.suffix.lower()](path)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror or error})") from error


def _read_jsonl(path: Path) -> Iterator[ManifestRow]:
    name = path.name
    with path.open("rb") as lines:
        for number in itertools.count(1):
            line = lines.readline(LIMIT_LINE_BYTES + 1)
            if not line:
                return
            if len(line) > LIMIT_LINE_BYTES:
                _skip_rest_of_line(lines, line)
            content = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not content.isspace():
                yield _parse_line(content, f"{name}:{number}")


def _skip_rest_of_line(lines: BinaryIO, part: bytes) -> None:
    while len(part) > LIMIT_LINE_BYTES and not part.endswith(b"\n"):
        part = lines.readline(LIMIT_LINE_BYTES + 1)


def _parse_line(line: bytes, place: str) -> ManifestRow:
    if len(line) > LIMIT_LINE_BYTES:
        message = f"the line is too long; the limit is {LIMIT_LINE_BYTES} bytes"
        return ManifestRow(place=place, error=RowError(message, place=place))
    try:
        values = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return ManifestRow(place=place, error=RowError(f"not JSON: {error}", place=place))
    if not isinstance(values, dict):
        return ManifestRow(place=place, error=RowError("a row is a JSON object", place=place))
    if None in values.values():
        values = {name: value for name, value in values.items() if value is not None}
    return ManifestRow(place=place, values=values)


def _read_csv(path: Path) -> Iterator[ManifestRow]:
    csv.field_size_limit(LIMIT_LINE_BYTES)
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
        reader = csv.DictReader(lines)
        _check_columns(reader, path)
        while True:
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                place = f"{path.name}:{reader.reader.line_num}"  # its own line_num stays behind at an error
                yield ManifestRow(place=place, error=RowError(f"not CSV: {error}", place=place))
                continue
            yield _checked_csv_row(values, f"{path.name}:{reader.line_num}")


def _check_columns(reader: "csv.DictReader[str]", path: Path) -> None:
    try:
        columns = reader.fieldnames or ()
    except csv.Error as error:
        raise RecipeError(f"{path}: the first line is not CSV ({error})") from error
    if not columns:
        raise RecipeError(f"{path}: the first line of a .csv names its columns")
    if SURROGATE.search("".join(columns)):
        raise RecipeError(f"{path}: the first line is not UTF-8")
    if len(set(columns)) < len(columns):
        raise RecipeError(f"{path}: the first line names a column twice")


def _checked_csv_row(values: dict[Any, Any], place: str) -> ManifestRow:
    if None in values:
        return ManifestRow(place=place, error=RowError("more values than columns", place=place))
    if any(value is None for value in values.values()):
        return ManifestRow(place=place, error=RowError("fewer values than columns", place=place))
    for name, value in values.items():
        if not value.isascii() and SURROGATE.search(value):
            return ManifestRow(place=place, error=RowError("the text is not UTF-8", place=f"{place}, column {name}"))
    return ManifestRow(place=place, values={name: value for name, value in values.items() if value != ""})


def _read_parquet(path: Path) -> Iterator[ManifestRow]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in table.iter_batches(batch_size=1000):
            for values in batch.to_pylist():
                number += 1
                known = {name: value for name, value in values.items() if value is not None}
                yield ManifestRow(place=f"{path.name}:{number}", values=known)
    except (pyarrow.ArrowException, ValueError) as error:
        raise RecipeError(f"{path}: not a parquet file ({error})") from error

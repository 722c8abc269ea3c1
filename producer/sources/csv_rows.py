"""Rows of a .csv or .tsv, whatever separates them; an open quote is found before the first row is used."""

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import msgspec

from posemill.errors import RecipeError, RowError
from producer.sources.column_names import SOURCE_COLUMNS, ColumnNames, ColumnTrouble
from producer.sources.manifest_row import LIMIT_LINE_BYTES, SURROGATE, ManifestRow, text_encoding
from producer.sources.plain_values import printable

SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How a file is written."""

    separator: str
    blanks: bool  # stand around separators, and are no part of the values
    columns: list[str]  # as they are meant; nothing for a column without a name
    lines: int  # before the first row


def read_csv(path: Path, names: ColumnNames) -> Iterator[ManifestRow]:
    """Raises RecipeError when the columns are wrong, the file is not in its encoding, or a quote is left open."""
    csv.field_size_limit(LIMIT_LINE_BYTES)
    try:
        with _opened(path) as lines:
            layout = _layout(lines, path, names)
            _require_closed_quotes(lines, layout, path)
        with _opened(path) as lines:
            for _ in range(layout.lines):
                lines.readline()
            yield from _rows(lines, layout, path.name)
    except UnicodeError as error:
        raise RecipeError(f"{path}: the text is not what its first bytes promise ({error})") from error


def _opened(path: Path) -> TextIO:
    encoding = text_encoding(path)
    # Bytes that are not UTF-8 refuse their row alone; UTF-16 that is none cannot be told apart line by line.
    return path.open(newline="", encoding=encoding, errors="surrogateescape" if encoding == "utf-8-sig" else "strict")


def _layout(lines: TextIO, path: Path, names: ColumnNames) -> Layout:
    first, count, stated = lines.readline(LIMIT_LINE_BYTES + 1), 1, ""
    if first.strip().strip('"').lower().startswith("sep="):
        stated = first.strip("\r\n").strip('"')[4:5]
        if not stated or stated in '"\r\n':
            raise RecipeError(f"{path}: the first line says sep= and no separator")
        first, count = lines.readline(LIMIT_LINE_BYTES + 1), 2
    if SURROGATE.search(first):
        raise RecipeError(f"{path}: the first line is not UTF-8")
    read = {separator: _split(first, separator, path) for separator in ([stated] if stated else SEPARATORS)}
    if not any(cell.strip() for cells in read.values() for cell in cells):
        raise RecipeError(f"{path}: the first line of a .csv names its columns")
    blanks = {separator for separator, cells in read.items() if _has_blanks(cells)}
    read |= {separator: _split(first, separator, path, blanks=True) for separator in blanks}
    found = [separator for separator, cells in read.items() if _has_source(cells, names)]
    separator = found[0] if found else max(read, key=lambda each: len(read[each]))
    try:
        columns = names.header(read[separator])
    except ColumnTrouble as error:
        raise RecipeError(f"{path}: {error}") from error
    if not found:
        word, listed = SEPARATORS.get(separator, repr(separator)), printable(", ".join(columns), 500)
        shown = f"separated by {word} its columns are {listed}"
        tried = "" if stated else f"; tried: {', '.join(SEPARATORS.values())}, or say sep=… in the first line"
        raise RecipeError(f"{path}: no column {' or '.join(SOURCE_COLUMNS)}; {shown}{tried}")
    return Layout(separator=separator, blanks=separator in blanks, columns=columns, lines=count)


def _has_blanks(cells: list[str]) -> bool:
    """Whether blanks stand behind, or before, every separator."""
    behind, before = cells[1:], cells[:-1]
    return any(part and all(cell != cell.strip(" ") for cell in part) for part in (behind, before))


def _has_source(cells: list[str], names: ColumnNames) -> bool:
    return any(names.meant(cell) in SOURCE_COLUMNS for cell in cells)


def _split(line: str, separator: str, path: Path, *, blanks: bool = False) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=blanks), [])
    except csv.Error as error:
        raise RecipeError(f"{path}: the first line is not CSV ({error})") from error


def _reader(lines: TextIO, layout: Layout) -> Any:
    return csv.reader(lines, delimiter=layout.separator, skipinitialspace=layout.blanks, strict=True)


def _require_closed_quotes(lines: TextIO, layout: Layout, path: Path) -> None:
    """Raises RecipeError for a quote whose text runs over lines and ends nowhere, or in the middle of another."""
    reader = _reader(lines, layout)
    while True:
        line = layout.lines + reader.line_num + 1
        try:
            if next(reader, None) is None:
                return
        except csv.Error as error:
            end = layout.lines + reader.line_num
            if "unexpected end" in str(error):
                opened = _last_opened(path, line)
                raise RecipeError(f"{path}: the quote that line {opened} opens is never closed") from error
            if end > line:
                raise RecipeError(
                    f"{path}: the quote that line {line} opens is not closed before line {end}"
                ) from error


def _last_opened(path: Path, line: int) -> int:
    """The line at or behind `line` that opens the last quote of all."""
    inside, opened = False, line
    with _opened(path) as lines:
        for number, text in enumerate(itertools.islice(lines, line - 1, None), start=line):
            if text.count('"') % 2:
                inside = not inside
                opened = number if inside else opened
    return opened


def _rows(lines: TextIO, layout: Layout, name: str) -> Iterator[ManifestRow]:
    reader = _reader(lines, layout)
    for number in itertools.count():
        try:
            values = next(reader, None)
        except csv.Error as error:
            place = f"{name}:{layout.lines + reader.line_num}"
            yield ManifestRow(place=place, error=RowError(f"not CSV: {error}", place=place))
            continue
        if values is None:
            return
        values = [value.strip() for value in values] if layout.blanks else values
        if any(values):
            place = f"{name}:{layout.lines + reader.line_num}"
            try:
                yield ManifestRow(place=place, values=_checked(values, layout.columns, place, number))
            except RowError as error:
                yield ManifestRow(place=place, error=error)


def _checked(values: list[str], columns: list[str], place: str, number: int) -> dict[str, Any]:
    """Raises RowError for values without a column, columns without a value, and texts that are not UTF-8."""
    if any(values[len(columns) :]):
        raise RowError("more values than columns", place=place)
    if any(columns[len(values) :]):
        raise RowError("fewer values than columns", place=place)
    for position, (name, value) in enumerate(zip(columns, values, strict=False)):
        if not value.isascii() and SURROGATE.search(value):
            raise RowError("the text is not UTF-8", place=f"{place}, column {name}")
        if value.strip() and not name and not _is_row_number(position, value, number):
            raise RowError(f"the column of {value[:40]!r} has no name in the first line", place=place)
    return {name: value for name, value in zip(columns, values, strict=False) if name and value.strip()}


def _is_row_number(position: int, value: str, number: int) -> bool:
    """Whether a value is what pandas writes first, without a name: the number of the row."""
    return position == 0 and value == str(number)

"""Rows of a .parquet: only the columns that somebody names are read and converted."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from posemill.errors import RecipeError, RowError
from posemill.extras import require_extra
from producer.sources.column_names import SOURCE_COLUMNS, ColumnNames, ColumnTrouble
from producer.sources.manifest_row import ManifestRow
from producer.sources.plain_values import printable

BATCH_ROWS = 1000


class _Unreadable:
    """Stands for a value that Python cannot hold."""

    def __init__(self, reason: object) -> None:
        self.reason = " ".join(str(reason).split())


def read_parquet(path: Path, names: ColumnNames) -> Iterator[ManifestRow]:
    """Raises RecipeError when the file is no Parquet, or its columns are wrong; BadInput without pyarrow."""
    require_extra("parquet", str(path))
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            columns = table.schema_arrow.names
            meant = _wanted(path, columns, names)
            number = 0
            for batch in table.iter_batches(batch_size=BATCH_ROWS, columns=list(meant)):
                read = {meant[name]: _values(batch.column(name)) for name in meant}
                for row in range(batch.num_rows):
                    number += 1
                    values = {name: column[row] for name, column in read.items()}
                    yield _row(values, f"{path.name}:{number}")
    except (pyarrow.ArrowException, ValueError) as error:
        raise RecipeError(f"{path}: not a parquet file ({error})") from error


def _wanted(path: Path, columns: list[str], names: ColumnNames) -> dict[str, str]:
    """The columns to read, each with the name that is meant."""
    try:
        meant = names.header(columns)
    except ColumnTrouble as error:
        raise RecipeError(f"{path}: {error}") from error
    if not set(SOURCE_COLUMNS) & set(meant):
        raise RecipeError(
            f"{path}: no column {' or '.join(SOURCE_COLUMNS)}; there are {printable(', '.join(columns), 500)}"
        )
    return {column: name for column, name in zip(columns, meant, strict=True) if name and names.wants(name)}


def _values(column: Any) -> list[Any]:
    """A column's values. Times become texts: of nanoseconds and of the year 10000 Python knows nothing."""
    import pyarrow

    try:
        return (column.cast(pyarrow.string()) if pyarrow.types.is_temporal(column.type) else column).to_pylist()  # type: ignore[no-any-return]
    except (pyarrow.ArrowException, ValueError, OverflowError):
        return [_value(one) for one in column]


def _value(one: Any) -> Any:
    try:
        return one.as_py()
    except (ValueError, OverflowError) as error:
        return _Unreadable(error)


def _row(values: dict[str, Any], place: str) -> ManifestRow:
    for name, value in values.items():
        if isinstance(value, _Unreadable):
            where = f"{place}, column {name}"
            return ManifestRow(place=place, error=RowError(f"cannot be read: {value.reason}", place=where))
    return ManifestRow(place=place, values={name: value for name, value in values.items() if not _is_blank(value)})


def _is_blank(value: Any) -> bool:
    """Whether a table has nothing there: numbers say so with NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))

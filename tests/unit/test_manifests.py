"""A manifest's rows are read one by one; a bad row says where it is, a bad file stops everything."""

import tempfile
from itertools import islice
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posemill.errors import RecipeError
from posemill.records import RefusedRow, encode
from producer.manifests import LIMIT_LINE_BYTES, ManifestRow, read_manifest


def rows_of(folder: Path, suffix: str, content: bytes | str) -> list[ManifestRow]:
    path = folder / f"m{suffix}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_manifest(path))


def values_of(rows: list[ManifestRow]) -> list[dict]:
    return [row.values for row in rows]


def errors_of(rows: list[ManifestRow]) -> dict[str, str]:
    return {row.place: str(row.error) for row in rows if row.error}


def test_json_lines_are_rows_with_their_line_numbers(tmp_path):
    rows = rows_of(tmp_path, ".jsonl", '{"source": "a.png", "n": 1}\n\n  \n{"source": "b.png"}')
    assert values_of(rows) == [{"source": "a.png", "n": 1}, {"source": "b.png"}]
    assert [row.place for row in rows] == ["m.jsonl:1", "m.jsonl:4"]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path, suffix):
    content = {".jsonl": '{"source": "a"}\r\n', ".csv": "source\r\na\r\n"}[suffix]
    assert values_of(rows_of(tmp_path, suffix, b"\xef\xbb\xbf" + content.encode())) == [{"source": "a"}]


def test_an_ending_in_capitals_is_the_same_format(tmp_path):
    assert values_of(rows_of(tmp_path, ".JSONL", '{"source": "a"}')) == [{"source": "a"}]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(b'{"source": ', "not JSON", id="cut off"),
        pytest.param(b'{"source": "\xff"}', "not JSON", id="not UTF-8"),
        pytest.param(b'{"source": "a\0b"}', "not JSON", id="raw NUL"),
        pytest.param(b'{"prompt": "\\ud800 alone"}', "not JSON", id="lone surrogate"),
        pytest.param(b'["a.png"]', "a row is a JSON object", id="list"),
        pytest.param(b'"a.png"', "a row is a JSON object", id="text"),
        pytest.param(b'{"a": ' + b"[" * 100_000, "not JSON", id="nested too deeply"),
        pytest.param(b'{"a": "' + b"x" * LIMIT_LINE_BYTES + b'"}', "the limit is 1000000", id="too long"),
    ],
)
def test_a_bad_json_line_is_an_error_in_its_place_and_the_next_is_read(tmp_path, line, message):
    bad, good = rows_of(tmp_path, ".jsonl", line + b'\n{"source": "b"}\n')
    assert str(bad.error).startswith("m.jsonl:1: ")
    assert message in str(bad.error)
    assert (good.values, good.error) == ({"source": "b"}, None)


def test_a_json_null_is_a_value_that_is_not_given(tmp_path):
    assert values_of(rows_of(tmp_path, ".jsonl", '{"source": "a", "room": null}')) == [{"source": "a"}]


def test_csv_rows_leave_out_empty_values_and_blank_lines(tmp_path):
    rows = rows_of(tmp_path, ".csv", 'source,prompt,room\na.png,"two, words",\n\nb.png,,attic\n')
    assert values_of(rows) == [{"source": "a.png", "prompt": "two, words"}, {"source": "b.png", "room": "attic"}]
    assert [row.place for row in rows] == ["m.csv:2", "m.csv:4"]


def test_csv_rows_with_too_many_or_too_few_values_are_errors(tmp_path):
    rows = rows_of(tmp_path, ".csv", "source,prompt\na.png,x,y\nb.png\nc.png,z\n")
    assert errors_of(rows) == {
        "m.csv:2": "m.csv:2: more values than columns", "m.csv:3": "m.csv:3: fewer values than columns",
    }  # fmt: skip
    assert rows[2].values == {"source": "c.png", "prompt": "z"}


def test_a_csv_value_that_is_not_utf8_names_its_column(tmp_path):
    bad, good = rows_of(tmp_path, ".csv", b"source,prompt\na.png,caf\xe9\nb.png,caf\xc3\xa9\n")
    assert str(bad.error) == "m.csv:2, column prompt: the text is not UTF-8"
    assert good.values["prompt"] == "café"


def test_a_csv_value_beyond_the_limit_is_an_error_and_the_next_row_is_read(tmp_path):
    bad, good = rows_of(tmp_path, ".csv", f"source\n{'x' * (LIMIT_LINE_BYTES + 1)}\nb.png\n")
    assert str(bad.error).startswith("m.csv:2: not CSV: ")
    assert good.values == {"source": "b.png"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "names its columns", id="empty"),
        pytest.param(b"\nsource\n", "names its columns", id="blank first line"),
        pytest.param(b"source,source\na,b\n", "names a column twice", id="column twice"),
        pytest.param(b"source,caf\xe9\na,b\n", "is not UTF-8", id="not UTF-8"),
        pytest.param(b"x" * (LIMIT_LINE_BYTES + 1), "is not CSV", id="too long"),
    ],
)
def test_a_csv_without_usable_columns_is_refused_as_a_whole(tmp_path, content, message):
    with pytest.raises(RecipeError, match=message):
        rows_of(tmp_path, ".csv", content)


def test_parquet_rows_come_back_as_they_were_written_without_nulls(tmp_path):
    written = [{"source": f"{n}.png", "seed": n, "room": None if n % 2 else "attic"} for n in range(2500)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(written), tmp_path / "m.parquet", row_group_size=700)
    rows = list(read_manifest(tmp_path / "m.parquet"))
    assert values_of(rows) == [{k: v for k, v in row.items() if v is not None} for row in written]
    assert (rows[0].place, rows[-1].place) == ("m.parquet:1", "m.parquet:2500")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_missing_manifest_is_a_recipe_error(tmp_path, suffix):
    with pytest.raises(RecipeError, match=r"cannot be read \(.*No such file"):
        list(read_manifest(tmp_path / f"no{suffix}"))


@pytest.mark.parametrize(
    "content",
    [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"\x10\0\0\0PAR1", b"source\na.png\n"],
    ids=["empty", "magic alone", "wrong footer", "a csv"],
)
def test_a_file_that_is_no_parquet_is_refused_as_a_whole(tmp_path, content):
    with pytest.raises(RecipeError, match=r"m\.parquet: "):
        rows_of(tmp_path, ".parquet", content)


def test_the_first_rows_are_there_before_the_rest_is_read(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"source": "a"}\n' * 50_000)
    rows = read_manifest(path)
    assert len(list(islice(rows, 2))) == 2
    path.write_bytes(b"")
    assert len(list(rows)) < 50_000 - 2


@given(st.sampled_from([".jsonl", ".csv"]), st.binary() | st.text().map(str.encode))
@example(".csv", b'a,b\n"\n\xff\0,')
@example(".csv", b"a\rb\n\r,")
@example(".jsonl", b'{"a":1e999}')
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_rows_or_a_recipe_error_and_can_be_written_down(suffix, content):
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows = rows_of(Path(folder), suffix, content)
        except RecipeError:
            return
    for row in rows:
        assert not (row.error and row.values)
        encode(RefusedRow(place=row.place, message=str(row.error)))
        "".join(value for value in row.values.values() if isinstance(value, str)).encode()

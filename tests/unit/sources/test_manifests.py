"""A manifest's rows are read one by one; a bad row says where it is, a bad file stops everything."""

import json
import os
import sys
import tempfile
from itertools import islice
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posemill.contract.records import RefusedRow, encode
from posemill.errors import BadInput, PosemillError, RecipeError
from producer.sources.manifest_row import LIMIT_LINE_BYTES, ManifestRow
from producer.sources.manifests import read_manifest


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
        pytest.param(b"source,source\na,b\n", "'source' stands twice", id="column twice"),
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


@pytest.mark.parametrize(
    "content",
    [
        "source, prompt, seed\na, x, 7\n", "source,Prompt,Seed\na,x,7\n", "source;prompt;seed\r\na;x;7\r\n",
        "SOURCE\tprompt\tseed\na\tx\t7\n", "source|prompt|seed\na|x|7\n", "sep=;\nsource;prompt;seed\na;x;7\n",
        '"sep=^"\nsource^prompt^seed\na^x^7\n', "source,prompt,seed,,\na,x,7,,\n,,,,\n",
        ",source,prompt,seed\n0,a,x,7\n",
        "\ufeffsource,prompt,seed\na,x,7\n", 'source, "prompt", seed\na, "x", 7\n', "source,prompt,seed\ra,x,7\r",
        "source,prompt,seed\na,x,7,,,\n", "source , prompt , seed\na , x , 7\n", "source ,prompt ,seed\na ,x ,7\n",
        "source,prompt,seed,room\na,x,7,   \n",
    ],
)  # fmt: skip
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_csv_is_read_whatever_separates_it_and_however_its_columns_are_written(tmp_path, content, encoding):
    content = content.removeprefix("\ufeff") if encoding == "utf-16" else content
    assert values_of(rows_of(tmp_path, ".csv", content.encode(encoding))) == [
        {"source": "a", "prompt": "x", "seed": "7"}
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param('source,prompt\na,"x\nb,y\n', "the quote that line 2 opens is never closed", id="to the end"),
        pytest.param('source,prompt\na,"x\ny"\nb,"z\nc,d\n', "line 4 opens is never closed", id="behind a good one"),
        pytest.param('source,prompt\na,"x\nb,"y"\n', "line 2 opens is not closed before line 3", id="to the next"),
        pytest.param("source,prompt\n" + 'a,"' + "x\n" * 600_000, "the quote that line 2 opens", id="over the limit"),
        pytest.param("a,b\nc,d\n", "no column source or .*separated by a comma its columns are a, b; tried", id="none"),
        pytest.param("sep=;\nsource,prompt\n", "separated by a semicolon its columns are source,prompt$", id="stated"),
        pytest.param("sep=\nsource\n", "says sep= and no separator", id="states nothing"),
        pytest.param("source,Prompt,prompt\n", "'Prompt' and 'prompt' are one", id="in two cases"),
    ],
)
def test_a_csv_that_cannot_be_read_as_a_whole_says_why(tmp_path, content, message):
    with pytest.raises(RecipeError, match=message):
        rows_of(tmp_path, ".csv", content)


@pytest.mark.parametrize("content", ["source,prompt,\na,x,lost\n", ",source\nx,a\n"])
def test_a_value_in_a_column_without_a_name_is_refused(tmp_path, content):
    (row,) = rows_of(tmp_path, ".csv", content)
    assert "has no name in the first line" in str(row.error)


def test_a_text_behind_a_closing_quote_refuses_its_row_alone_and_names_the_separator(tmp_path):
    bad, good = rows_of(tmp_path, ".csv", 'source;prompt\na;"x" y\nb;z\n')
    assert "';' expected" in str(bad.error)
    assert good.values == {"source": "b", "prompt": "z"}


def test_json_lines_in_utf_16_are_read(tmp_path):
    rows = rows_of(tmp_path, ".jsonl", '{"source": "é"}\r\n{"source": "b"}\r\n'.encode("utf-16"))
    assert values_of(rows) == [{"source": "é"}, {"source": "b"}]


def test_nan_is_nothing(tmp_path):
    assert values_of(rows_of(tmp_path, ".jsonl", '{"source": "a", "seed": NaN}')) == [{"source": "a"}]
    table = pyarrow.table({"source": ["a"], "seed": pyarrow.array([float("nan")])})
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    assert values_of(read_manifest(tmp_path / "m.parquet")) == [{"source": "a"}]


@pytest.mark.parametrize("line", ['{"source": "a", "source": "b"}', '{"source": "a", "Prompt": "x", "prompt": "y"}'])
def test_a_key_that_an_object_has_twice_is_refused(tmp_path, line):
    (row,) = rows_of(tmp_path, ".jsonl", line)
    assert "twice" in str(row.error) or "are one" in str(row.error)


@pytest.mark.parametrize(
    "name", ["promt", "prompts", "Promptt", "rpompt", "seeds", "soruce", "negative promt", "captoin", "roomm",
             "promts", "neg_prompt", "Neg Prompt", "control_img"]
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_misspelt_column_is_refused_with_the_name_that_was_meant(tmp_path, suffix, name):
    values = {"control_image" if name == "soruce" else "source": "a", name: "x"}
    path = write_table(tmp_path, suffix, values)
    with pytest.raises(PosemillError, match=f"column '{name}': did you mean '"):
        raise next(row.error for row in read_manifest(path, {"room"}) if row.error)


@pytest.mark.parametrize(
    "name",
    ["post", "speed", "nose", "pos", "room2", "licence", "source_id", "caption_en", "text", "negative", "cap", "ne_pr"],
)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_column_of_another_meaning_is_left_alone(tmp_path, suffix, name):
    (row,) = read_manifest(write_table(tmp_path, suffix, {"source": "a", name: "x"}), set())
    assert (row.error, row.values["source"]) == (None, "a")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_what_nobody_sees_in_a_column_s_name_does_not_count(tmp_path, suffix):
    values = {
        "\u00a0source": "a",
        "\u200bpro\u00admpt\u2060": "x",
        "\uff53\uff45\uff45\uff44": "7",
        "\ufeffरंग\u200d": "r",
    }
    (row,) = read_manifest(write_table(tmp_path, suffix, values), {"रंग"})
    assert row.values == {"source": "a", "prompt": "x", "seed": "7", "रंग": "r"}


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_manifest_that_is_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    for path in tmp_path.iterdir():
        with pytest.raises(RecipeError, match="a manifest is a regular file"):
            list(read_manifest(path))


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_column_that_the_prompts_name_is_found_in_any_case(tmp_path, suffix):
    (row,) = read_manifest(write_table(tmp_path, suffix, {"Source ": "a", " ROOM": "x", "Other": "y"}), {"room"})
    assert (row.values["source"], row.values["room"]) == ("a", "x")


def write_table(folder: Path, suffix: str, values: dict) -> Path:
    path = folder / f"m{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([values]), path)
    else:
        path.write_text(
            f"{','.join(values)}\n{','.join(values.values())}\n" if suffix == ".csv" else json.dumps(values)
        )
    return path


def test_columns_of_a_parquet_that_nobody_names_are_not_read(tmp_path):
    table = pyarrow.table({
        "source": ["a"], "room": ["x"], "huge": pyarrow.array([b"x"]),
        "far": pyarrow.array([2**62], pyarrow.timestamp("us")),
    })  # fmt: skip
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    (row,) = read_manifest(tmp_path / "m.parquet", {"room"})
    assert row.values == {"source": "a", "room": "x"}


def test_times_of_a_parquet_are_texts_and_what_python_cannot_hold_refuses_its_row(tmp_path):
    nanoseconds = pyarrow.array([1_700_000_000_000_000_001, None], pyarrow.timestamp("ns"))
    days = pyarrow.array([19_000, 19_001], pyarrow.date32())
    broken = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, 1]), pyarrow.array([b"\xff", b"ok"]).view("string"))
    table = pyarrow.table({"source": ["a", "b"], "when": nanoseconds, "day": days, "text": broken.dictionary_decode()})
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    bad, good = read_manifest(tmp_path / "m.parquet")
    assert str(bad.error).startswith("m.parquet:1, column text: cannot be read")
    assert good.values == {"source": "b", "day": "2022-01-09", "text": "ok"}
    first, _ = read_manifest(tmp_path / "m.parquet", {"when"})
    assert first.values["when"] == "2023-11-14 22:13:20.000000001"


def test_two_columns_of_one_name_in_a_parquet_are_refused(tmp_path):
    table = pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 3, names=["source", "x", "x"])
    pyarrow.parquet.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(RecipeError, match="'x' stands twice"):
        list(read_manifest(tmp_path / "m.parquet"))


@pytest.mark.parametrize("name", ["seed_float_nan.parquet", "ts_ns.parquet"])
def test_what_pandas_wrote_is_read(name):
    rows = list(read_manifest(Path(__file__).parents[2] / "cases" / name, ()))
    assert rows
    assert not errors_of(rows)


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


def test_without_pyarrow_a_parquet_manifest_is_one_sentence_that_names_the_extra(tmp_path, monkeypatch):
    pyarrow.parquet.write_table(pyarrow.table({"source": ["a.png"]}), tmp_path / "m.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInput, match=r"m\.parquet needs pyarrow; .*'posemill\[parquet\]'"):
        list(read_manifest(tmp_path / "m.parquet"))

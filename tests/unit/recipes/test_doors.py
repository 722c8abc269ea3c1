"""Whatever comes in at the producer's doors, nothing but a posemill error leaves them, and it can be written down."""

import json
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pyarrow
import pyarrow.parquet
from hypothesis import example, given, settings
from hypothesis import strategies as st

from posemill.contract.records import encode
from posemill.errors import BadInput, PosemillError, RecipeError
from posemill.settings import Settings
from producer.exports.samples.columns import Columns
from producer.exports.samples.filters import parse_filter
from producer.exports.samples.options import Options
from producer.recipes.recipe import SECTIONS, parse_recipe, read_recipe
from producer.recipes.yaml_values import read_yaml
from producer.sources.manifests import read_manifest
from producer.submitting.rehearsal import rehearse
from tests.synthetic_run import synthetic_run

MANY = settings(max_examples=150, deadline=None)
LEAST = {"sources": "a.png", "prompts": ["p"], "generate": {"model": "embedded"}}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


@contextmanager
def folder_of(**files: bytes):
    """A folder with a picture and these files, whose names have _ for a dot."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "a.png").write_bytes(b"picture")
        for file, content in files.items():
            (Path(name) / file.replace("_", ".")).write_bytes(content)
        yield Path(name)


def told(error: PosemillError) -> str:
    """The error as one line that any output can take."""
    text = str(error)
    text.encode()
    assert "\n" not in text
    return text


keys = st.sampled_from(sorted({name for part in SECTIONS.values() for name in part.model_fields} | {"<<", "x"}))
scalars = st.sampled_from(
    [
        "NO",
        "on",
        "010",
        "0x_",
        "12:30",
        "2024-13-01",
        "1e999",
        ".nan",
        "~",
        "null",
        "{room}",
        "'{a'",
        "{{",
        "[x]",
        "a: b",
        "!!int x",
        "!!binary =",
        "*a",
        "&a 1",
        "&a [*a]",
        "- x",
        "? x",
        '"\\ud800"',
        '"\\0"',
        "|\n  x",
        "1_0",
        "-_",
        "=",
        "embedded",
        "%",
        "@",
        "`",
        "#",
        "<<",
        "é",
        "9" * 5000,
        "0o9",
        "+",
        "1:2",
        "\t",
        "!x y",
        "{<<: 1}",
        "{<<: [1]}",
    ]
)
lines = st.builds(lambda depth, key, value: f"{'  ' * depth}{key}: {value}\n", st.integers(0, 2), keys, scalars)
texts = (
    st.lists(lines, max_size=8).map("".join) | st.text(max_size=60) | st.text("a:{}[]&*-?!|>'\"%\n ,#<~0", max_size=40)
)


directives = st.sampled_from(
    ["", "", "%YAML 1.0\n---\n", "%YAML 1.1\n---\n", "%YAML 1.2\n---\n", "%YAML 9\n", "%YAML\n---\n", "%TAG ! x\n---\n",
     "%X\n", "---\n", "...\n", "\ufeff", "# c\n", "\r"]
)  # fmt: skip


@given(st.builds(str.__add__, directives, texts))
@example("a: !!int ''\n")
@example("a: &a {<<: *a}\n")
@example("{}: x")
@MANY
def test_any_text_is_a_recipe_or_one_sentence(text):
    with folder_of(recipe_yaml=text.encode(errors="surrogatepass")) as folder:
        try:
            values = read_recipe(folder / "recipe.yaml")
            msgspec.json.encode(values)
            parse_recipe(values)
        except RecipeError as error:
            told(error)


@given(st.binary(max_size=200))
@MANY
def test_any_bytes_are_a_recipe_or_one_sentence(content):
    with folder_of(recipe_yaml=content) as folder:
        try:
            read_recipe(folder / "recipe.yaml")
        except RecipeError as error:
            told(error)


@given(keys | st.text(max_size=5), scalars | st.text(max_size=20))
@example("prompts", "[[[[" * 20)
@MANY
def test_any_override_is_taken_or_refused(key, value):
    try:
        msgspec.json.encode(read_recipe(dict(LEAST), (f"{key}={value}",)))
    except RecipeError as error:
        told(error)


leaves = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.binary(max_size=3) | st.dates()
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))
prompts = st.lists(
    st.text("{}ab!:[].0 ", max_size=8) | st.sampled_from(["{room}", "in {room} {room}", "{who}"]), max_size=3
)
recipes = st.fixed_dictionaries(
    {"sources": st.sampled_from(["a.png", "m.jsonl", "."])},
    optional={
        "prompts": prompts | values, "seeds": st.integers(1, 3) | values, "seed": st.integers(0, 9) | values,
        "matrix": st.dictionaries(st.sampled_from(["room", "who", "x"]), values | st.lists(leaves, max_size=3))
        | values,
        "name": values, "generate": st.just({"model": "embedded"}) | values, "detect": st.just({}) | values,
        "controls": values, "priority": values,
    },
)  # fmt: skip
rows = st.dictionaries(
    st.sampled_from(["source", "Source", "prompt", " prompt", "seed", "room", "caption", "pose", "control_image",
                     "promt", "neg_prompt", "\u200bseed", "\u00a0", "रंग", "ＰＲＯＭＰＴ", "\u00ad", "control_img"]),
    st.sampled_from(["a.png", "s3://b/k", "7.0", "", "http://x", ".", "\ud800", "x" * 300]) | values,
    max_size=4,
)  # fmt: skip


@given(recipes, st.lists(rows, max_size=4))
@MANY
def test_any_mapping_and_any_rows_are_rehearsed_or_refused(recipe, rows):
    lines = "\n".join(json.dumps(row, default=str) for row in rows)
    with folder_of(m_jsonl=lines.encode()) as folder:
        recipe = {"generate": {"model": "embedded"}, **recipe, "sources": str(folder / recipe["sources"])}
        try:
            found = rehearse(recipe, settings=Settings())
        except PosemillError as error:
            told(error)
            return
        encode(found)


contents = (
    st.binary(max_size=200)
    | st.text('sourcepmt,;\t|"\n\r\u200b\u00a0\u00adｓ_- ', max_size=60).map(str.encode)
    | st.text('source,prompt;\t"|\n\r ={}:[]\ufeff\0é0', max_size=80).map(str.encode)
)


@given(
    st.sampled_from(SUFFIXES), contents, st.sampled_from([b"", b"source,prompt\n", b"source;x\n", b"\xff\xfe", b"sep="])
)
@example(".csv", b"\xd8", b"\xff\xfe")
@example(".csv", b"\nsource", b"sep=\0")
@MANY
def test_any_manifest_is_rows_or_one_sentence(suffix, content, start):
    with folder_of(**{f"m_{suffix[1:]}": start + content}) as folder:
        try:
            found = list(read_manifest(folder / f"m{suffix}", {"room"}))
        except RecipeError as error:
            told(error)
            return
        assert all(told(row.error) for row in found if row.error)


cells = st.sampled_from([
    pyarrow.array([1.0, float("nan")]), pyarrow.array([b"a", b"\xff"]), pyarrow.array([b"a", b"\xff"]).view("string"),
    pyarrow.array([2**62, -(2**62)], pyarrow.timestamp("us")),
    pyarrow.array([2**62, 1], pyarrow.timestamp("ns", "UTC")),
    pyarrow.array([2**31 - 1, 0], pyarrow.date32()), pyarrow.array([[1], None]), pyarrow.array([{"a": 1}, None]),
    pyarrow.array(["a.png", None]), pyarrow.array(["a.png", "a"]).dictionary_encode(), pyarrow.array([True, None]),
    pyarrow.nulls(2), pyarrow.array([2**63, 0], pyarrow.uint64()), pyarrow.array([2**62, 0], pyarrow.duration("ns")),
])  # fmt: skip
names = st.sampled_from(["source", "Source", "prompt", "seed", "room", "", "a.b", "caption", "other"])


@given(st.lists(st.tuples(names, cells), min_size=1, max_size=4))
@MANY
def test_any_parquet_is_rehearsed_or_refused(columns):
    with folder_of() as folder:
        table = pyarrow.Table.from_arrays([column for _, column in columns], names=[name for name, _ in columns])
        pyarrow.parquet.write_table(table, folder / "m.parquet")
        try:
            encode(rehearse(LEAST | {"sources": str(folder / "m.parquet"), "prompts": ["{room}"]}, settings=Settings()))
        except PosemillError as error:
            told(error)


parts = st.sampled_from(
    [
        "people",
        "text",
        "score",
        "columns",
        "['x']",
        "==",
        "<",
        "in",
        "not in",
        "and",
        "or",
        "not ",
        "(",
        ")",
        "[",
        "]",
        "-",
        "1",
        "1e999",
        "9" * 400,
        "'a'",
        "'\\d'",
        "True",
        "None",
        ",",
        "is",
        ":=",
        "lambda: 1",
        "f'{x}'",
        "*",
        "**",
        ".",
        "\0",
        "~",
        "@",
    ]
)


@given(st.lists(parts, max_size=12).map(" ".join) | st.text(max_size=20))
@example("(" * 500 + "people" + ")" * 500)
@example("not " * 100_000 + "people")
@example("-" * 3000 + "1 == people")
@example("people == " + "[" * 150 + "]" * 150)
@example("people == '\ud800'")
@MANY
def test_any_filter_judges_every_sample_or_is_refused(expression):
    known = Columns(synthetic_run(), Options()).filterable
    sample = {name: {"int64": 1, "float64": 0.5, "bool": True, "string": "a"}[kind] for name, kind in known.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert parse_filter(expression, known)(sample) in (True, False)
        except BadInput as error:
            told(error)


def test_a_yaml_document_without_content_is_nothing():
    assert read_yaml("", where="x") is None

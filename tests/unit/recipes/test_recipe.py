"""A recipe is taken whole or refused with the key that is wrong."""

import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posemill.catalogue.checks import options_of
from posemill.catalogue.models import MODELS
from posemill.errors import RecipeError
from producer.recipes.recipe import SECTIONS, Recipe, parse_recipe, read_recipe, recipe_folder
from producer.recipes.yaml_values import read_yaml

LEAST = {"sources": "photos/"}
LAUGHS = "a0: &a0 [x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
NORWAY = """
name: 010
prompts: [2024-13-01, yes, 12]
matrix:
  country: [DE, NO, SE]
  light: [on, off, null, true]
  time: [9:30, 12:30, 2024-01-01]
  size: [010, 1_000, 0x10, 1e-4, 1.50]
seeds: 010
sources: a
generate: {model: embedded, base_revision: 12e4567, vae: null, safety_checker: true}
"""


def parsed(**more):
    return parse_recipe({**LEAST, **more})


def refusal(**more):
    with pytest.raises(RecipeError) as raised:
        parsed(**more)
    return str(raised.value)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_sources_alone_make_a_recipe_for_the_model_cards_example():
    recipe = parsed()
    assert recipe.generate.model == "sd15-openpose"
    assert (recipe.seeds, recipe.prompts, recipe.matrix) == (1, [], {})


def test_sources_are_required():
    with pytest.raises(RecipeError, match=r"^recipe: sources: Field required$"):
        parse_recipe({})


def test_one_prompt_may_stand_without_a_list():
    assert parsed(prompts="a chef").prompts == ["a chef"]


def test_one_matrix_value_may_stand_without_a_list():
    assert parsed(matrix={"room": "kitchen"}).matrix == {"room": ["kitchen"]}


def test_matrix_values_keep_their_types():
    values = parsed(matrix={"x": ["1", 1, 1.5, True]}).matrix["x"]
    assert [(value, type(value)) for value in values] == [("1", str), (1, int), (1.5, float), (True, bool)]


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        pytest.param({"promts": ["a"]}, "promts: unknown key", id="unknown key"),
        pytest.param({"generate": {"model": "embedded", "steps": 3}}, "generate.steps: unknown key", id="nested key"),
        pytest.param({"name": "a/b"}, "name: ", id="name with a slash"),
        pytest.param({"name": "a\n"}, "name: ", id="name with a line end"),
        pytest.param({"prompts": [1]}, "prompts.0: ", id="prompt that is a number"),
        pytest.param({"matrix": {"interior": [None]}}, "matrix.interior.0: ", id="matrix value that is nothing"),
        pytest.param({"matrix": {"room": []}}, "matrix.room: ", id="matrix column without values"),
        pytest.param({"matrix": ["kitchen"]}, "matrix: ", id="matrix that is a list"),
        pytest.param({"seeds": 0}, "seeds: ", id="no images"),
        pytest.param({"seeds": 100_001}, "seeds: ", id="too many images"),
        pytest.param({"seeds": []}, "seeds: ", id="empty list of seeds"),
        pytest.param({"seeds": [2**63]}, "seeds: ", id="seed beyond 63 bits"),
        pytest.param({"seeds": [-1]}, "seeds: ", id="negative seed"),
        pytest.param({"seed": 2**63}, "seed: ", id="base seed beyond 63 bits"),
        pytest.param({"detect": {"detector": "pidinet"}}, "detect.detector: ", id="unknown detector"),
        pytest.param({"detect": {"max_people": 1, "min_people": 2}}, "detect: max_people 1", id="more than at most"),
        pytest.param({"detect": {"detector": "openpose-thin", "include_hand": True}}, "bodies only", id="thin hands"),
        pytest.param({"detect": {"detector": "keypoints", "weights": "a/b"}}, "takes no weights", id="weights unused"),
        pytest.param({"detect": {"queue": "two words"}}, "detect.queue: ", id="queue with a blank"),
        pytest.param({"generate": {}}, "generate: give a named model", id="no model"),
        pytest.param({"generate": {"base": "a/b"}}, "both base and controlnet", id="base without controlnet"),
        pytest.param({"generate": {"model": "sd99"}}, "generate.model: no model is named 'sd99'", id="unknown model"),
        pytest.param({"generate": {"model": "embedded", "width": 64}}, "width and height together", id="width alone"),
        pytest.param(
            {"generate": {"model": "embedded", "width": 65, "height": 64}}, "generate.width: ", id="width not by eight"
        ),
        pytest.param({"generate": {"model": "embedded", "scheduler": "pndm"}}, "generate.scheduler: ", id="scheduler"),
        pytest.param(
            {"generate": {"model": "embedded", "num_inference_steps": 0}}, "generate.num_inference_steps: ", id="steps"
        ),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_key(wrong, place):
    assert place in refusal(**wrong)


def test_every_wrong_key_is_named_at_once():
    message = refusal(promts=["a"], seeds=0, detect={"min_score": 2})
    assert all(key in message for key in ("promts: ", "seeds: ", "detect.min_score: "))


@pytest.mark.parametrize("model", MODELS)
def test_every_named_model_can_be_asked_for(model):
    assert parsed(generate={"model": model}).generate.model == model


def test_a_recipe_cannot_be_changed_afterwards():
    with pytest.raises(ValueError, match="frozen"):
        parsed().seed = 5


def test_overrides_reach_into_sections_and_are_read_as_yaml():
    values = read_recipe(
        {"sources": "a", "generate": {"model": "embedded", "guidance_scale": 3}},
        ("generate.guidance_scale=5.5", "prompts=[x, y]", "detect.include_hand=true", "name=b=c"),
    )
    assert values["generate"] == {"model": "embedded", "guidance_scale": 5.5}
    assert (values["prompts"], values["detect"], values["name"]) == (["x", "y"], {"include_hand": True}, "b=c")


def test_overrides_leave_the_given_mapping_as_it_was():
    given_values = {"sources": "a", "generate": {"model": "embedded"}}
    read_recipe(given_values, ("generate.model=sd15-openpose", "sources=b"))
    assert given_values == {"sources": "a", "generate": {"model": "embedded"}}


@pytest.mark.parametrize(
    "override",
    ["seeds", "=4", "sources.deeper=1", "name=[open", "a..b=1", "name=!!binary a", "seeds=*a"],
    ids=["no equals", "no key", "not a section", "broken YAML", "empty key", "tag", "no such alias"],
)
def test_a_wrong_override_is_refused_in_its_own_words(override):
    with pytest.raises(RecipeError, match=r"^--set ") as raised:
        read_recipe(dict(LEAST), (override,))
    assert override in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param("a: [1", "not YAML", id="open bracket"),
        pytest.param("- a\n- b\n", "a recipe is a mapping", id="list"),
        pytest.param("", "a recipe is a mapping", id="empty"),
        pytest.param(b"sources: \xff\n", "not YAML", id="not UTF-8"),
        pytest.param(
            "a: !!python/object/apply:os.getcwd []\n", "line 1: the tag .* has no meaning", id="python object"
        ),
        pytest.param("a: !!binary aGVs\n", "line 1: the tag .* has no meaning", id="binary"),
        pytest.param("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice, in line 1 and in line 3", id="twice"),
        pytest.param("d: {a: 1, b: {x: 1,\n x: 2}}", "line 2: the key 'x' is given twice, in line 1", id="deep twice"),
        pytest.param(
            "prompts: [chef in the {room}]", "not YAML in line 1: .*; put the prompt in quotes", id="braces in a list"
        ),
        pytest.param(
            "prompts:\n- {room} at night", "not YAML in line 2: .*; put the prompt in quotes", id="braces first"
        ),
        pytest.param("? [a, b]\n: c", "line 1: a key is a text", id="list as a key"),
        pytest.param("a: &a [*a]", "line 1: an alias that holds itself", id="alias of itself"),
        pytest.param("a: " + "[" * 100_000, "line 1: nested more than 32 levels", id="deep"),
        pytest.param("- " * 100_000, "line 1: nested more than 32 levels", id="deep blocks"),
        pytest.param(LAUGHS, "line 1: more than 200000 values, aliases followed", id="billion laughs"),
        pytest.param("a: [" + "x," * 300_000, "line 1: more than 200000 values", id="many"),
        pytest.param("a: |\n  " + "x" * 3_000_000, "larger than 2000000 bytes", id="large"),
        pytest.param("a: 1\n---\nb: 2", "not YAML", id="two documents"),
        pytest.param("%YAML 1.1\n---\nseeds: 010\n", "not YAML: a recipe is YAML 1.2", id="YAML 1.1"),
        pytest.param("%YAML 1.0\n---\nseeds: 010\n", "not YAML: version minor part", id="YAML 1.0"),
        pytest.param("a: x\0y", "not YAML", id="NUL"),
        pytest.param('a: "x\\0y"', r"a: the character '\\x00' cannot stand", id="escaped NUL"),
        pytest.param('a: ["x\\ud800"]', r"a\.0: the character '\\ud800' cannot stand", id="half of a letter"),
        pytest.param("a: .inf", "a: a number that no recipe can hold", id="infinity"),
        pytest.param("a: 99999999999999999999", "a: a number that no recipe can hold", id="large number"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused_by_name(tmp_path, content, message):
    with pytest.raises(RecipeError, match=r"recipe\.yaml: " + message):
        read_recipe(written(tmp_path, content))


def test_a_missing_file_is_refused_with_the_reason(tmp_path):
    with pytest.raises(RecipeError, match=r"no\.yaml: cannot be read \(No such file"):
        read_recipe(tmp_path / "no.yaml")


def test_relative_sources_begin_at_the_recipe_file(tmp_path, monkeypatch):
    assert recipe_folder(written(tmp_path, "sources: a")) == tmp_path.resolve()
    monkeypatch.chdir(tmp_path)
    assert recipe_folder({"sources": "a"}) == Path.cwd()


def test_words_that_yaml_1_1_takes_for_something_else_are_texts(tmp_path):
    recipe = read_recipe(written(tmp_path, NORWAY))
    assert parse_recipe(recipe).matrix == {
        "country": ["DE", "NO", "SE"], "light": ["on", "off", "null", "true"], "time": ["9:30", "12:30", "2024-01-01"],
        "size": ["010", "1_000", "0x10", "1e-4", "1.50"],
    }  # fmt: skip
    assert recipe["prompts"] == ["2024-13-01", "yes", "12"]
    assert (recipe["name"], recipe["generate"]["base_revision"], recipe["generate"]["vae"]) == ("010", "12e4567", None)
    assert (recipe["seeds"], recipe["generate"]["safety_checker"]) == (10, True)


def test_overrides_are_read_as_the_recipe_is():
    values = read_recipe({}, ("matrix.size=[010, NO]", "name=010", "seeds=010", "generate.vae=null", "prompts=12:30"))
    assert values == {
        "matrix": {"size": ["010", "NO"]}, "name": "010", "seeds": 10, "generate": {"vae": None}, "prompts": "12:30",
    }  # fmt: skip


def test_a_mapping_is_merged_where_yaml_says_so(tmp_path):
    values = read_recipe(written(tmp_path, "generate: {<<: [{width: 8}, {width: 16, height: 24}], height: 32}"))
    assert values == {"generate": {"width": 8, "height": 32}}


@pytest.mark.parametrize("start", ["\ufeff", ""], ids=["UTF-8", "UTF-16"])
def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path, start):
    text = f"{start}sources: é"
    assert read_recipe(written(tmp_path, text.encode() if start else text.encode("utf-16"))) == {"sources": "é"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        pytest.param({"prompt": "a"}, "prompt: unknown key; did you mean prompts?", id="near"),
        pytest.param({"guidance_scale": 3}, "did you mean generate.guidance_scale?", id="another section's"),
        pytest.param({"generate": {"num_inference_step": 3}}, "did you mean num_inference_steps?", id="in a section"),
        pytest.param({"generate": {"steps": 3}}, "did you mean num_inference_steps?", id="a part of it"),
        pytest.param({"generate": {"matrix": {}}}, "did you mean matrix, outside of generate?", id="of the recipe"),
        pytest.param({"controls": [{"kid": "canny"}]}, "did you mean kind?", id="in a list"),
        pytest.param({"list[int]": 1}, "list[int]: unknown key; docs", id="the name of a type"),
        pytest.param({"generate": {"int": 1}}, "generate.int: unknown key", id="a type's in a section"),
        pytest.param({"zzz": 1}, "zzz: unknown key; docs/recipes.md lists all keys", id="far from all"),
        pytest.param({"prompts": [{"room": None}]}, "prompts.0: put the prompt in quotes", id="braces"),
        pytest.param({"prompts": {"room": None}}, "prompts: put the prompt in quotes", id="braces alone"),
        pytest.param({"prompts": [{"a chef": "in"}]}, "prompts.0: put the prompt in quotes", id="colon"),
        pytest.param({"matrix": {"room": [{"a": "b"}]}}, "matrix.room.0: put the value in quotes", id="value"),
        pytest.param({"seeds": True}, "seeds: true and false are no numbers", id="truth for a number"),
        pytest.param({"generate": {"width": True, "height": 64}}, "generate.width: true and false", id="deeper truth"),
    ],
)  # fmt: skip
def test_a_wrong_key_or_prompt_is_told_with_what_was_meant(wrong, message):
    assert message in refusal(**wrong)


@pytest.mark.parametrize(
    "value",
    [{1: "a"}, "a\0", "\ud800", {"\ud800": 1}, float("nan"), 2**64, {1, 2}, b"a", datetime.date(2024, 1, 1)],
    ids=repr,
)
def test_a_mapping_holds_only_what_can_be_written_down(value):
    with pytest.raises(RecipeError) as raised:
        read_recipe({"sources": "a", "matrix": {"x": [value]}})
    str(raised.value).encode()


def test_a_mapping_that_holds_itself_is_refused():
    values: dict = {"sources": "a"}
    values["matrix"] = values
    with pytest.raises(RecipeError, match="nested"):
        read_recipe(values)


def test_paths_and_tuples_are_taken_for_texts_and_lists():
    assert read_recipe({"sources": Path("a"), "prompts": ("p",)}) == {"sources": "a", "prompts": ["p"]}


def test_the_documents_list_every_key_with_its_section():
    text = (Path(__file__).parents[3] / "docs/recipes.md").read_text()
    listed = read_yaml(text.split("```yaml")[1].split("```")[0], where="docs/recipes.md")
    for section, part in SECTIONS.items():
        inner = {"": listed, "loras": listed["generate"]["loras"], "checks": listed["verify"]["checks"]}
        values = inner.get(section) or listed[section]
        for shown in values if isinstance(values, list) else [values]:
            keys = set(options_of(shown["check"], {})) if section == "checks" else set()
            assert set(shown) == set(part.model_fields) | keys, section


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates())
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner))
fields = st.sampled_from([*Recipe.model_fields, "unknown"])


@given(st.dictionaries(fields, values, max_size=5) | st.dictionaries(st.integers() | st.text(), values, max_size=3))
@settings(max_examples=200, deadline=None)
def test_any_mapping_is_a_recipe_or_a_recipe_error(mapping):
    try:
        recipe = parse_recipe(mapping)
    except RecipeError:
        return
    assert recipe.sources == mapping["sources"]


def test_a_date_in_a_recipe_is_refused_by_its_key():
    assert refusal(name=datetime.date(2026, 1, 1)).startswith("recipe: name: ")


@pytest.mark.parametrize("sources", ["", " ", "\n"])
def test_sources_that_are_empty_are_refused_and_not_the_recipe_s_own_folder(sources):
    with pytest.raises(RecipeError, match="sources: "):
        parse_recipe({"sources": sources, "prompts": ["p"]})


@pytest.mark.parametrize("header", ["", "%YAML 1.2\n---\n"])
def test_numbers_are_those_of_yaml_1_2(header):
    assert read_yaml(f"{header}[010, 0o10, on]", where="x") == [10, 8, "on"]

"""A recipe is taken whole or refused with the key that is wrong."""

import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posemill.errors import RecipeError
from posemill.models import MODELS
from producer.recipe import Recipe, parse_recipe, read_recipe, recipe_folder

LEAST = {"sources": "photos/"}


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
    ["seeds", "=4", "sources.deeper=1", "name=[open", "name=2024-13-01"],
    ids=["no equals", "no key", "not a section", "broken YAML", "no such date"],
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
        pytest.param("name: 2024-13-01\n", "not YAML", id="a date that is none"),
        pytest.param("a: !!python/object/apply:os.getcwd []\n", "not YAML", id="python object"),
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

"""A prompt's columns are found, filled and multiplied."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posemill.errors import RecipeError
from producer.recipes.prompts import fillings, parse_template


def prompts(text, matrix=None, columns=None):
    return list(fillings([parse_template(text)], matrix or {}, columns or {}))


def test_a_template_names_each_column_once_in_order():
    assert parse_template("{b} and {a} and {b}").columns == ("b", "a")


def test_a_prompt_without_columns_ignores_the_matrix():
    assert prompts("a chef", matrix={"room": ["kitchen", "garden"]}) == [("a chef", {})]


def test_matrix_columns_give_every_combination():
    found = prompts("{who} in the {room}", matrix={"room": ["kitchen", "garden"], "who": ["cook", "cat"]})
    assert [prompt for prompt, _ in found] == [
        "cook in the kitchen", "cook in the garden", "cat in the kitchen", "cat in the garden",
    ]  # fmt: skip
    assert found[1][1] == {"who": "cook", "room": "garden"}


def test_a_rows_own_column_hides_the_matrix():
    assert prompts("in the {room}", matrix={"room": ["kitchen", "garden"]}, columns={"room": "attic"}) == [
        ("in the attic", {"room": "attic"})
    ]


def test_only_the_columns_that_a_prompt_names_are_noted():
    assert prompts("{room}", columns={"room": "attic", "licence": "CC0"}) == [("attic", {"room": "attic"})]


def test_templates_come_in_their_order():
    templates = [parse_template("b"), parse_template("a")]
    assert [prompt for prompt, _ in fillings(templates, {}, {})] == ["b", "a"]


def test_doubled_braces_stand_for_braces():
    assert prompts("{{not a column}} {room}", columns={"room": "attic"})[0][0] == "{not a column} attic"
    assert prompts("{{plain}}") == [("{plain}", {})]


def test_values_with_braces_are_taken_as_they_are():
    assert prompts("a {room}", columns={"room": "{who}"})[0][0] == "a {who}"


def test_numbers_and_truth_values_become_their_text():
    assert prompts("{n} {b}", columns={"n": 3, "b": True}) == [("3 True", {"n": "3", "b": "True"})]


def test_a_column_that_nobody_has_is_named():
    with pytest.raises(KeyError, match="room"):
        prompts("in the {room}")


@pytest.mark.parametrize(
    "text",
    ["a {", "a }", "{}", "{0}", "{a.b}", "{a[0]}", "{a b}", "{a!r}", "{a:d}", "{a:9999999999}", "{a:{b}}"],
)
def test_anything_but_a_columns_name_in_braces_is_refused(text):
    with pytest.raises(RecipeError) as raised:
        parse_template(text)
    assert repr(text) in str(raised.value)


@given(st.text() | st.text(alphabet="{}ab!:[].0", max_size=12))
def test_any_text_is_a_template_that_can_be_filled_or_a_recipe_error(text):
    try:
        template = parse_template(text)
    except RecipeError:
        return
    assert len(prompts(text, columns=dict.fromkeys(template.columns, "x"))) == 1

"""The `verify` section: the table's defaults, and one clear sentence for what is wrong."""

from typing import Any

import pytest

from posemill.contract.keys import Stage
from posemill.errors import RecipeError
from producer.recipes.recipe import parse_recipe
from producer.recipes.resolving import resolve

BASE = {"sources": "a", "prompts": ["p"], "generate": {"model": "embedded"}, "detect": {"detector": "openpose-thin"}}


def resolved(**more: Any) -> Any:
    values = BASE | more
    return resolve(parse_recipe(values), values, "r")


def test_a_run_without_the_section_has_two_stages_and_one_with_it_three() -> None:
    assert resolved().stages == (Stage.DETECT, Stage.GENERATE)
    run = resolved(verify={})
    assert run.stages == tuple(Stage)
    assert run.slicing[Stage.VERIFY] == run.slicing[Stage.GENERATE]
    assert run.queues[Stage.VERIFY] == "posemill.verify"
    assert run.verify.tries == 3
    (check,) = run.verify.checks
    assert (check.check, check.options) == ("pose", {"detector": "movenet", "min_oks": 0.5, "people": "equal"})


def test_options_that_are_not_given_are_the_table_s_and_items_stay_the_same() -> None:
    run = resolved(
        verify={"tries": 5, "queue": "mine", "checks": [{"check": "pose", "min_oks": 1}, {"check": "sharpness"}]}
    )
    assert run.verify.checks[0].options == {"detector": "movenet", "min_oks": 1, "people": "equal"}
    assert (run.verify.tries, run.queues[Stage.VERIFY]) == (5, "mine")
    assert run.generate == resolved().generate


@pytest.mark.parametrize(
    ("verify", "said"),
    [
        ({"checks": [{"check": "poses"}]}, "did you mean 'pose'"),
        ({"checks": [{"check": "pose", "min_ok": 0.5}]}, "did you mean 'min_oks'"),
        ({"checks": [{"check": "pose", "min_oks": 1.5}]}, "between 0 and 1"),
        ({"checks": [{"check": "pose", "min_oks": "high"}]}, "no number"),
        ({"checks": [{"check": "pose", "min_oks": True}]}, "no number"),
        ({"checks": [{"check": "pose", "people": "some"}]}, "equal, at_least, any"),
        ({"checks": [{"check": "people", "detector": "canny"}]}, "none of"),
        ({"checks": [{"check": "sharpness", "min": -1}]}, "from 0 on"),
        ({"checks": [{"check": "pose"}, {"check": "pose"}]}, "twice"),
        ({"checks": []}, "at least 1"),
        ({"tries": 0}, "greater than or equal to 1"),
        ({"trys": 2}, "unknown key"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(verify: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match="verify") as refused:
        resolved(verify=verify)
    assert said in str(refused.value)


def test_people_cannot_be_compared_where_no_control_knows_any() -> None:
    controls = [{"kind": "canny", "controlnet": "owner/net"}]
    values = {"sources": "a", "prompts": ["p"], "controls": controls, "generate": {"base": "owner/base"}}
    judged = values | {"verify": {"checks": [{"check": "sharpness"}]}}
    assert parse_recipe(judged).verify
    with pytest.raises(RecipeError, match="poses cannot be compared; canny finds no people"):
        resolve(parse_recipe(values | {"verify": {}}), values, "r")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"verify": 3}, "verify: this is a section with keys of its own, such as tries"),
        ({"verify": {"checks": ["pose"]}}, "verify.checks.0: this is a section with keys of its own, such as check"),
        ({"detect": [1]}, "detect: this is a section"),
        ({"controls": ["canny"]}, "controls.0: this is a section"),
    ],
)
def test_what_is_no_section_is_told_what_it_should_be(values: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said) as refused:
        parse_recipe({"sources": "a", "prompts": ["p"], **values})
    assert "Recipe" not in str(refused.value), "no class of ours is named to users"

"""A filter says what it says in Python, and can do nothing else."""

import pytest

from posemill.errors import BadInput
from producer.exports.samples.filters import parse_filter

COLUMNS = {"people": 1, "score": 0.6, "text": "a chef", "prompt_truncated": False, "column_my room": "hall"}


@pytest.mark.parametrize(
    ("expression", "passes"),
    [
        ("", True),
        ("people == 1 and score > 0.5", True),
        ("people == 1 and score > 0.7", False),
        ("people == 2 or not prompt_truncated", True),
        ("0.5 < score <= 0.6", True),
        ("0.5 < score < 0.6", False),
        ("'chef' in text", True),
        ("text not in ['a chef', 'a cook']", False),
        ("people > -1", True),
        ("columns['column_my room'] == 'hall'", True),
    ],
)
def test_an_expression_is_evaluated_as_python_would(expression: str, passes: bool) -> None:
    assert parse_filter(expression, COLUMNS)(COLUMNS) is passes


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "text.upper() == 'X'",
        "(lambda: 1)()",
        "[x for x in text]",
        "people if score else 1",
        "text[0] == 'a'",
        "people + 1 == 2",
        "people is 1",
        "(people := 2)",
        "f'{people}' == '1'",
        "people ==",
        "columns[people]",
        "9" * 5000 + " == people",
        "not " * 3000 + "people",
    ],
)
def test_everything_else_is_refused_before_it_is_evaluated(expression: str) -> None:
    with pytest.raises(BadInput, match="--where"):
        parse_filter(expression, COLUMNS)


def test_a_column_that_nobody_has_is_named_with_those_that_there_are() -> None:
    with pytest.raises(BadInput, match=r"'persons'.*people, prompt_truncated"):
        parse_filter("persons == 1", COLUMNS)


def test_a_text_compared_with_a_number_is_told() -> None:
    with pytest.raises(BadInput, match="quotes"):
        parse_filter("text > 1", COLUMNS)(COLUMNS)

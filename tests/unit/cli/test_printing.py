"""Tables that fit the terminal."""

import pytest

from producer.cli.printing import fitting_columns, print_table

COLUMNS = ["run", "state", "age"]
CELLS = [["a-long-name", "complete", "3 h"]]


@pytest.mark.parametrize(
    ("width", "kept"),
    [(24, [0, 1, 2]), (23, [0, 1]), (19, [0])],
    ids=["all fit", "the last optional column goes", "then the one before"],
)
def test_a_narrow_terminal_costs_optional_columns_the_last_one_first(width: int, kept: list[int]):
    assert fitting_columns(COLUMNS, CELLS, ("state", "age"), width=width) == kept


def test_what_is_not_optional_stays_however_narrow():
    assert fitting_columns(COLUMNS, CELLS, (), width=5) == [0, 1, 2]


def test_cells_are_printed_as_they_are_brackets_and_all(capsys: pytest.CaptureFixture[str]):
    print_table("", ["prompt", "to do"], [("a [red] hat [/]", "pip install 'posemill[heic]'")])
    assert "a [red] hat [/]" in (printed := capsys.readouterr().out)
    assert "pip install 'posemill[heic]'" in printed

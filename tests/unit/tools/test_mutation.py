"""The mutation tool breaks what it says, and its table names files that exist."""

import pytest

from tools.mutation.core import CORE
from tools.mutation.operators import mutants_of
from tools.mutation.runner import ROOT


def test_every_file_of_the_core_and_its_tests_exist():
    assert [path for file, tests in CORE.items() for path in (file, *tests) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("x = a < b", "x = a <= b"),
        ("x = a and b", "x = a or b"),
        ("x = f(a=1)", "x = f()"),
        ("if a:\n    f()", "if not a:\n    f()"),
        ("def f():\n    g()\n    return 1", "def f():\n    pass\n    return 1"),
        ("def f():\n    g()\n    return 1", "def f():\n    g()\n    return 2"),
        ("x = True", "x = False"),
        ("def f():\n    raise ValueError", "def f():\n    pass"),
    ],
)
def test_a_piece_of_python_is_broken_in_each_way(text: str, broken: str):
    assert broken in [mutant.content for mutant in mutants_of("m.py", text)]


def test_texts_and_comments_are_left_alone():
    assert mutants_of("m.py", '"""Said."""\nx = "a" + y\nlog = f"{x}" + z') == []
    assert mutants_of("m.lua", "-- a < b\n") == []


def test_a_line_of_lua_is_dropped_and_its_comparisons_are_turned():
    broken = {mutant.content for mutant in mutants_of("m.lua", "redis.call('DEL', a)\nif a > b then return 1 end\n")}
    assert "\nif a > b then return 1 end\n" in broken
    assert "redis.call('DEL', a)\nif a >= b then return 1 end\n" in broken


def test_a_mutant_is_named_by_what_changed_and_where():
    names = [mutant.name for mutant in mutants_of("m.py", "def f(a):\n    if a > 2:\n        return a")]
    assert names == ["m.py: 2 -> 3", "m.py: a > 2 -> a >= 2", "m.py: if a > 2: -> if not a > 2:"]

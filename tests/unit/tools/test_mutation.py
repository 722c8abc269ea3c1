"""The mutation tool breaks what it says, and its table names files that exist."""

import tomllib

import pytest

from tools.mutation.__main__ import EQUIVALENT, _sample
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
        ("LONG_SECONDS = 30", "LONG_SECONDS = 300"),
    ],
)
def test_a_piece_of_python_is_broken_in_each_way(text: str, broken: str):
    assert broken in [mutant.content for mutant in mutants_of("m.py", text)]


def test_texts_and_comments_are_left_alone():
    assert mutants_of("m.py", '"""Said."""\nx = "a" + y\nlog = f"{x}" + z') == []
    assert mutants_of("m.lua", "-- a < b\n") == []


@pytest.mark.parametrize(
    "text", ["log.info('%d', 1 + n)", "class A(B, frozen=True):\n    a: int", "zip(a, strict=True)"]
)
def test_what_no_test_should_notice_is_left_alone(text: str):
    assert mutants_of("m.py", text) == []


def test_of_the_sample_the_known_equivalent_ones_are_left_out_and_a_seed_always_gives_the_same():
    file = "posemill/queue/window.py"
    first, again, other = (_sample(file, 9, seed, set()) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 9
    assert first[0].name not in [mutant.name for mutant in _sample(file, 10_000, 1, {first[0].name})]


def test_every_equivalent_mutant_is_one_that_can_be_made_and_has_its_reason():
    reasons = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["equivalent"]
    made = {mutant.name for file in CORE for mutant in mutants_of(file, (ROOT / file).read_text(encoding="utf-8"))}
    assert [name for name, reason in reasons.items() if name not in made or not reason] == []


def test_a_line_of_lua_is_dropped_and_its_comparisons_are_turned():
    broken = {mutant.content for mutant in mutants_of("m.lua", "redis.call('DEL', a)\nif a > b then return 1 end\n")}
    assert "\nif a > b then return 1 end\n" in broken
    assert "redis.call('DEL', a)\nif a >= b then return 1 end\n" in broken


def test_a_mutant_is_named_by_what_changed_and_where():
    names = [mutant.name for mutant in mutants_of("m.py", "def f(a):\n    if a > 2:\n        return a")]
    assert names == ["m.py: 2 -> 3", "m.py: a > 2 -> a >= 2", "m.py: if a > 2: -> if not a > 2:"]

"""An even sample reaches from one end to the other, in order, in bounded memory."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.sheets.sampling import EvenSample, even_places, even_sample


@given(total=st.integers(0, 5000), most=st.integers(0, 60))
def test_places_are_different_in_order_and_reach_both_ends(total: int, most: int) -> None:
    places = even_places(total, most)
    assert len(places) == min(total, most)
    assert places == sorted(set(places))
    if places:
        assert places[0] == 0
    if len(places) > 1:
        assert places[-1] == total - 1
        gaps = {later - earlier for earlier, later in pairwise(places)}
        assert max(gaps) - min(gaps) <= 1


@given(total=st.integers(0, 5000), most=st.integers(1, 40))
def test_a_stream_gives_as_many_as_asked_for_from_all_its_parts(total: int, most: int) -> None:
    found = even_sample(iter(range(total)), most)
    assert len(found) == min(total, most)
    assert found == sorted(set(found))
    if most > 2 and total > most:
        gaps = [later - earlier for earlier, later in zip(found, [*found[1:], total], strict=True)]
        assert max(gaps) <= 3 * total / most + 1


def test_what_is_held_does_not_grow_with_the_stream() -> None:
    sample = EvenSample[int](8)
    most_held = 0
    for number in range(100_000):
        sample.add(number)
        most_held = max(most_held, len(sample._kept))
    assert most_held <= 32
    assert sample.total == 100_000


@pytest.mark.parametrize("most", [0, 1, 30, 31])
def test_short_streams_are_taken_whole(most: int) -> None:
    assert even_sample(range(30), most) == ([*range(30)] if most >= 30 else [0][:most])

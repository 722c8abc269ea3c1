"""The last keys of a stream are known, by position, and nothing older is."""

from hypothesis import given
from hypothesis import strategies as st

from producer.submitting.recent import Recent


class SameHash(int):
    """A number that shares its bucket with all others."""

    def __hash__(self) -> int:
        return 1


def filled(size: int, keys: list, *, numbers: bool = False) -> Recent:
    recent = Recent(size, numbers=numbers)
    for key in keys:
        recent.add(key)
    return recent


def newest(keys: list, size: int) -> dict:
    """What a recent of that size must know of these keys."""
    return {key: position for position, key in enumerate(keys) if position >= len(keys) - size}


@given(st.integers(1, 9), st.lists(st.integers(0, 20)), st.booleans())
def test_exactly_the_last_keys_are_known_each_at_its_newest_position(size, keys, numbers):
    recent, known = filled(size, keys, numbers=numbers), newest(keys, size)
    assert {key: recent.find(key) for key in range(21)} == {key: known.get(key) for key in range(21)}


@given(st.integers(1, 9), st.lists(st.integers(0, 20).map(SameHash)))
def test_keys_of_one_bucket_are_told_apart(size, keys):
    recent, known = filled(size, keys), newest(keys, size)
    asked = [SameHash(key) for key in range(21)]
    assert [recent.find(key) for key in asked] == [known.get(key) for key in asked]


def test_keys_are_compared_and_not_only_their_hashes():
    assert filled(3, ["a"]).find("b") is None


def test_the_largest_and_the_smallest_number_are_keys():
    recent = filled(4, [0, 2**64 - 1], numbers=True)
    assert (recent.find(0), recent.find(2**64 - 1), recent.find(1)) == (0, 1, None)

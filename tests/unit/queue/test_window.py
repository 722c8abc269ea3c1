"""What of the next batches is sent: the ready ones up to the room, passing over a bounded number."""

from hypothesis import given
from hypothesis import strategies as st

from posemill.queue.window import take


def even(batch: int) -> bool:
    return batch % 2 == 0


def test_ready_batches_are_taken_in_order_up_to_the_room():
    assert take([0, 2, 4, 6], 3, even) == ([0, 2, 4], [])


def test_batches_that_are_not_ready_are_passed_over():
    assert take([1, 2, 3, 4, 5], 2, even) == ([2, 4], [1, 3])


def test_no_room_looks_at_nothing():
    assert take([1, 2], 0, lambda batch: 1 / 0) == ([], [])


def test_the_look_ends_when_too_many_were_passed_over():
    assert take([1, 2, 3, 5, 6], 9, even, limit_passed=2) == ([2], [1, 3])
    assert take([1, 2], 9, even, limit_passed=0) == ([], [])


@given(
    st.lists(st.integers(0, 99), unique=True).map(sorted),
    st.integers(-3, 20),
    st.sets(st.integers(0, 99)),
    st.none() | st.integers(0, 5),
)
def test_nothing_is_skipped_between_the_batches_taken_and_passed_over(batches, room, ready, limit_passed):
    chosen, passed = take(batches, room, ready.__contains__, limit_passed=limit_passed)
    seen = sorted(chosen + passed)
    assert seen == batches[: len(seen)]
    assert set(chosen) <= ready
    assert not ready.intersection(passed)
    assert len(chosen) <= max(room, 0)
    assert limit_passed is None or len(passed) <= limit_passed

"""A stream is worked on by threads, in order, and never far ahead of its reader."""

import pytest

from producer.submitting.streaming import in_order


def test_results_come_in_the_order_of_their_values():
    assert list(in_order(lambda number: -number, range(200), threads=4, ahead=5)) == [-number for number in range(200)]


def test_no_more_values_are_taken_early_than_asked_for():
    taken = []
    results = in_order(str, (taken.append(number) or number for number in range(100)), threads=4, ahead=5)
    early = [len(taken) - given for given, _ in enumerate(results)]
    assert max(early) == 6, "the five, and the one whose result is handed over"


def test_an_error_of_the_function_or_of_the_stream_reaches_the_reader():
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda number: 1 // number, [1, 0, 1]))
    with pytest.raises(ZeroDivisionError):
        list(in_order(str, (1 // number for number in [1, 0, 1])))

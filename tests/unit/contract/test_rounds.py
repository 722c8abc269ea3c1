"""What is made again follows from what was judged, and from nothing else."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from posemill.contract.records import Item, JudgedResult, Outcome, Slicing
from posemill.contract.rounds import (
    PlanLayout,
    RoundStep,
    needed_batches,
    next_step,
    next_to_read,
    next_try,
    round_progress,
    tries_to_come,
    waiting_rows,
)

Verdict = Callable[[Item], bool]


def item(number: int) -> Item:
    return Item(id=f"{number:032x}", prompt="p", seed=number, source_number=number)


def played(items: int, slicing: Slicing, tries: int, passes: Verdict) -> tuple[list[list[Item]], list[RoundStep]]:
    """A run's shards and steps once nothing is open, where `passes` judges."""
    rows = [item(number) for number in range(items)]
    shards = [rows[start : start + slicing.shard_size] for start in range(0, items, slicing.shard_size)]
    steps: list[RoundStep] = []
    while True:
        layout = PlanLayout(
            slicing=slicing, first_rows=items, added=tuple(one.rows for one in steps if one.shard is not None)
        )
        read = next_to_read(layout, steps)
        if read is None:
            return shards, steps
        judged = [JudgedResult(id=one.id, outcome=verdict(one, tries, passes)) for one in shards[read]]
        rejects = tries_to_come(shards[read], judged)
        step = next_step(layout, steps, rejects)
        if step.shard is not None:
            assert step.shard == len(shards)
            shards.append(list(waiting_rows(steps, rejects)[: step.rows]))
        steps.append(step)


def verdict(one: Item, tries: int, passes: Verdict) -> Outcome:
    if passes(one):
        return Outcome.DONE
    return Outcome.AGAIN if one.try_number < tries else Outcome.REJECTED


@property_settings(max_examples=200, deadline=None)
@given(
    items=st.integers(1, 60), batch_size=st.integers(1, 5), batches=st.integers(1, 4), tries=st.integers(1, 4),
    salt=st.integers(0, 1000), share=st.integers(0, 10),
)  # fmt: skip
def test_every_reject_with_a_try_left_is_planned_once_and_batches_are_full(
    items: int, batch_size: int, batches: int, tries: int, salt: int, share: int
) -> None:
    slicing = Slicing(batch_size=batch_size, shard_size=batch_size * batches)

    def passes(one: Item) -> bool:
        return (one.seed * 7919 + salt) % 10 >= share

    shards, steps = played(items, slicing, tries, passes)
    assert (shards, steps) == played(items, slicing, tries, passes)
    rows = [one for shard in shards for one in shard]
    wanted = [next_try(one) for one in rows if not passes(one) and one.try_number < tries]
    assert sorted(one.id for one in rows[items:]) == sorted(one.id for one in wanted)
    assert len({one.id for one in rows}) == len(rows)
    assert steps[-1].carried == ()
    layout = PlanLayout(
        slicing=slicing, first_rows=items, added=tuple(len(shard) for shard in shards[layout_first(items, slicing) :])
    )
    short = [batch for batch in layout.numbers() if layout.rows_in(batch) < batch_size]
    assert len(short) <= tries, "one of the submission, and one of each later round"


def layout_first(items: int, slicing: Slicing) -> int:
    return -(-items // slicing.shard_size)


def test_the_next_try_has_another_seed_and_the_wish_of_the_first() -> None:
    first = item(3)
    second, third = next_try(first), next_try(next_try(first))
    assert (second.wanted, third.wanted, second.try_number, third.try_number) == (first.id, first.id, 2, 3)
    assert len({first.seed, second.seed, third.seed}) == len({first.id, second.id, third.id}) == 3
    assert (second.prompt, second.source_number) == (first.prompt, first.source_number)
    assert (second.id, second.seed) == ("6cbf83c79e3f93fd6deddf12338e642c", 1616611334), (
        "another one would make other data sets"
    )


def test_what_does_not_fill_a_batch_waits_for_the_next_shard() -> None:
    layout = PlanLayout(slicing=Slicing(batch_size=4, shard_size=8), first_rows=16)
    tries = [next_try(item(number)) for number in range(6)]
    first = next_step(layout, [], tries)
    assert (first.read, first.shard, first.rows, first.carried) == (0, 2, 4, tuple(tries[4:]))
    grown = msgspec.structs.replace(layout, added=(4,))
    second = next_step(grown, [first], [])
    assert (second.read, second.shard, second.rows, second.carried) == (1, None, 0, tuple(tries[4:]))
    last = next_step(grown, [first, second], [])
    assert (last.read, last.shard, last.rows, last.carried) == (2, 3, 2, ()), "no shard is left that could bring more"


@pytest.mark.parametrize(("first_rows", "added"), [(10, ()), (8, (4,)), (10, (8, 3)), (3, (2, 8, 1))])
def test_numbers_of_batches_and_rows_agree(first_rows: int, added: tuple[int, ...]) -> None:
    layout = PlanLayout(slicing=Slicing(batch_size=2, shard_size=8), first_rows=first_rows, added=added)
    numbers = list(layout.numbers())
    assert sum(map(layout.rows_in, numbers)) == layout.rows == first_rows + sum(added)
    assert (len(numbers), max(numbers) + 1) == (layout.batches, layout.end)
    unused = {batch for one in layout.unused() for batch in one}
    assert unused == set(range(layout.end)) - set(numbers)
    assert not any(map(layout.rows_in, unused))


def test_a_later_batch_needs_the_detect_batches_of_its_sources() -> None:
    items = [item(number) for number in (0, 9, 4, 5)] + [Item(id="x", prompt="", seed=0)]
    assert needed_batches(items, 2, 4) == [[0, 2], [1], []]


def test_what_is_open_is_told_round_by_round() -> None:
    slicing = Slicing(batch_size=2, shard_size=4)
    steps = [
        RoundStep(read=0, shard=2, rows=2),  # of shards 0 and 1; its round is the second
        RoundStep(read=1, shard=None, rows=0),
        RoundStep(read=2, shard=3, rows=1),  # of the second: the third
    ]
    layout = PlanLayout(slicing=slicing, first_rows=7, added=(2, 1))
    done = bytearray(2)
    for batch in (0, 1, 2, 4):  # all of shard 0, half of shard 1, all of shard 2
        done[batch // 8] |= 0x80 >> batch % 8
    told = round_progress(layout, steps, bytes(done))
    assert [(one.images, one.open) for one in told] == [(7, 1), (2, 0), (1, 1)]
    assert [one.open for one in round_progress(layout, steps, b"")] == [7, 2, 1]

"""Which images are made again: a pure rule over the records of the verify stage, so that it is the same at every look.

The judged shards of the generate plan are read in their order. Their rejects, as further tries, join those that were
carried from the shard before; what fills whole batches becomes a shard of its own at the plan's end, and the rest is
carried on. Where no shard is left to read, what was carried becomes the last, short batch. A shard that was added is
read in its turn like all others, so the run ends when every shard was read. Each step is written down once.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from posemill.contract.keys import Stage
from posemill.contract.records import BestTry, Item, JudgedResult, Outcome, Plan, Run, Slicing
from posemill.contract.stages import STAGES


class RoundStep(msgspec.Struct, frozen=True, kw_only=True):
    """What one step added to the plan; `plan/rounds/N.json`, written on the condition that there is none."""

    read: int | None  # the shard whose rejects were taken; None: those that a retry brought later
    shard: int | None = None  # the one that was added
    rows: int = 0  # of it
    carried: tuple[Item, ...] = ()  # tries that wait for more, so that batches are full


class PlanLayout(msgspec.Struct, frozen=True, kw_only=True):
    """Where the rows of a stage's plan stand: those of the submission, then a shard for each that rounds added.

    The last shard of the submission, and each that was added, may be short; the numbers of batches that it lacks stay
    unused.
    """

    slicing: Slicing
    first_rows: int  # of the submission
    added: tuple[int, ...] = ()  # rows of each later shard

    @property
    def first_shards(self) -> int:
        """How many shards the submission wrote."""
        return -(-self.first_rows // self.slicing.shard_size)

    @property
    def shards(self) -> int:
        """How many there are by now."""
        return self.first_shards + len(self.added)

    @property
    def rows(self) -> int:
        """Of all shards."""
        return self.first_rows + sum(self.added)

    @property
    def batches(self) -> int:
        """How many there are; unused numbers do not count."""
        return self.slicing.batches(self.first_rows) + sum(map(self.slicing.batches, self.added))

    @property
    def end(self) -> int:
        """One more than the last batch's number."""
        last = self.batches_of(self.shards - 1) if self.shards else range(0)
        return last.stop

    def rows_of(self, shard: int) -> int:
        """Rows of one shard."""
        if shard >= self.first_shards:
            return self.added[shard - self.first_shards]
        return min(self.slicing.shard_size, self.first_rows - shard * self.slicing.shard_size)

    def batches_of(self, shard: int) -> range:
        """The numbers of one shard's batches."""
        first = shard * self.slicing.batches_a_shard
        return range(first, first + self.slicing.batches(self.rows_of(shard)))

    def rows_in(self, batch: int) -> int:
        """How many rows a batch covers; none where its number is unused."""
        shard, position = divmod(batch, self.slicing.batches_a_shard)
        return max(0, min(self.slicing.batch_size, self.rows_of(shard) - position * self.slicing.batch_size))

    def numbers(self) -> Iterator[int]:
        """Every batch's number, in order."""
        for shard in range(self.shards):
            yield from self.batches_of(shard)

    def unused(self) -> Iterator[range]:
        """The numbers below `end` that no batch has."""
        for shard in range(self.shards - 1):
            stop = (shard + 1) * self.slicing.batches_a_shard
            if self.batches_of(shard).stop < stop:
                yield range(self.batches_of(shard).stop, stop)


def layout_of(run: Run, plan: Plan, stage: Stage, steps: Iterable[RoundStep]) -> PlanLayout:
    """Of a stage that follows the plan of items; every other one is as it was submitted."""
    is_growing = STAGES[stage].row is Item
    added = tuple(step.rows for step in steps if step.shard is not None) if is_growing else ()
    return PlanLayout(slicing=run.slicing[stage], first_rows=plan.rows[stage], added=added)


def layouts_of(run: Run, plan: Plan, steps: Sequence[RoundStep]) -> dict[Stage, PlanLayout]:
    """Of each stage of a run."""
    return {stage: layout_of(run, plan, stage, steps) for stage in run.stages}


def next_to_read(layout: PlanLayout, steps: Sequence[RoundStep]) -> int | None:
    """The shard whose rejects come next; None when all were read."""
    read = sum(step.read is not None for step in steps)
    return read if read < layout.shards else None


def next_step(layout: PlanLayout, steps: Sequence[RoundStep], rejects: Sequence[Item]) -> RoundStep:
    """The step over `next_to_read`'s shard, of which `rejects` are the tries to come, in the plan's order."""
    read = next_to_read(layout, steps)
    waiting = waiting_rows(steps, rejects)
    is_last = read is None or read == layout.shards - 1
    size = layout.slicing.batch_size
    taken = min(len(waiting) if is_last else len(waiting) // size * size, layout.slicing.shard_size)
    return RoundStep(read=read, shard=layout.shards if taken else None, rows=taken, carried=waiting[taken:])


def waiting_rows(steps: Sequence[RoundStep], rejects: Sequence[Item]) -> tuple[Item, ...]:
    """What the next step chooses from: the tries that were carried, then the new ones."""
    return (*(steps[-1].carried if steps else ()), *rejects)


class RoundProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one round is: the images of the submission, or those made again for rejects of the round before."""

    images: int  # planned for it by now
    open: int  # of them, not judged yet


def round_progress(layout: PlanLayout, steps: Sequence[RoundStep], done: bytes) -> list[RoundProgress]:
    """Of each round; `done` is the verify stage's bitmap, the most significant bit first.

    A shard that a step added belongs to the round after that of the shard whose rejects were read, and so does a row
    that was carried into it.
    """
    rounds = dict.fromkeys(range(layout.first_shards), 0)  # by shard
    latest = 0
    for step in steps:
        latest = rounds.get(step.read, latest) + 1 if step.read is not None else latest + 1
        if step.shard is not None:
            rounds[step.shard] = latest
    images, waiting = [0] * (max(rounds.values(), default=0) + 1), [0] * (max(rounds.values(), default=0) + 1)
    for shard, number in rounds.items():
        images[number] += layout.rows_of(shard)
        waiting[number] += sum(layout.rows_in(batch) for batch in layout.batches_of(shard) if not _is_set(done, batch))
    return [RoundProgress(images=count, open=left) for count, left in zip(images, waiting, strict=True)]


def _is_set(bitmap: bytes, number: int) -> bool:
    return number // 8 < len(bitmap) and bool(bitmap[number // 8] & 0x80 >> number % 8)


def tries_to_come(items: Sequence[Item], judged: Iterable[JudgedResult]) -> list[Item]:
    """The next try of every item that was judged so, in the plan's order."""
    again = {result.id: result for result in judged if result.outcome is Outcome.AGAIN}
    return [next_try(item, again[item.id].best) for item in items if item.id in again]


def next_try(item: Item, best: BestTry | None = None) -> Item:
    """The same wish with another seed; both follow from the first try's id and the number of tries."""
    number = item.try_number + 1
    content = hashlib.sha256(f"{item.wanted_id} try {number}".encode()).digest()
    return msgspec.structs.replace(
        item,
        id=content[16:].hex(),
        seed=int.from_bytes(content[:4], "big"),
        wanted=item.wanted_id,
        try_number=number,
        best=best,
    )


def needed_batches(items: Sequence[Item], batch_size: int, detect_batch_size: int) -> list[list[int]]:
    """For each batch of items, the detect batches that hold their sources."""
    batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    return [
        sorted({item.source_number // detect_batch_size for item in batch if item.source_number is not None})
        for batch in batches
    ]

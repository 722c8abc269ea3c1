"""Reads what the verify stage has judged, and adds what is to be made again to a run's plan."""

from collections.abc import Sequence

from posemill.contract.keys import RunKeys
from posemill.contract.records import (
    BatchRecord,
    Item,
    Plan,
    Run,
    ShardHeader,
    decode,
    decode_rows,
    encode,
    encode_shard,
)
from posemill.contract.rounds import (
    PlanLayout,
    RoundStep,
    layout_of,
    needed_batches,
    next_step,
    next_to_read,
    tries_to_come,
    waiting_rows,
)
from posemill.contract.stages import LAST_STAGE, STAGES
from posemill.storage.run_documents import read_document, read_shard
from posemill.storage.store import Store, get_many


def is_closed(store: Store, run: Run, plan: Plan, steps: Sequence[RoundStep]) -> bool:
    """Whether nothing will be added to the plan any more, beside what these steps added."""
    if run.verify is None:
        return True
    layout = layout_of(run, plan, LAST_STAGE, steps)
    return next_to_read(layout, steps) is None and not missed_tries(store, run, layout)


def rejects_of(store: Store, run: Run, layout: PlanLayout, shard: int) -> list[Item]:
    """The tries to come of one shard, every batch of which was judged. Raises NotFound and UnreadableRecord."""
    keys = RunKeys(run.id)
    written = [keys.record(LAST_STAGE, batch) for batch in layout.batches_of(shard)]
    judged = [result for content in get_many(store, written) for result in decode(content, BatchRecord).judged]
    return tries_to_come(_items(store, run, shard), judged)


def missed_tries(store: Store, run: Run, layout: PlanLayout) -> list[Item]:
    """Tries to come of batches that `retry` had made again after their shard was read."""
    keys = RunKeys(run.id)
    again = [info.key for info in store.list(keys.set_aside(LAST_STAGE))]
    if not again:
        return []
    planned = {item.id for shard in range(layout.first_shards, layout.shards) for item in _items(store, run, shard)}
    found = []
    for old in get_many(store, again):
        batch = decode(old, BatchRecord).batch
        if store.head(keys.record(LAST_STAGE, batch)) is None:
            continue
        record = read_document(store, keys.record(LAST_STAGE, batch), BatchRecord)
        shard, rows = layout.slicing.place(batch)
        found += tries_to_come(_items(store, run, shard, rows), record.judged)
    return [item for item in found if item.id not in planned]


def add_step(
    store: Store, run: Run, layout: PlanLayout, steps: Sequence[RoundStep], rejects: Sequence[Item]
) -> RoundStep | None:
    """Write the next step, after the shard that it adds, and give it; None where somebody else has written one.

    Both follow from what was judged, so whoever writes second finds the same; a shard that holds others stands.
    """
    step = next_step(layout, steps, rejects)
    if step.shard is not None:
        step = _with_shard(store, run, step, waiting_rows(steps, rejects))
    key = RunKeys(run.id).round_step(len(steps))
    _, created = store.put_if_absent(key, encode(step), content_type="application/json")
    return step if created else None


def _with_shard(store: Store, run: Run, step: RoundStep, waiting: Sequence[Item]) -> RoundStep:
    assert step.shard is not None
    stage = STAGES[LAST_STAGE].planned_by
    rows = list(waiting[: step.rows])
    size, needs = run.slicing[stage].batch_size, STAGES[stage].needs
    header = ShardHeader(
        first=step.shard * run.slicing[stage].shard_size,
        rows=len(rows),
        needs=needed_batches(rows, size, run.slicing[needs].batch_size) if needs else [],
    )
    key = RunKeys(run.id).shard(stage, step.shard)
    _, created = store.put_if_absent(key, encode_shard(header, rows), content_type="application/x-ndjson")
    if created:
        return step
    standing = {item.id for item in _items(store, run, step.shard)}
    carried = tuple(item for item in waiting if item.id not in standing)
    return RoundStep(read=step.read, shard=step.shard, rows=len(standing), carried=carried)


def _items(store: Store, run: Run, shard: int, rows: slice = slice(None)) -> list[Item]:
    return decode_rows(read_shard(store, run.id, STAGES[LAST_STAGE].planned_by, shard)[1], Item, rows)

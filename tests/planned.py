"""Runs without pictures, for tests of what lies around the stages."""

from collections.abc import Iterable

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import (
    BatchRecord,
    Item,
    Outcome,
    Plan,
    Rules,
    Run,
    RunState,
    ShardHeader,
    Slicing,
    Source,
    SourceResult,
    encode,
    encode_shard,
)
from posemill.contract.rounds import PlanLayout
from posemill.contract.specs import ControlNetSpec, DetectSpec, GenerateSpec
from posemill.queue.ledger import Ledger
from posemill.queue.progress import StageProgress
from posemill.storage.run_documents import submission_digest
from posemill.storage.store import Store

SLICING = {
    Stage.DETECT: Slicing(batch_size=2, shard_size=4),
    Stage.GENERATE: Slicing(batch_size=2, shard_size=4),
}


def by_stage(detect: int, generate: int) -> dict[Stage, int]:
    return {Stage.DETECT: detect, Stage.GENERATE: generate}


def plan_run(store: Store, ledger: Ledger, run_id: str, *, sources: int = 4) -> Plan:
    """A sealed run of `sources` sources with one item each, open in the ledger."""
    keys = RunKeys(run_id)
    store.put(keys.run, encode(make_run(run_id)))
    for shard, first in enumerate(range(0, sources, 4)):
        numbers = range(first, min(first + 4, sources))
        header = ShardHeader(first=first, rows=len(numbers), needs=[])
        rows = [Source(name=f"{number}.png", identity=str(number), key=f"s/{number}") for number in numbers]
        store.put(keys.shard(Stage.DETECT, shard), encode_shard(header, rows))
        needs = [[batch] for batch in range(first // 2, -(-(numbers[-1] + 1) // 2))]
        items = [Item(id=f"item{number:04d}", prompt="p", seed=number, source_number=number) for number in numbers]
        header = ShardHeader(first=first, rows=len(numbers), needs=needs)
        store.put(keys.shard(Stage.GENERATE, shard), encode_shard(header, items))
    batches = -(-sources // 2)
    plan = Plan(rows=by_stage(sources, sources), batches=by_stage(batches, batches), refused_rows=0)
    store.put(keys.sealed, encode(plan))
    open_in_ledger(ledger, run_id, plan, submission_digest(store, run_id))
    return plan


def open_in_ledger(ledger: Ledger, run_id: str, plan: Plan, submission: str = "") -> None:
    """As a run of which nothing is done yet."""
    ledger.restore(
        run_id, plan, {stage: progress(plan, stage) for stage in plan.rows}, RunState.RUNNING, submission=submission
    )


def progress(
    plan: Plan, stage: Stage, *, done: bytes = b"", batches_done: int = 0, counts: dict[Outcome, int] | None = None
) -> StageProgress:
    """Of a stage that is as far as that; nothing is done where nothing is said."""
    layout = PlanLayout(slicing=sliced(plan, stage), first_rows=plan.rows[stage])
    known = dict.fromkeys(Outcome, 0) | (counts or {})
    return StageProgress(layout=layout, done=done, batches_done=batches_done, counts=known)


def sliced(plan: Plan, stage: Stage) -> Slicing:
    """A slicing that gives a plan's batches."""
    size = -(-plan.rows[stage] // max(1, plan.batches[stage]))
    return Slicing(batch_size=size, shard_size=1000 * size)


def write_records(store: Store, run_id: str, stage: Stage, batches: Iterable[int]) -> None:
    """Records whose rows are all done, without objects."""
    for batch in batches:
        done = [
            SourceResult(source_number=number, name="", outcome=Outcome.DONE) for number in (2 * batch, 2 * batch + 1)
        ]
        record = BatchRecord(
            run_id=run_id, stage=stage, batch=batch, attempt=1, worker="w", finished_at="", made_with={}, results=done
        )
        store.put(RunKeys(run_id).record(stage, batch), encode(record))


def make_run(run_id: str) -> Run:
    return Run(
        id=run_id,
        name="planned",
        created_at="2026-01-01T00:00:00+00:00",
        recipe={},
        recipe_digest="0",
        detects=(DetectSpec(detector="keypoints"),),
        rules=Rules(),
        generate=GenerateSpec(model="none", base="none", controlnets=(ControlNetSpec(controlnet="none"),)),
        slicing=SLICING,
        queues={stage: f"posemill.{stage}" for stage in Stage},
        posemill_version="test",
    )

"""Judges the images of a run that is over by a run of its own: the same images, looked at again, or for the first time.

The new run's plan and records are the old one's, as far as they tell what its images are; only the verify stage is left
to do. So it is watched, steered, checked and exported as every run is, and the old one stays as it was. The images stay
where they lie: a run cannot be deleted before those that judge its images are.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from posemill import __version__
from posemill.contract.identity import digest
from posemill.contract.keys import RunKeys, Stage, checked_run_id, queue_name
from posemill.contract.records import (
    BatchRecord,
    Item,
    ItemResult,
    JudgedResult,
    Outcome,
    Plan,
    Run,
    ShardHeader,
    VerifySpec,
    decode_rows,
    encode,
    encode_shard,
)
from posemill.contract.rounds import PlanLayout, layout_of, needed_batches
from posemill.errors import NotFound, NotOver, RunConflict
from posemill.queue.opening import open_services
from posemill.settings import Settings, load_settings
from posemill.storage.record_writing import write_record
from posemill.storage.rounds import is_closed
from posemill.storage.run_documents import read_document, read_plan, read_rounds, read_run, read_shard
from posemill.storage.store import Store
from producer.recipes.recipe import parse_verify
from producer.recipes.resolving import verify_spec
from producer.recipes.verify_recipe import VerifyRecipe
from producer.runs.handle import RunHandle
from producer.runs.turns import submitting
from producer.submitting.streaming import in_order
from producer.submitting.submission import announce_run

THREADS, AHEAD = 8, 32  # records on their way
DIGEST_LETTERS = 6  # of the checks, in a run id that is made up


class SettledItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item as its last try left it."""

    item: Item
    made: ItemResult
    record: BatchRecord  # that `made` stands in


def judge_run(
    run_id: str,
    *,
    checks: Sequence[dict[str, Any]] = (),
    retry: bool = False,
    tries: int | None = None,
    new_run_id: str | None = None,
    settings: Settings | None = None,
) -> RunHandle:
    """Judge the images of a run that is over; producer/api.py says what it takes and raises."""
    settings = settings or load_settings()
    store, ledger = open_services(settings)
    judged = read_run(store, run_id)
    asked = _asked(judged, checks, tries)
    verify = verify_spec(asked, judged.kinds, Path.cwd())
    tries_before = judged.verify.tries if judged.verify else 1
    verify = msgspec.structs.replace(verify, tries=tries_before + verify.tries - 1 if retry else 1)
    new_id = checked_run_id(new_run_id or _made_up_id(judged.id, verify))
    with submitting(store, new_id):
        if store.head(RunKeys(new_id).sealed) is None:
            _write(store, judged, _begun(store, _judging_run(judged, new_id, asked, verify)))
        else:
            _require_same(read_run(store, new_id), _judging_run(judged, new_id, asked, verify))
        announce_run(store, ledger, new_id, settings)
    return RunHandle(new_id, store=store, ledger=ledger)


def _asked(judged: Run, checks: Sequence[dict[str, Any]], tries: int | None) -> VerifyRecipe:
    """The checks that were asked for; the run's own where none were. Raises RecipeError."""
    section: dict[str, Any] = {} if tries is None else {"tries": tries}
    if checks:
        section["checks"] = list(checks)
    elif judged.verify:
        section["checks"] = [{"check": one.check, **one.options} for one in judged.verify.checks]
    return parse_verify(section)


def _made_up_id(run_id: str, verify: VerifySpec) -> str:
    """The same for the same checks, so that a judging that was cut off goes on."""
    ending = digest(msgspec.to_builtins(verify))[:DIGEST_LETTERS]
    return f"{run_id[: 99 - DIGEST_LETTERS]}-{ending}"


def _judging_run(judged: Run, run_id: str, asked: VerifyRecipe, verify: VerifySpec) -> Run:
    section = asked.model_dump(mode="json", exclude_unset=True)
    return msgspec.structs.replace(
        judged,
        id=run_id,
        created_at=datetime.now(UTC).isoformat(timespec="microseconds"),
        recipe={**judged.recipe, "verify": section},
        recipe_digest=digest([judged.id, judged.created_at, judged.recipe_digest, msgspec.to_builtins(verify)]),
        slicing={**judged.slicing, Stage.VERIFY: judged.slicing[Stage.GENERATE]},
        queues={**judged.queues, Stage.VERIFY: asked.queue or queue_name(Stage.VERIFY)},
        posemill_version=__version__,
        verify=verify,
        images_of=judged.id,
    )


def _begun(store: Store, run: Run) -> Run:
    """The run as it was written down first. Raises RunConflict where its id belongs to another one."""
    _, created = store.put_if_absent(RunKeys(run.id).run, encode(run), content_type="application/json")
    if created:
        return run
    begun = read_run(store, run.id)
    _require_same(begun, run)
    return begun


def _require_same(stored: Run, wanted: Run) -> None:
    if stored.recipe_digest != wanted.recipe_digest:
        raise RunConflict(f"run {stored.id!r} exists already and judges something else; choose another --run-id")


def _write(store: Store, judged: Run, run: Run) -> None:
    """Write plan and records, and seal the plan last. Raises NotOver while the judged run is not over."""
    plan = read_plan(store, judged.id)
    steps = read_rounds(store, judged)
    store.put(RunKeys(judged.id).judged_by(run.id), b"")
    if not is_closed(store, judged, plan, steps):
        raise NotOver(f"run {judged.id!r} is not over: images are to be made again; judge it when it has ended")
    for _ in in_order(lambda shard: _copy_shard(store, judged, run, shard), range(_shards(judged, plan))):
        pass
    layout = layout_of(judged, plan, Stage.DETECT, steps)
    for record in _records(store, judged, layout, Stage.DETECT):
        _write_record(store, run, record)
    items = _write_items(store, run, settled_items(store, judged, layout_of(judged, plan, Stage.GENERATE, steps)))
    stages = {Stage.DETECT: plan.rows[Stage.DETECT], Stage.GENERATE: items, Stage.VERIFY: items}
    sealed = msgspec.structs.replace(
        plan, rows=stages, batches={stage: run.slicing[stage].batches(rows) for stage, rows in stages.items()}
    )
    store.put_if_absent(RunKeys(run.id).sealed, encode(sealed), content_type="application/json")


def _shards(run: Run, plan: Plan) -> int:
    return -(-plan.rows[Stage.DETECT] // run.slicing[Stage.DETECT].shard_size)


def _copy_shard(store: Store, judged: Run, run: Run, shard: int) -> None:
    content = store.get(RunKeys(judged.id).shard(Stage.DETECT, shard))
    key = RunKeys(run.id).shard(Stage.DETECT, shard)
    store.put_if_absent(key, content, content_type="application/x-ndjson")


def _records(store: Store, run: Run, layout: PlanLayout, stage: Stage) -> Iterator[BatchRecord]:
    """Every record of a stage, in the batches' order. Raises NotOver where one is missing."""
    keys = RunKeys(run.id)

    def read(batch: int) -> BatchRecord:
        try:
            return read_document(store, keys.record(stage, batch), BatchRecord)
        except NotFound as error:
            raise NotOver(
                f"run {run.id!r} is not over: batch {batch} of {stage} has no record; judge it when it has ended"
            ) from error

    return in_order(read, layout.numbers(), threads=THREADS, ahead=AHEAD)


def settled_items(store: Store, run: Run, layout: PlanLayout) -> Iterator[SettledItem]:
    """Every item of a run with its last try, in the order in which they were settled."""
    made = _records(store, run, layout, Stage.GENERATE)
    judged = _records(store, run, layout, Stage.VERIFY) if run.verify else None
    shard: tuple[int, bytes] | None = None
    for record in made:
        number, rows = layout.slicing.place(record.batch)
        if shard is None or shard[0] != number:
            shard = number, read_shard(store, run.id, Stage.GENERATE, number)[1]
        verdicts = {one.id: one for one in next(judged).judged} if judged is not None else {}
        for item, result in zip(decode_rows(shard[1], Item, rows), record.items, strict=True):
            verdict = verdicts.get(item.id)
            if verdict is None or verdict.outcome is not Outcome.AGAIN:
                yield SettledItem(item=item, made=_as_it_lies(run, result, verdict), record=record)


def _as_it_lies(run: Run, made: ItemResult, verdict: JudgedResult | None) -> ItemResult:
    """The item without its image where that did not pass and was not kept."""
    if verdict is None or verdict.best is None or run.verify is None or run.verify.keep_rejects:
        return made
    return msgspec.structs.replace(made, image=None, outcome=verdict.outcome, reason=verdict.reason)


def _write_items(store: Store, run: Run, settled: Iterator[SettledItem]) -> int:
    """Write the plan of items and the records that say they are made; gives how many there are."""
    slicing, total = run.slicing[Stage.GENERATE], 0

    def write(numbered: tuple[int, list[SettledItem]]) -> None:
        shard, rows = numbered
        header = ShardHeader(
            first=shard * slicing.shard_size,
            rows=len(rows),
            needs=needed_batches([one.item for one in rows], slicing.batch_size, run.slicing[Stage.DETECT].batch_size),
        )
        content = encode_shard(header, [one.item for one in rows])
        store.put_if_absent(RunKeys(run.id).shard(Stage.GENERATE, shard), content, content_type="application/x-ndjson")
        for start in range(0, len(rows), slicing.batch_size):
            part = rows[start : start + slicing.batch_size]
            batch = shard * slicing.batches_a_shard + start // slicing.batch_size
            record = msgspec.structs.replace(part[0].record, batch=batch, results=[one.made for one in part])
            _write_record(store, run, record)

    def shards() -> Iterator[tuple[int, list[SettledItem]]]:
        nonlocal total
        rows: list[SettledItem] = []
        number = 0
        for one in settled:
            rows.append(one)
            total += 1
            if len(rows) == slicing.shard_size:
                yield number, rows
                number, rows = number + 1, []
        if rows:
            yield number, rows

    for _ in in_order(write, shards(), threads=THREADS, ahead=THREADS):
        pass
    return total


def _write_record(store: Store, run: Run, record: BatchRecord) -> None:
    write_record(store, msgspec.structs.replace(record, run_id=run.id))

"""Submits a recipe: the one way by which a run comes into being. Safe to repeat with the same run id."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from posemill.app import make_app
from posemill.dispatcher import Dispatcher
from posemill.errors import RecipeError, RowError, RunConflict
from posemill.identity import sha256
from posemill.ledger import Ledger, open_ledger
from posemill.names import RunKeys
from posemill.rebuild import rebuild
from posemill.records import Plan, RefusedRow, Run, encode, encode_shard
from posemill.redis_safety import require_safe_redis
from posemill.run_documents import read_run
from posemill.settings import Settings, load_settings
from posemill.storage import Store, open_store, require_conditional_writes
from producer.intake import Intake, Taken
from producer.planning import SHARD_ROWS, Expander, Planner, Shard
from producer.prompts import parse_template
from producer.recipe import Recipe, parse_recipe, read_recipe, recipe_folder
from producer.resolving import checked_run_id, new_run_id, resolve
from producer.rows import Row
from producer.runs import RunHandle
from producer.scanning import SkippedTally
from producer.sources import find_rows
from producer.streaming import in_order

Progress = Callable[[Plan], None]
UPLOADS = 8  # plan shards on their way to storage while the next rows are planned


def submit(
    recipe: str | Path | dict[str, Any],
    *,
    run_id: str | None = None,
    overrides: tuple[str, ...] = (),
    strict: bool = False,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> RunHandle:
    """Submit a recipe (YAML file or mapping) and give a handle on its run.

    With the run id of an earlier submission of the same recipe nothing is added: an unfinished submission goes on,
    a finished one is found again, and a ledger that Redis lost is rebuilt. `strict` refuses the whole run at the
    first bad row. Raises RecipeError, RowError (strict), RunConflict and ServiceError.
    """
    settings = settings or load_settings()
    values = read_recipe(recipe, overrides)
    checked = parse_recipe(values, where=str(recipe) if not isinstance(recipe, dict) else "recipe")
    store, ledger = open_store(settings.store), open_ledger(settings.redis_url.get_secret_value())
    require_safe_redis(ledger.redis, persistent=settings.redis_persistence == "required")
    require_conditional_writes(store)
    run_id = checked_run_id(run_id) if run_id else new_run_id(checked.name)
    if store.head(RunKeys(run_id).sealed) is None:
        skipped = SkippedTally()
        rows = rows_of(checked, recipe_folder(recipe), store, settings, skipped)
        run = _begin(store, resolve(checked, values, run_id))
        _write_plan(store, checked, run, rows, skipped, strict=strict, progress=progress)
    else:
        _require_same(read_run(store, run_id), resolve(checked, values, run_id))
    open_run(store, ledger, run_id, settings)
    return RunHandle(run_id, store=store, ledger=ledger)


def open_run(store: Store, ledger: Ledger, run_id: str, settings: Settings) -> None:
    """Make a sealed run known to the ledger and send its first messages."""
    if ledger.state(run_id) is None:
        rebuild(store, ledger, run_id)
    app = make_app(settings.redis_url.get_secret_value())
    try:
        Dispatcher(store, ledger, app, settings).tick()
    finally:
        app.close()


def peeked(rows: Iterator[Row], sources: str, skipped: SkippedTally) -> Iterator[Row]:
    """The same rows; raises RecipeError when there is none."""
    first = next(rows, None)
    if first is None:
        passed_over = ", ".join(f"{one.count} {one.reason} ({one.first})" for one in skipped.found())
        raise RecipeError(
            f"sources: nothing to read in {sources!r}" + (f"; skipped: {passed_over}" * bool(passed_over))
        )
    return itertools.chain([first], rows)


def rows_of(
    recipe: Recipe, folder: Path, store: Store | None, settings: Settings, skipped: SkippedTally
) -> Iterator[Row]:
    """The recipe's rows, at least one; prompts are checked before anything is read."""
    for prompt in recipe.prompts:
        parse_template(prompt)
    poses = any(detector.detector == "keypoints" for detector in (recipe.detect, *recipe.controls))
    found = find_rows(recipe.sources, folder, settings, poses=poses, store=store, skipped=skipped)
    return peeked(found, recipe.sources, skipped)


def _begin(store: Store, run: Run) -> Run:
    """Write the run down, or find it begun before."""
    _, created = store.put_if_absent(RunKeys(run.id).run, encode(run), content_type="application/json")
    if created:
        return run
    begun = read_run(store, run.id)
    _require_same(begun, run)
    return begun


def _require_same(stored: Run, wanted: Run) -> None:
    if stored.recipe_digest != wanted.recipe_digest:
        raise RunConflict(f"run {stored.id!r} exists already with another recipe; choose another --run-id")


def _write_plan(
    store: Store,
    recipe: Recipe,
    run: Run,
    rows: Iterator[Row],
    skipped: SkippedTally,
    *,
    strict: bool,
    progress: Progress | None,
) -> None:
    """Plan row by row, write shards as they fill, and seal the plan last."""
    planner, refused = Planner(run), _RefusedRows(store, run.id)
    shards = _shards(planner, Expander(recipe, run), Intake(store).take(rows), refused, strict=strict)
    for _ in in_order(lambda shard: _write_shard(store, run, shard), shards, threads=UPLOADS, ahead=UPLOADS):
        if progress:
            progress(planner.plan())
    refused.flush()
    plan = msgspec.structs.replace(planner.plan(), skipped=skipped.found())
    store.put_if_absent(RunKeys(run.id).sealed, encode(plan), content_type="application/json")


def _shards(
    planner: Planner, expander: Expander, rows: Iterator[Taken], refused: "_RefusedRows", *, strict: bool
) -> Iterator[Shard]:
    """The plan's shards as rows fill them. Raises the first RowError when `strict`."""
    for taken in rows:
        try:
            _plan_row(planner, expander, taken)
        except RowError as error:
            if strict:
                raise
            refused.add(planner.refuse(error))
        if planner.has_shard:
            yield from planner.shards()
    yield from planner.shards(last=True)


def _plan_row(planner: Planner, expander: Expander, taken: Taken) -> None:
    """Add a row's source and items to the plan. Raises RowError before anything is added."""
    if taken.error or taken.source is None:
        raise taken.error or RowError("no source", place=taken.row.place)
    source, row = taken.source, taken.row
    known = None if row.control else planner.number_of(source)
    number = planner.next_source if known is None and not row.control else known
    items = expander.items(row, source, number)
    planner.require_new(items, row.place)
    if known is None and not row.control:
        planner.add_source(source)
    planner.add_items(items)


def _write_shard(store: Store, run: Run, shard: Shard) -> None:
    key = RunKeys(run.id).shard(shard.stage, shard.number)
    content = encode_shard(shard.header, shard.rows)
    stored, created = store.put_if_absent(key, content, content_type="application/x-ndjson")
    if not created and stored.sha256 != sha256(content):
        raise RunConflict(
            f"run {run.id!r}: its sources have changed since it was first submitted; choose another --run-id"
        )


class _RefusedRows:
    """Bad rows on their way to storage, in slices."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._keys = RunKeys(run_id)
        self._rows: list[RefusedRow] = []
        self._written = 0

    def add(self, row: RefusedRow) -> None:
        self._rows.append(row)
        if len(self._rows) >= SHARD_ROWS:
            self.flush()

    def flush(self) -> None:
        if not self._rows:
            return
        content = msgspec.json.Encoder().encode_lines(self._rows)
        self._store.put(self._keys.refused(self._written), content, content_type="application/x-ndjson")
        self._rows, self._written = [], self._written + 1

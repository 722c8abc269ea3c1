"""Submits a recipe: the one way by which a run comes into being. Safe to repeat with the same run id."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys, checked_run_id
from posemill.contract.records import SHARD_ROWS, Plan, RefusedRow, Run, encode, encode_shard
from posemill.errors import NothingToDo, PosemillError, RecipeError, RowError, RunConflict
from posemill.queue.celery_app import make_app
from posemill.queue.dispatcher import Dispatcher
from posemill.queue.ledger import Ledger
from posemill.queue.opening import open_services
from posemill.queue.rebuild import know_as_stored
from posemill.settings import Settings, load_settings
from posemill.storage.run_documents import read_run
from posemill.storage.store import Store
from producer.recipes.recipe import Recipe
from producer.recipes.recipe_checks import require_no_text, require_prompts, templates_of
from producer.recipes.resolving import OpenedRecipe, new_run_id, open_recipe
from producer.runs.handle import RunHandle
from producer.runs.source_changes import UNCHANGED, SourceChanges
from producer.runs.turns import submitting
from producer.sources.finding import find_rows
from producer.sources.intake import Intake
from producer.sources.rows import Row
from producer.sources.scanning import SkippedTally
from producer.submitting.comparing import source_changes
from producer.submitting.nothing_stored import NothingStored
from producer.submitting.planning import Expander, Planner, Shard, plan_rows
from producer.submitting.streaming import in_order

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
    """Submit a recipe and give a handle on its run; producer/api.py says what it takes and raises."""
    settings = settings or load_settings()
    opened = open_recipe(recipe, overrides)
    checked, folder = opened.recipe, opened.folder
    templates_of(checked)
    store, ledger = open_services(settings)
    run_id = checked_run_id(run_id) if run_id else new_run_id(checked.name)
    changes = UNCHANGED
    with submitting(store, run_id):
        if store.head(RunKeys(run_id).sealed) is None:
            run = _begun(store, opened.as_run(run_id))
            if strict:
                _require_good_rows(checked, run, asked_rows(checked, folder, store, settings, SkippedTally()))
            skipped = SkippedTally()
            rows = asked_rows(checked, folder, store, settings, skipped)
            _write_plan(store, checked, run, rows, skipped, strict=strict, progress=progress)
        else:
            sealed = read_run(store, run_id)
            _require_same(sealed, opened.as_run(run_id))
            changes = _changes_since(store, opened, sealed, settings)
            if changes and strict:
                raise RunConflict(f"run {run_id!r}: {changes.words}; choose another --run-id")
        announce_run(store, ledger, run_id, settings)
    return RunHandle(run_id, store=store, ledger=ledger, changes=changes)


def announce_run(store: Store, ledger: Ledger, run_id: str, settings: Settings) -> None:
    """Make a sealed run known to the ledger and send its first messages."""
    know_as_stored(store, ledger, run_id)
    app = make_app(settings.redis_url.get_secret_value())
    try:
        Dispatcher(store, ledger, app, settings).tick()
    finally:
        app.close()


def peeked(rows: Iterator[Row], sources: str, skipped: SkippedTally) -> Iterator[Row]:
    """The same rows; raises NothingToDo when there is none, and RecipeError when they cannot be read."""
    try:
        first = next(rows, None)
    except OSError as error:
        raise RecipeError(f"sources: {sources[:200]!r} cannot be read ({error.strerror or error})") from error
    if first is None:
        passed_over = ", ".join(f"{one.count} {one.reason} ({one.first})" for one in skipped.found())
        raise NothingToDo(
            f"sources: nothing to read in {sources!r}" + (f"; skipped: {passed_over}" * bool(passed_over))
        )
    return itertools.chain([first], rows)


def rows_of(
    recipe: Recipe, folder: Path, store: Store | None, settings: Settings, skipped: SkippedTally
) -> Iterator[Row]:
    """The recipe's rows, at least one; prompts are checked before anything is read."""
    named = {name for template in templates_of(recipe) for name in template.columns}
    poses = any(detector.detector == "keypoints" for detector in (recipe.detect, *recipe.controls))
    require_no_text(recipe.sources, folder, poses=poses)
    found = find_rows(recipe.sources, folder, settings, poses=poses, store=store, skipped=skipped, named=named)
    return peeked(found, recipe.sources, skipped)


def asked_rows(
    recipe: Recipe, folder: Path, store: Store | None, settings: Settings, skipped: SkippedTally
) -> Iterator[Row]:
    """The recipe's rows to make images of. Raises RecipeError when it is the recipe's fault that none can be made."""
    return require_prompts(rows_of(recipe, folder, store, settings, skipped), recipe, templates_of(recipe))


def _begun(store: Store, run: Run) -> Run:
    """The run as an earlier submission wrote it down, with the revisions of then; or as it is now."""
    if store.head(RunKeys(run.id).run) is None:
        return run
    begun = read_run(store, run.id)
    _require_same(begun, run)
    return begun


def _changes_since(store: Store, opened: OpenedRecipe, sealed: Run, settings: Settings) -> SourceChanges:
    """What the sources hold by now that the sealed run does not; they may be gone, and the run goes on all the same."""
    recipe = opened.recipe
    try:
        rows = asked_rows(recipe, opened.folder, store, settings, SkippedTally())
        taken = Intake(cast("Store", NothingStored())).take(rows)
        shards = plan_rows(Planner(sealed), Expander(recipe, sealed), taken, lambda row, error: None)
        return source_changes(store, sealed, shards)
    except PosemillError as error:
        return SourceChanges(unreadable=str(error))


def _begin(store: Store, run: Run) -> None:
    """Write the run down, unless that was done before."""
    _, created = store.put_if_absent(RunKeys(run.id).run, encode(run), content_type="application/json")
    if created:
        return
    begun = read_run(store, run.id)
    _require_same(begun, run)
    if (begun.detects, begun.generate, begun.slicing) != (run.detects, run.generate, run.slicing):
        raise RunConflict(f"run {run.id!r} is being submitted by somebody else; submit it again")


def _require_same(stored: Run, wanted: Run) -> None:
    if stored.recipe_digest != wanted.recipe_digest:
        raise RunConflict(f"run {stored.id!r} exists already with another recipe; choose another --run-id")


def _require_good_rows(recipe: Recipe, run: Run, rows: Iterator[Row]) -> None:
    """Raises the first RowError; a whole rehearsal, so that what is refused leaves nothing behind."""

    def refuse(row: RefusedRow, error: RowError) -> None:
        raise error

    taken = Intake(cast("Store", NothingStored())).take(rows)
    for _ in plan_rows(Planner(run), Expander(recipe, run), taken, refuse):
        pass


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
    """Plan row by row, write the run and its shards as they fill, and seal the plan last."""
    planner, refused = Planner(run), _RefusedRows(store, run.id)

    def refuse(row: RefusedRow, error: RowError) -> None:
        if strict:
            raise error
        refused.add(row)

    shards = plan_rows(planner, Expander(recipe, run), Intake(store).take(rows), refuse)
    first = next(shards, None)
    _begin(store, run)  # what is wrong with the recipe, or with the first rows of all, was said before this
    whole = itertools.chain([first] if first else [], shards)
    for _ in in_order(lambda shard: _write_shard(store, run, shard), whole, threads=UPLOADS, ahead=UPLOADS):
        if progress:
            progress(planner.plan())
    refused.flush()
    plan = msgspec.structs.replace(planner.plan(), skipped=skipped.found())
    store.put_if_absent(RunKeys(run.id).sealed, encode(plan), content_type="application/json")


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
        """Take a row along; a full slice is written."""
        self._rows.append(row)
        if len(self._rows) >= SHARD_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if not self._rows:
            return
        content = msgspec.json.Encoder().encode_lines(self._rows)
        self._store.put(self._keys.refused(self._written), content, content_type="application/x-ndjson")
        self._rows, self._written = [], self._written + 1

"""`submit --dry-run`: everything that a submission does, but for the writing."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec

from posemill.contract.keys import Stage
from posemill.contract.records import Item, RefusedRow, Run, SkippedFiles, Source
from posemill.errors import PosemillError, RowError
from posemill.settings import Settings, load_settings
from posemill.storage.store import Store, open_store
from producer.recipes.recipe import Recipe
from producer.recipes.recipe_checks import notes_on
from producer.recipes.resolving import open_recipe
from producer.sources.intake import Intake
from producer.sources.rows import Row
from producer.sources.scanning import SkippedTally
from producer.submitting.estimating import DeviceTime, device_time
from producer.submitting.nothing_stored import NothingStored
from producer.submitting.planning import Expander, Planner, plan_rows
from producer.submitting.submission import asked_rows

SHOWN = 5  # items, refused rows and repeated rows


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What a submission would do."""

    sources: int
    items: int
    batches: dict[Stage, int]
    refused_rows: int
    repeated_rows: int  # that bring nothing new
    repeated_items: int  # wanted again, and made once
    upload_bytes: int  # of local pictures; less where storage has some already
    notes: list[str]  # on the recipe: what counts once, what has no effect
    first_items: list[Item]
    first_sources: dict[int, str]  # names of the sources of these, by number
    first_refused: list[RefusedRow]
    first_repeated: list[str]  # places of rows
    skipped: tuple[SkippedFiles, ...] = ()
    device_time: DeviceTime | None = None  # where storage has an earlier run that tells

    @property
    def messages(self) -> int:
        """How many messages Redis will carry: one a batch."""
        return sum(self.batches.values())


def rehearse(
    recipe: str | Path | dict[str, Any],
    *,
    overrides: tuple[str, ...] = (),
    strict: bool = False,
    settings: Settings | None = None,
) -> Rehearsal:
    """Plan what a recipe would make. Storage is only asked for s3:// sources. Raises RecipeError, RowError (strict)."""
    opened, skipped = open_recipe(recipe, overrides), SkippedTally()
    checked = opened.recipe
    settings = settings or load_settings()
    has_store = bool(settings.store) or checked.sources.startswith("s3://")
    store = open_store(settings.store) if has_store else None
    run = opened.as_run("dry-run")
    found = _counted(asked_rows(checked, opened.folder, store, settings, skipped), checked, run, strict=strict)
    return msgspec.structs.replace(
        found, skipped=skipped.found(), device_time=_device_time(store if settings.store else None, run)
    )


def _device_time(store: Store | None, run: Run) -> DeviceTime | None:
    """None also where storage cannot be asked: a dry run needs no service."""
    try:
        return device_time(store, run) if store else None
    except PosemillError:
        return None


def _counted(rows: Iterator[Row], recipe: Recipe, run: Run, *, strict: bool) -> Rehearsal:
    planner, nothing = Planner(run), NothingStored()
    first_items: list[Item] = []
    first_sources: list[Source] = []
    first_refused: list[RefusedRow] = []

    def refuse(row: RefusedRow, error: RowError) -> None:
        if strict:
            raise error
        if len(first_refused) < SHOWN:
            first_refused.append(row)

    for shard in plan_rows(planner, Expander(recipe, run), Intake(cast("Store", nothing)).take(rows), refuse):
        shown: list[Any] = first_sources if shard.stage is Stage.DETECT else first_items
        shown += itertools.islice(shard.rows, SHOWN - len(shown))
    plan = planner.plan()
    return Rehearsal(
        sources=plan.sources,
        items=plan.items,
        batches=plan.batches,
        refused_rows=plan.refused_rows,
        repeated_rows=plan.repeated_rows,
        repeated_items=plan.repeated_items,
        upload_bytes=nothing.total_bytes,
        notes=notes_on(recipe),
        first_items=first_items,
        first_sources={number: source.name for number, source in enumerate(first_sources)},
        first_refused=first_refused,
        first_repeated=planner.first_repeated,
    )

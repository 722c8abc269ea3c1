"""`submit --dry-run`: reads and validates every row, counts, and writes nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from posemill.errors import RowError
from posemill.identity import digest, sha256
from posemill.names import Stage
from posemill.records import Item, RefusedRow, Run, SkippedFiles, Source
from posemill.settings import Settings, load_settings
from posemill.storage import open_store
from producer.planning import Expander
from producer.recipe import parse_recipe, read_recipe, recipe_folder
from producer.resolving import resolve
from producer.rows import Candidate, Row
from producer.scanning import SkippedTally
from producer.source_files import UnreadableFile, read_picture, require_picture
from producer.submission import rows_of

SHOWN = 5  # items and refused rows


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """What a submission would do."""

    sources: int
    items: int
    detect_batches: int
    generate_batches: int
    refused_rows: int
    first_items: list[Item]
    first_refused: list[RefusedRow]
    skipped: tuple[SkippedFiles, ...] = ()

    @property
    def messages(self) -> int:
        return self.detect_batches + self.generate_batches


def rehearse(
    recipe: str | Path | dict[str, Any], *, overrides: tuple[str, ...] = (), settings: Settings | None = None
) -> Rehearsal:
    """Count what a recipe would make. Storage is only asked for s3:// sources. Raises RecipeError."""
    values = read_recipe(recipe, overrides)
    checked = parse_recipe(values, where=str(recipe) if not isinstance(recipe, dict) else "recipe")
    settings = settings or load_settings()
    store = open_store(settings.store) if checked.sources.startswith("s3://") else None
    run = resolve(checked, values, "dry-run")
    skipped = SkippedTally()
    rows = rows_of(checked, recipe_folder(recipe), store, settings, skipped)
    return msgspec.structs.replace(_count(rows, Expander(checked, run), run), skipped=skipped.found())


def _count(rows: Iterator[Row], expander: Expander, run: Run) -> Rehearsal:
    items = refused_rows = 0
    sources: dict[str, int] = {}  # their numbers
    first_items: list[Item] = []
    first_refused: list[RefusedRow] = []
    for row in rows:
        try:
            items += _count_row(row, expander, sources, first_items)
        except RowError as error:
            refused_rows += 1
            if len(first_refused) < SHOWN:
                first_refused.append(RefusedRow(place=error.place, message=str(error)))
    return Rehearsal(
        sources=len(sources),
        items=items,
        detect_batches=run.slicing[Stage.DETECT].batches(len(sources)),
        generate_batches=run.slicing[Stage.GENERATE].batches(items),
        refused_rows=refused_rows,
        first_items=first_items,
        first_refused=first_refused,
    )


def _count_row(row: Row, expander: Expander, sources: dict[str, int], first_items: list[Item]) -> int:
    candidate = row.source or row.control
    if row.error or candidate is None:
        raise row.error or RowError("no source", place=row.place)
    _require_readable(candidate, row.place)
    count = expander.count(row)
    address = digest(str(candidate.path), candidate.uri, candidate.pose)
    number = sources.setdefault(address, len(sources)) if row.source else None
    if len(first_items) < SHOWN:
        first_items += expander.items(row, _source(candidate), number)[: SHOWN - len(first_items)]
    return count


def _require_readable(candidate: Candidate, place: str) -> None:
    try:
        if candidate.path:
            require_picture(candidate.path, candidate.folders)
    except UnreadableFile as error:
        raise RowError(str(error), place=place) from error


def _source(candidate: Candidate) -> Source:
    if candidate.path:
        return Source(name=candidate.name, identity=sha256(read_picture(candidate.path, candidate.folders)))
    if candidate.uri:
        return Source(name=candidate.name, identity=f"{candidate.uri}#{candidate.etag}".rstrip("#"))
    return Source(name=candidate.name, identity=digest("pose", candidate.pose))

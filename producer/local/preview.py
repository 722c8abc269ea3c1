"""A preview: the control images of a few of a recipe's sources, made on this machine and shown beside them."""

import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from posemill.contract.records import Run, Source, decode_lines, encode
from posemill.errors import BadInput, NotFound, PosemillError, RecipeError, RunFault, TransientError
from posemill.pictures.decoding import SUFFIXES as PICTURES
from posemill.pictures.decoding import PictureError, decode_picture
from posemill.pictures.preview_files import MADE, RUN, SOURCES, PreviewControl
from posemill.processes.own_modules import module_command
from posemill.settings import Settings, load_settings
from posemill.storage.store import Store, open_store
from posemill.storage.urls import fetch
from producer.recipes.resolving import open_recipe
from producer.sheets.lettering import counted
from producer.sheets.sampling import even_sample
from producer.sheets.sheet_picture import Cell, CellRow, draw_sheet
from producer.sources.rows import Candidate, Row
from producer.sources.scanning import SkippedTally
from producer.sources.source_files import read_picture
from producer.submitting.submission import rows_of

SHEET = "contact_sheet.png"
NOTHING = "nothing.png"  # stands for a control image that there is none of
OURS = "preview.json"  # marks a folder that a preview may clear


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a preview made."""

    contact_sheet: str
    sources: list[str]  # their names
    controls: list[PreviewControl]


def preview(
    recipe: str | Path | dict[str, Any],
    destination: Path,
    *,
    count: int = 8,
    overrides: tuple[str, ...] = (),
    settings: Settings | None = None,
) -> Preview:
    """Make the control images of an even sample of a recipe's sources, in a process with the workers' libraries.

    Args:
        recipe: A YAML file, or a mapping with the same keys.
        destination: Where the contact sheet and the control images go; an earlier preview there is replaced.
        count: How many sources.
        overrides: `KEY=VALUE` each, in place of what the recipe says.
        settings: Where storage is, for `s3://` sources alone; the environment's by default. Redis is not needed.

    Returns:
        The contact sheet's path, the sources, and what became of each control of each.

    Raises:
        RecipeError: The recipe cannot be run as it is written, or the destination holds something else.
        RunFault: The workers' libraries (`posemill[workers]`) or a model are missing.
    """
    settings = settings or load_settings()
    opened = open_recipe(recipe, overrides)
    run = opened.as_run("preview")
    _clear(destination)
    store = open_store(settings.store) if settings.store else None
    rows = rows_of(opened.recipe, opened.folder, store, settings, SkippedTally())
    shown = even_sample((row for row in rows if row.source or row.error), count)
    if not shown:
        raise RecipeError("sources: none needs a control image made")
    taken = [_taken(number, row, destination, store, settings) for number, row in enumerate(shown)]
    controls = _made(run, taken, destination)
    sheet = _draw(destination, taken, controls, title=f"Preview of {run.name}")
    names = [one.source.name for one in taken]
    return Preview(contact_sheet=str(sheet), sources=names, controls=controls)


def _clear(destination: Path) -> None:
    """An empty folder; what an earlier preview left goes, anything else is refused."""
    if destination.exists() and any(destination.iterdir()):
        if not (destination / OURS).is_file():
            raise RecipeError(f"{destination} holds files that are no preview; choose another folder with --out")
        shutil.rmtree(destination)
    destination.mkdir(parents=True, exist_ok=True)
    (destination / OURS).write_text("{}\n")


class _PreviewSource(msgspec.Struct, frozen=True, kw_only=True):
    """A row's source, whose content is a file of the folder; an empty one where there is an error."""

    source: Source
    error: PosemillError | None = None


def _taken(number: int, row: Row, folder: Path, store: Store | None, settings: Settings) -> _PreviewSource:
    candidate = row.source or Candidate(name=row.place)
    suffix = Path(candidate.name).suffix.lower()
    key = f"{number:04d}-source{suffix if suffix in PICTURES else ''}"
    source = Source(name=candidate.name, identity="", key=key, pose=candidate.pose)
    content: bytes = b""
    error: PosemillError | None = row.error
    if error is None:
        content, error = _content(candidate, store, settings)
    (folder / key).write_bytes(content)
    return _PreviewSource(source=source, error=error)


def _content(candidate: Candidate, store: Store | None, settings: Settings) -> tuple[bytes, PosemillError | None]:
    """What the candidate names, or why it cannot be read."""
    uri = candidate.uri or ""
    if uri.startswith("s3://") and store is None:
        raise RecipeError(f"{uri} can only be read with storage at hand; set POSEMILL_STORE")
    try:
        if candidate.pose is not None:
            return msgspec.json.encode(candidate.pose), None
        if candidate.path is not None:
            return read_picture(candidate.path, candidate.folders), None
        return store.get_uri(uri) if store and uri.startswith("s3://") else fetch(uri, settings.hosts), None
    except (BadInput, NotFound, TransientError) as error:
        return b"", error


def _made(run: Run, taken: list[_PreviewSource], folder: Path) -> list[PreviewControl]:
    """What the workers' process makes of the sources."""
    (folder / RUN).write_bytes(encode(run))
    (folder / SOURCES).write_bytes(msgspec.json.Encoder().encode_lines([one.source for one in taken]))
    command = module_command("workers.preview_process", str(folder.resolve()))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise RunFault(f"the preview cannot be made: {why[0]}")
    made = decode_lines((folder / MADE).read_bytes(), PreviewControl)
    return [_with_reason(control, taken[control.source_number].error) for control in made]


def _with_reason(control: PreviewControl, error: PosemillError | None) -> PreviewControl:
    return msgspec.structs.replace(control, reason=error.code, message=str(error)) if error else control


def _draw(folder: Path, taken: list[_PreviewSource], controls: list[PreviewControl], *, title: str) -> Path:
    """A row for each source: itself, then its control images, or why there is none."""
    Image.new("RGB", (256, 256), "#e4e1db").save(folder / NOTHING)
    rows = []
    for number, one in enumerate(taken):
        cells = [_cell(folder, control) for control in controls if control.source_number == number]
        rows.append(CellRow(inputs=(_source_cell(folder, one),), images=tuple(cells)))
    rejected = sum(bool(control.reason) for control in controls)
    subtitle = f"{counted(len(controls) - rejected, 'control image')} of {counted(len(taken), 'source')}"
    subtitle += f"; {rejected} cannot be made" if rejected else ""
    path = folder / SHEET
    draw_sheet(rows, title=title, subtitle=subtitle, footer="").save(path)
    return path


def _source_cell(folder: Path, taken: _PreviewSource) -> Cell:
    """The source; a grey cell with the reason for one that is no picture."""
    source, error = taken.source, taken.error
    if source.pose is not None:
        return Cell(path=folder / NOTHING, caption=source.name, note="a pose")
    path = folder / str(source.key)
    try:
        if error is None:
            decode_picture(path.read_bytes(), largest_aspect=math.inf)
            return Cell(path=path, caption=source.name, note="source")
    except PictureError as unusable:
        error = unusable
    return Cell(path=folder / NOTHING, caption=f"{source.name}: {error}", note=error.code)


def _cell(folder: Path, control: PreviewControl) -> Cell:
    if control.reason:
        return Cell(path=folder / NOTHING, caption=f"{control.kind}: {control.reason}", note=control.message)
    return Cell(path=folder / control.file, caption=control.kind, note=control.detector)

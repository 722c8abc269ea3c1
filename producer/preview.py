"""A preview: the control images of a recipe's first sources, made on this machine and shown beside them."""

import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image, UnidentifiedImageError

from posemill.errors import RecipeError, RunFault
from posemill.preview import MADE, RUN, SOURCES, PreviewControl
from posemill.records import Run, Source, decode_lines, encode
from posemill.settings import Settings
from posemill.storage import Store, open_store
from posemill.web import fetch
from producer.lettering import counted
from producer.recipe import parse_recipe, read_recipe, recipe_folder
from producer.resolving import resolve
from producer.rows import Candidate
from producer.sheet_picture import Cell, CellRow, draw_sheet
from producer.submission import rows_of

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
    """Make the control images of the first `count` sources that can be read, in a process with the workers' libraries.

    Redis is not needed, storage for s3:// sources alone. Raises RecipeError and RunFault.
    """
    settings = settings or Settings()
    values = read_recipe(recipe, overrides)
    checked = parse_recipe(values, where=str(recipe) if not isinstance(recipe, dict) else "recipe")
    run = resolve(checked, values, "preview", recipe_folder(recipe))
    _clear(destination)
    store = open_store(settings.store) if settings.store else None
    rows = rows_of(checked, recipe_folder(recipe), store, settings.hosts)
    candidates = (row.source for row in rows if row.source and not row.error)
    sources = list(_taken(itertools.islice(candidates, count), destination, store, settings))
    if not sources:
        raise RecipeError("sources: none needs a control image made")
    controls = _made(run, sources, destination)
    sheet = _draw(destination, sources, controls, title=f"Preview of {run.name}")
    names = [source.name for source in sources]
    return Preview(contact_sheet=str(sheet), sources=names, controls=controls)


def _clear(destination: Path) -> None:
    """An empty folder; what an earlier preview left goes, anything else is refused."""
    if destination.exists() and any(destination.iterdir()):
        if not (destination / OURS).is_file():
            raise RecipeError(f"{destination} holds files that are no preview; choose another folder with --out")
        shutil.rmtree(destination)
    destination.mkdir(parents=True, exist_ok=True)
    (destination / OURS).write_text("{}\n")


def _taken(candidates: Iterator[Candidate], folder: Path, store: Store | None, settings: Settings) -> Iterator[Source]:
    """The sources' content, as files of the folder."""
    for number, candidate in enumerate(candidates):
        key = f"{number:04d}-source{Path(candidate.name).suffix if candidate.pose is None else '.json'}"
        (folder / key).write_bytes(_content(candidate, store, settings))
        yield Source(name=candidate.name, identity="", key=key, pose=candidate.pose)


def _content(candidate: Candidate, store: Store | None, settings: Settings) -> bytes:
    if candidate.pose is not None:
        return msgspec.json.encode(candidate.pose)
    if candidate.path is not None:
        return candidate.path.read_bytes()
    uri = candidate.uri or ""
    if not uri.startswith("s3://"):
        return fetch(uri, settings.hosts)
    if store is None:
        raise RecipeError(f"{uri} can only be read with storage at hand; set POSEMILL_STORE")
    return store.get_uri(uri)


def _made(run: Run, sources: list[Source], folder: Path) -> list[PreviewControl]:
    """What the workers' process makes of the sources."""
    (folder / RUN).write_bytes(encode(run))
    (folder / SOURCES).write_bytes(msgspec.json.Encoder().encode_lines(sources))
    command = [sys.executable, "-m", "workers.preview", str(folder.resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        why = done.stderr.strip().splitlines()[-1:] or [f"it ended with {done.returncode}"]
        raise RunFault(f"the preview cannot be made: {why[0]}")
    return list(decode_lines((folder / MADE).read_bytes(), PreviewControl))


def _draw(folder: Path, sources: list[Source], controls: list[PreviewControl], *, title: str) -> Path:
    """A row for each source: itself, then its control images, or why there is none."""
    Image.new("RGB", (256, 256), "#e4e1db").save(folder / NOTHING)
    rows = []
    for number, source in enumerate(sources):
        cells = [_cell(folder, control) for control in controls if control.source == number]
        picture = Cell(path=_shown(folder / (source.key or "")), caption=source.name, note="source")
        rows.append(CellRow(inputs=(picture,), images=tuple(cells)))
    rejected = sum(bool(control.reason) for control in controls)
    subtitle = f"{counted(len(controls) - rejected, 'control image')} of {counted(len(sources), 'source')}"
    subtitle += f"; {rejected} cannot be made" if rejected else ""
    path = folder / SHEET
    draw_sheet(rows, title=title, subtitle=subtitle, footer="").save(path)
    return path


def _cell(folder: Path, control: PreviewControl) -> Cell:
    if control.reason:
        return Cell(path=folder / NOTHING, caption=f"{control.kind}: {control.reason}", note=control.message)
    return Cell(path=folder / control.file, caption=control.kind, note=control.detector)


def _shown(path: Path) -> Path:
    """The picture, or what stands for a source that is none."""
    try:
        with Image.open(path) as picture:
            picture.verify()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError):
        return path.with_name(NOTHING)
    return path

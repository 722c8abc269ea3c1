"""A run at a glance: contact_sheet.png and contact_sheet.html show sources, poses and images side by side."""

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from producer.lettering import counted
from producer.sheet_picture import Cell, CellRow, draw_sheet
from producer.thumbnails import thumbnail

PNG_ROWS, PNG_IMAGES = 24, 8
HTML_ROWS, HTML_IMAGES = 200, 24  # some ten kilobytes each
HTML_THUMBNAIL_HEIGHT = 384  # half again the height shown, for dense screens


@dataclass(frozen=True, kw_only=True)
class SheetImage:
    path: Path
    prompt: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class SheetControl:
    path: Path
    kind: str  # openpose, canny, …


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    title: str
    source: Path | None  # None when the row came with a control image of its own
    controls: tuple[SheetControl, ...]
    images: tuple[SheetImage, ...]


def write_contact_sheet(rows: Sequence[SheetRow], *, folder: Path, title: str, subtitle: str) -> tuple[Path, Path]:
    """Writes both into the folder and returns their paths: the picture, then the page.

    Long runs are shown in part, and both say how much they leave out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    picture_path, page_path = folder / "contact_sheet.png", folder / "contact_sheet.html"
    shown, left_out = limited(rows, most_rows=PNG_ROWS, most_images=PNG_IMAGES)
    cells = [_cells(row) for row in shown]
    draw_sheet(cells, title=title, subtitle=subtitle, footer=left_out).save(picture_path)
    page_path.write_text(render_page(rows, title=title, subtitle=subtitle), encoding="utf-8")
    return picture_path, page_path


def render_page(rows: Sequence[SheetRow], *, title: str, subtitle: str) -> str:
    """One page that needs nothing else: pictures inside, no script, no network."""
    shown, left_out = limited(rows, most_rows=HTML_ROWS, most_images=HTML_IMAGES)
    environment = Environment(
        loader=PackageLoader("producer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"picture": _picture_tag, "control_word": control_word}
    template = environment.get_template("contact_sheet.html.j2")
    return template.render(title=title, subtitle=subtitle, rows=shown, left_out=left_out)


def control_word(kind: str) -> str:
    """What people call a kind of control image."""
    return "pose" if kind == "openpose" else kind


def limited(rows: Sequence[SheetRow], *, most_rows: int, most_images: int) -> tuple[list[SheetRow], str]:
    """The rows that fit, and a sentence about those that do not; empty when all do."""
    shown = [
        SheetRow(title=row.title, source=row.source, controls=row.controls, images=row.images[:most_images])
        for row in rows[:most_rows]
    ]
    rows_left_out = len(rows) - len(shown)
    images_left_out = sum(len(row.images) for row in rows) - sum(len(row.images) for row in shown)
    if not rows_left_out and not images_left_out:
        return shown, ""
    return shown, f"Not shown: {counted(rows_left_out, 'row')} and {counted(images_left_out, 'image')} in all."


def _cells(row: SheetRow) -> CellRow:
    images = [Cell(path=image.path, caption=image.prompt, note=f"seed {image.seed}") for image in row.images]
    return CellRow(inputs=_input_cells(row), images=tuple(images))


def _input_cells(row: SheetRow) -> tuple[Cell, ...]:
    """The row's title stands below the first of them."""
    if row.source is None:
        first, *more = row.controls
        return (Cell(path=first.path, caption=row.title, note=control_word(first.kind)), *_control_cells(more))
    return (Cell(path=row.source, caption=row.title, note="source"), *_control_cells(row.controls))


def _control_cells(controls: Sequence[SheetControl]) -> list[Cell]:
    return [Cell(path=control.path, caption=control_word(control.kind), note="") for control in controls]


def _picture_tag(path: Path, alternative: str) -> Markup:
    picture = thumbnail(path, height=HTML_THUMBNAIL_HEIGHT)
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=82)
    address = f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
    return Markup('<img src="{}" width="{}" height="{}" alt="{}">').format(
        address, picture.width, picture.height, alternative
    )

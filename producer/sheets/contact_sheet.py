"""A run at a glance: contact_sheet.png and contact_sheet.html show sources, poses and images side by side."""

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from jinja2 import Environment
from PIL import Image

from posemill.pictures.poses import Pose
from producer.sheets.lettering import counted
from producer.sheets.pages import environment, script_digest
from producer.sheets.sampling import even_places
from producer.sheets.sheet_picture import Cell, CellRow, draw_sheet
from producer.sheets.skeletons import pose_overlay
from producer.sheets.thumbnails import thumbnail

PNG_LINES = 24  # of images; the fewer prompts a source has, the more sources are shown
PNG_IMAGES = 6  # of a prompt
EMBEDDED_HEIGHT = 512  # pixels; some 30 kilobytes each
SQUARE = 1.0


@dataclass(frozen=True, kw_only=True)
class SheetImage:
    """A generated image on a sheet."""

    path: Path | None  # None: there is no image, and the note says why
    prompt: str
    seed: int
    note: str = ""
    file: str = ""  # where it lies, beside the page
    file_word: str = "file"
    facts: str = ""  # what its judges said
    pose: Pose | None = None  # that a judge found in it, laid over it
    tries: tuple[Path, ...] = ()  # images of the same item that did not pass

    @property
    def words(self) -> str:
        """Seed and facts."""
        return " · ".join(filter(None, [f"seed {self.seed}", self.facts]))


@dataclass(frozen=True, kw_only=True)
class SheetLine:
    """The images of one prompt."""

    images: tuple[SheetImage, ...]
    total: int  # of which these are the first

    @property
    def prompt(self) -> str:
        """The prompt that its images share."""
        return self.images[0].prompt

    @property
    def left_out(self) -> str:
        """How many images of the line are not shown, in words; nothing when all are."""
        return f"the first {len(self.images)} of {self.total:,}" if len(self.images) < self.total else ""


@dataclass(frozen=True, kw_only=True)
class SheetControl:
    """A control image on a sheet."""

    path: Path
    kind: str  # openpose, canny, …
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class SheetRow:
    """A source on a sheet, with all that was made of it."""

    title: str
    source: Path | None  # None when the row came with a control image of its own
    controls: tuple[SheetControl, ...]
    lines: tuple[SheetLine, ...]
    prompts: int  # of which these lines are an even sample
    facts: str = ""  # how many people, and how surely found
    pose: Pose | None = None  # laid over the source
    file: str = ""

    @property
    def left_out(self) -> str:
        """How many lines of the row are not shown, in words; nothing when all are."""
        return _share(len(self.lines), self.prompts, "prompt")

    @property
    def most_seeds(self) -> int:
        """The largest number of images in one of its lines."""
        return max((len(line.images) for line in self.lines), default=1)

    @property
    def shape(self) -> float:
        """Of its images, width to height."""
        paths = [image.path for line in self.lines for image in line.images if image.path]
        return _shape(paths[0]) if paths else SQUARE


@dataclass(frozen=True, kw_only=True)
class UnusedSource:
    """A source of which nothing was made, and why."""

    title: str
    path: Path | None  # None: it cannot be shown


@dataclass(frozen=True, kw_only=True)
class UnusedSources:
    """Sources that gave no image, for one reason."""

    reason: str
    sources: tuple[UnusedSource, ...]
    total: int  # of which these are an even sample

    @property
    def counted(self) -> str:
        """The reason with its number of sources."""
        return _share(len(self.sources), self.total, "source") or counted(self.total, "source")


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """All that a contact sheet shows."""

    title: str
    subtitle: str
    rows: tuple[SheetRow, ...]
    total: int  # of which the rows are an even sample
    unused: tuple[UnusedSources, ...] = ()

    @property
    def has_poses(self) -> bool:
        """Whether a pose is laid over any picture."""
        images = (image for row in self.rows for line in row.lines for image in line.images)
        return any(row.pose for row in self.rows) or any(image.pose for image in images)

    @property
    def shown(self) -> str:
        """How much of the run the sheet shows, in words."""
        return _share(len(self.rows), self.total, "source")


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """A picture inside the page."""

    address: str
    width: int
    height: int

    @property
    def shape(self) -> float:
        """Width over height."""
        return round(self.width / self.height, 4)


def write_contact_sheet(sheet: Sheet, folder: Path) -> tuple[Path, Path]:
    """Writes both into the folder and returns their paths: the picture, then the page.

    Long runs are shown in part, and both say so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    picture_path, page_path = folder / "contact_sheet.png", folder / "contact_sheet.html"
    draw_contact_sheet(sheet).save(picture_path)
    page_path.write_text(render_page(sheet), encoding="utf-8")
    return picture_path, page_path


def draw_contact_sheet(sheet: Sheet) -> Image.Image:
    """The picture: as many sources as give two dozen lines of images."""
    most_lines = max((len(row.lines) for row in sheet.rows), default=1)
    part = sampled(sheet, most_rows=max(3, PNG_LINES // max(1, most_lines)))
    rows = [cells for row in part.rows for cells in _cells(row)]
    return draw_sheet(rows, title=sheet.title, subtitle=sheet.subtitle, footer=_footer(part))


def render_page(sheet: Sheet) -> str:
    """One page that needs nothing else: pictures inside, one small script of its own, no network."""
    template = picture_environment().get_template("contact_sheet.html.j2")
    return template.render(sheet=sheet, has_poses=sheet.has_poses, script_digest=script_digest())


def sampled(sheet: Sheet, *, most_rows: int) -> Sheet:
    """The same with fewer sources, evenly taken."""
    return replace(sheet, rows=tuple(sheet.rows[place] for place in even_places(len(sheet.rows), most_rows)))


def control_word(kind: str) -> str:
    """What people call a kind of control image."""
    return "pose" if kind == "openpose" else kind


def embedded(path: Path) -> Embedded:
    """A picture's file as an address that holds its bytes."""
    picture = thumbnail(path, height=EMBEDDED_HEIGHT, enlarge=False)
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=82)
    address = f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"
    return Embedded(address=address, width=picture.width, height=picture.height)


@cache
def picture_environment() -> Environment:
    """Templates that show pictures."""
    found = environment().overlay()
    found.filters = {
        **found.filters,
        "embedded": embedded,
        "control_word": control_word,
        "overlay": _overlay,
        "thin_overlay": _thin_overlay,
    }
    return found


def _overlay(pose: Pose | None) -> str:
    return pose_overlay(pose) if pose else ""


def _thin_overlay(pose: Pose | None) -> str:
    return pose_overlay(pose, kind="thin") if pose else ""


def _share(shown: int, total: int, noun: str) -> str:
    """How many of all are shown; nothing when all are."""
    return f"{shown:,} of {counted(total, noun)}, sampled evenly" if shown < total else ""


def _footer(sheet: Sheet) -> str:
    unused = ", ".join(f"{group.reason} ({group.total:,})" for group in sheet.unused)
    return ". ".join(filter(None, [sheet.shown, f"Not used: {unused}" if unused else ""]))


def _shape(path: Path) -> float:
    with Image.open(path) as picture:
        return round(picture.width / picture.height, 4)


def _cells(row: SheetRow) -> list[CellRow]:
    """A row of cells for each prompt; the first has the inputs."""
    lines = [
        CellRow(inputs=(), images=tuple(_image_cell(image) for image in line.images[:PNG_IMAGES]), heading=line.prompt)
        for line in row.lines
    ]
    first = lines[0] if lines else CellRow(inputs=(), images=())
    return [replace(first, inputs=_input_cells(row)), *lines[1:]]


def _image_cell(image: SheetImage) -> Cell:
    return Cell(
        path=image.path,
        caption="",
        note=image.words if image.path else image.note,
        pose=image.pose,
        thin=True,
        tries=image.tries,
    )


def _input_cells(row: SheetRow) -> tuple[Cell, ...]:
    """The row's title stands below the first of them."""
    if row.source is None:
        first, *more = row.controls
        return (Cell(path=first.path, caption=row.title, note=control_word(first.kind)), *_control_cells(more))
    source = Cell(path=row.source, caption=row.title, note=row.facts or "source", pose=row.pose)
    return (source, *_control_cells(row.controls))


def _control_cells(controls: Sequence[SheetControl]) -> list[Cell]:
    return [Cell(path=control.path, caption=control_word(control.kind), note="") for control in controls]

"""The contact sheet as one picture: inputs in a column on the left, images in even rows under their prompts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

from posemill.pictures.poses import Pose
from producer.sheets.lettering import font_for, wrapped
from producer.sheets.skeletons import draw_pose
from producer.sheets.thumbnails import thumbnail

CELL_HEIGHT = 200
WIDEST_IMAGE, WIDEST_INPUT = 1.6, 1.0  # width to height of the room for a picture; a wider one is fitted in
NARROWEST_CELL = 128  # so that the words under a tall picture stay readable
MOST_INPUT_COLUMNS = 2
SHEET_WIDTH = 1600  # as wide as prompts are laid side by side
NARROWEST_SHEET = 720
MARGIN = 48
GAP, BLOCK_GAP = 14, 36  # between pictures, between prompts
SECTION_GAP = 34
RULE_SPACE = 28  # on either side of the rule between inputs and images
HEADER_SPACE = 28
WORDS_SPACE = 8  # between a picture and its words
CORNER_RADIUS = 8
TRY_HEIGHT, TRY_INSET, MOST_TRIES = 54, 6, 3
TITLE_SIZE, SUBTITLE_SIZE, CAPTION_SIZE, NOTE_SIZE = 34, 17, 16, 14
LEADING = 1.32  # line height, in sizes of the font

PAPER, FRAME, RULE = "#fbfaf8", "#dedbd5", "#e4e1db"
REJECTED = "#c2571a"  # around what did not pass
INK, FAINT_INK = "#26241f", "#6d685f"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A picture of a sheet, with what stands below it."""

    path: Path | None  # None: there is no picture, and the note says why
    caption: str
    note: str  # fainter
    pose: Pose | None = None  # laid over the picture
    thin: bool = False  # so that the picture beneath is seen
    tries: tuple[Path, ...] = ()  # pictures that did not pass, small beside it


@dataclass(frozen=True, kw_only=True)
class CellRow:
    """Images of one prompt. A row without inputs goes on with those of the row above it."""

    inputs: tuple[Cell, ...]
    images: tuple[Cell, ...]
    heading: str = ""  # over the images


@dataclass(frozen=True, kw_only=True)
class _Line:
    text: str
    size: int
    colour: str

    @property
    def height(self) -> int:
        """Pixels that the line takes."""
        return round(self.size * LEADING)


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Something to be drawn at its place: a picture, or lines of text."""

    left: int
    top: int
    picture: Image.Image | None = None
    lines: tuple[_Line, ...] = ()

    @property
    def bottom(self) -> int:
        """Pixels from the top to its lower edge."""
        return self.top + (self.picture.height if self.picture else _height(self.lines))

    @property
    def right(self) -> int:
        """Pixels from the left to its right edge."""
        return self.left + (self.picture.width if self.picture else 0)

    def moved(self, left: int, top: int) -> "_Piece":
        """The same piece, further to the right."""
        return _Piece(left=self.left + left, top=self.top + top, picture=self.picture, lines=self.lines)


_Block = tuple[_Piece, ...]  # around an origin of its own


def draw_sheet(rows: Sequence[CellRow], *, title: str, subtitle: str, footer: str) -> Image.Image:
    """The footer may be empty."""
    input_columns = min(MOST_INPUT_COLUMNS, max((len(row.inputs) for row in rows), default=1))
    images_left = MARGIN + input_columns * (CELL_HEIGHT + GAP) - GAP + 2 * RULE_SPACE
    sections = [_section(each, input_columns, images_left) for each in _grouped(rows)]
    width = max([NARROWEST_SHEET - MARGIN, *(piece.right for section in sections for piece in section)]) + MARGIN
    header = _texts((title, TITLE_SIZE, INK), (subtitle, SUBTITLE_SIZE, FAINT_INK), width=width - 2 * MARGIN)
    ending = _texts((footer, NOTE_SIZE, FAINT_INK), width=width - 2 * MARGIN)
    tops = _stacked(sections, first=MARGIN + _height(header) + HEADER_SPACE)
    bottom = tops.pop()
    sheet = Image.new("RGB", (width, bottom + _height(ending) + MARGIN - (0 if ending else SECTION_GAP)), PAPER)
    _draw(sheet, [_Piece(left=MARGIN, top=MARGIN, lines=header), _Piece(left=MARGIN, top=bottom, lines=ending)])
    for top, section in zip(tops, sections, strict=True):
        _draw(sheet, [piece.moved(0, top) for piece in section])
        if len({piece.left >= images_left for piece in section}) == 2:
            _rule(sheet, images_left - RULE_SPACE, top, top + _bottom(section))
    return sheet


def _grouped(rows: Sequence[CellRow]) -> list[list[CellRow]]:
    """Rows that share their inputs."""
    groups: list[list[CellRow]] = []
    for row in rows:
        if row.inputs or not groups:
            groups.append([])
        groups[-1].append(row)
    return groups


def _section(rows: Sequence[CellRow], input_columns: int, images_left: int) -> _Block:
    """Inputs on the left; on the right as many prompts side by side as there is room for."""
    inputs = [_cell(cell, widest=WIDEST_INPUT, width=CELL_HEIGHT, lines=2) for cell in rows[0].inputs]
    pictures = _pictures(rows)
    column = max([NARROWEST_CELL, *(picture.width for row in pictures for picture in row)])
    blocks = [_prompt(row, found, column) for row, found in zip(rows, pictures, strict=True)]
    block_width = max(1, *(len(row.images) for row in rows)) * (column + GAP) - GAP
    columns = max(1, (SHEET_WIDTH - MARGIN - images_left + BLOCK_GAP) // (block_width + BLOCK_GAP))
    placed = _laid_out(inputs, columns=input_columns, step=CELL_HEIGHT + GAP, left=MARGIN)
    return (*placed, *_laid_out(blocks, columns=columns, step=block_width + BLOCK_GAP, left=images_left))


def _pictures(rows: Sequence[CellRow]) -> list[list[Image.Image]]:
    """The rows' images; where there is none, a blank of the others' shape."""
    found = [[_picture(cell, WIDEST_IMAGE) if cell.path else None for cell in row.images] for row in rows]
    size = next((picture.size for row in found for picture in row if picture), (CELL_HEIGHT, CELL_HEIGHT))
    return [
        [
            _with_tries(cell, picture or Image.new("RGB", size, RULE))
            for cell, picture in zip(row.images, pictures, strict=True)
        ]
        for row, pictures in zip(rows, found, strict=True)
    ]


def _prompt(row: CellRow, pictures: Sequence[Image.Image], column: int) -> _Block:
    """The prompt in two lines at most, its images beneath."""
    width = max(1, len(row.images)) * (column + GAP) - GAP
    heading = _Piece(left=0, top=0, lines=_texts((row.heading, CAPTION_SIZE, INK), width=width))
    top = heading.bottom + (WORDS_SPACE if row.heading else 0)
    images = [
        piece.moved(number * (column + GAP), top)
        for number, (cell, picture) in enumerate(zip(row.images, pictures, strict=True))
        for piece in _with_words(cell, picture, width=column, lines=3)
    ]
    return (heading, *images)


def _cell(cell: Cell, *, widest: float, width: int, lines: int) -> _Block:
    return _with_words(cell, _picture(cell, widest), width=width, lines=lines)


def _with_words(cell: Cell, picture: Image.Image, *, width: int, lines: int) -> _Block:
    words = _texts((cell.caption, CAPTION_SIZE, INK), width=width, most_lines=lines)
    words += _texts((cell.note, NOTE_SIZE, FAINT_INK), width=width)
    below = _Piece(left=0, top=picture.height + WORDS_SPACE, lines=words)
    return (_Piece(left=0, top=0, picture=picture), below)


def _picture(cell: Cell, widest: float) -> Image.Image:
    assert cell.path is not None
    picture = thumbnail(cell.path, height=CELL_HEIGHT, widest=widest)
    if cell.pose:
        draw_pose(picture, cell.pose, thin=cell.thin)
    return picture


def _with_tries(cell: Cell, picture: Image.Image) -> Image.Image:
    """The picture with those that did not pass in its lower right corner."""
    right = picture.width - TRY_INSET
    for path in cell.tries[:MOST_TRIES]:
        small = thumbnail(path, height=TRY_HEIGHT, widest=WIDEST_IMAGE)
        framed = Image.new("RGB", (small.width + 4, small.height + 4), REJECTED)
        framed.paste(small, (2, 2))
        right -= framed.width
        if right < 0:
            break
        picture.paste(framed, (right, picture.height - framed.height - TRY_INSET))
        right -= TRY_INSET
    return picture


def _laid_out(blocks: Sequence[_Block], *, columns: int, step: int, left: int) -> Iterable[_Piece]:
    """Blocks in rows of so many columns, each row as high as its highest block."""
    top = 0
    for start in range(0, len(blocks), columns):
        row = blocks[start : start + columns]
        for number, block in enumerate(row):
            yield from (piece.moved(left + number * step, top) for piece in block)
        top += max(_bottom(block) for block in row) + GAP


def _stacked(sections: Sequence[_Block], *, first: int) -> list[int]:
    """The upper edge of each section, and where the next would be."""
    tops = [first]
    for section in sections:
        tops.append(tops[-1] + _bottom(section) + SECTION_GAP)
    return tops


def _bottom(block: _Block) -> int:
    return max((piece.bottom for piece in block), default=0)


def _draw(sheet: Image.Image, pieces: Iterable[_Piece]) -> None:
    for piece in pieces:
        if piece.picture:
            _paste(sheet, (piece.left, piece.top), piece.picture)
        else:
            _write(sheet, (piece.left, piece.top), piece.lines)


def _rule(sheet: Image.Image, x: int, top: int, bottom: int) -> None:
    ImageDraw.Draw(sheet).line((x, top, x, bottom), fill=RULE, width=2)


def _paste(sheet: Image.Image, place: tuple[int, int], picture: Image.Image) -> None:
    """With rounded corners and a hairline, so that a white picture still has an edge."""
    outer = _rounded(picture.size, inset=0)
    inner = _rounded(picture.size, inset=1)
    sheet.paste(picture, place, outer)
    sheet.paste(
        FRAME,
        (*place, place[0] + picture.width, place[1] + picture.height),
        ImageChops.subtract(outer, inner),
    )


@cache
def _rounded(size: tuple[int, int], *, inset: int) -> Image.Image:
    """A mask, drawn four times as large and reduced, for smooth corners."""
    scale = 4
    mask = Image.new("L", (size[0] * scale, size[1] * scale), 0)
    box = (inset * scale, inset * scale, (size[0] - inset) * scale - 1, (size[1] - inset) * scale - 1)
    if box[2] > box[0] and box[3] > box[1]:  # else it is a hairline itself
        ImageDraw.Draw(mask).rounded_rectangle(box, radius=(CORNER_RADIUS - inset) * scale, fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def _texts(*texts: tuple[str, int, str], width: int, most_lines: int = 2) -> tuple[_Line, ...]:
    """Texts one under the other, each with its size and colour, broken into lines."""
    return tuple(
        _Line(text=line, size=size, colour=colour)
        for text, size, colour in texts
        for line in wrapped(text, font_for(text, size), width=width, most_lines=most_lines)
    )


def _write(sheet: Image.Image, place: tuple[int, int], lines: Sequence[_Line]) -> None:
    draw = ImageDraw.Draw(sheet)
    left, top = place
    for line in lines:
        draw.text((left, top), line.text, font=font_for(line.text, line.size), fill=line.colour)
        top += line.height


def _height(lines: Sequence[_Line]) -> int:
    return sum(line.height for line in lines)

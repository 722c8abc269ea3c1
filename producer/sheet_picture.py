"""The contact sheet as one picture: rows of cells of one height, each with its words underneath."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw

from producer.lettering import font_for, wrapped
from producer.thumbnails import thumbnail

CELL_HEIGHT = 256
NARROWEST_CELL = 176  # so that the words under a tall picture stay readable
MARGIN = 48
GAP = 20
ROW_GAP = 40
RULE_SPACE = 36  # beside the usual gap, between inputs and images, with a rule in the middle
HEADER_SPACE = 28
WORDS_SPACE = 10  # between a picture and its words
NARROWEST_SHEET = 720
CORNER_RADIUS = 8
CAPTION_LINES = 4
TITLE_SIZE, SUBTITLE_SIZE, CAPTION_SIZE, NOTE_SIZE = 34, 17, 16, 14
LEADING = 1.32  # line height, in sizes of the font

PAPER, FRAME, RULE = "#fbfaf8", "#dedbd5", "#e4e1db"
INK, FAINT_INK = "#26241f", "#77726a"


@dataclass(frozen=True, kw_only=True)
class Cell:
    path: Path
    caption: str
    note: str  # one line, fainter


@dataclass(frozen=True, kw_only=True)
class CellRow:
    inputs: tuple[Cell, ...]
    images: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class _Line:
    text: str
    size: int
    colour: str

    @property
    def height(self) -> int:
        return round(self.size * LEADING)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """A cell made ready: its picture, its words broken into lines, and its place in the row."""

    picture: Image.Image
    lines: tuple[_Line, ...]
    left: int

    @property
    def right(self) -> int:
        return self.left + max(self.picture.width, NARROWEST_CELL)

    @property
    def height(self) -> int:
        return CELL_HEIGHT + WORDS_SPACE + _height(self.lines)


def draw_sheet(rows: Sequence[CellRow], *, title: str, subtitle: str, footer: str) -> Image.Image:
    """The footer may be empty."""
    blocks = [_blocks(row) for row in rows]
    width = max([NARROWEST_SHEET, *(row[-1].right for row in blocks)]) + MARGIN
    header = _lines(title, TITLE_SIZE, INK, width=width - 2 * MARGIN, most_lines=2)
    header += _lines(subtitle, SUBTITLE_SIZE, FAINT_INK, width=width - 2 * MARGIN, most_lines=2)
    ending = _lines(footer, NOTE_SIZE, FAINT_INK, width=width - 2 * MARGIN, most_lines=2)
    tops, bottom = _row_tops(blocks, first=MARGIN + _height(header) + HEADER_SPACE)
    sheet = Image.new("RGB", (width, bottom + _height(ending) + MARGIN - (0 if ending else ROW_GAP)), PAPER)
    _write(sheet, (MARGIN, MARGIN), header)
    for row, top, inputs in zip(blocks, tops, (len(row.inputs) for row in rows), strict=True):
        _draw_row(sheet, top, row, inputs)
    _write(sheet, (MARGIN, bottom), ending)
    return sheet


def _blocks(row: CellRow) -> list[_Block]:
    blocks: list[_Block] = []
    left = MARGIN
    for index, cell in enumerate((*row.inputs, *row.images)):
        left += RULE_SPACE if index == len(row.inputs) else 0
        blocks.append(_block(cell, left))
        left = blocks[-1].right + GAP
    return blocks


def _block(cell: Cell, left: int) -> _Block:
    picture = thumbnail(cell.path, height=CELL_HEIGHT)
    width = max(picture.width, NARROWEST_CELL)
    caption = _lines(cell.caption, CAPTION_SIZE, INK, width=width, most_lines=CAPTION_LINES)
    note = _lines(cell.note, NOTE_SIZE, FAINT_INK, width=width, most_lines=1)
    return _Block(picture=picture, lines=caption + note, left=left)


def _row_tops(blocks: Sequence[Sequence[_Block]], *, first: int) -> tuple[list[int], int]:
    """The upper edge of each row, and where the next would be."""
    tops, top = [], first
    for row in blocks:
        tops.append(top)
        top += max(block.height for block in row) + ROW_GAP
    return tops, top


def _draw_row(sheet: Image.Image, top: int, row: Sequence[_Block], inputs: int) -> None:
    for block in row:
        _paste(sheet, (block.left, top + (CELL_HEIGHT - block.picture.height) // 2), block.picture)
        _write(sheet, (block.left, top + CELL_HEIGHT + WORDS_SPACE), block.lines)
    if len(row) > inputs:
        x = row[inputs].left - (GAP + RULE_SPACE) // 2
        ImageDraw.Draw(sheet).line((x, top, x, top + CELL_HEIGHT), fill=RULE, width=2)


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
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=(CORNER_RADIUS - inset) * scale, fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def _lines(text: str, size: int, colour: str, *, width: int, most_lines: int) -> tuple[_Line, ...]:
    texts = wrapped(text, font_for(text, size), width=width, most_lines=most_lines)
    return tuple(_Line(text=each, size=size, colour=colour) for each in texts)


def _write(sheet: Image.Image, place: tuple[int, int], lines: Sequence[_Line]) -> None:
    draw = ImageDraw.Draw(sheet)
    left, top = place
    for line in lines:
        draw.text((left, top), line.text, font=font_for(line.text, line.size), fill=line.colour)
        top += line.height


def _height(lines: Sequence[_Line]) -> int:
    return sum(line.height for line in lines)

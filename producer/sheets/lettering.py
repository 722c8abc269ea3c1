"""Text on a drawn picture: the font for each text, and lines that fit a width."""

from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

# Pillow's own font is the same everywhere but knows few letters; these stand in where the system has them.
BUILT_IN_LETTERS = frozenset(map(chr, range(32, 127))) | frozenset("“”‘’…·")
OTHER_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "Arial.ttf")
UNKNOWN = "\uffff"  # no font has a letter here
ELLIPSIS = "…"


def font_for(text: str, size: int) -> Font:
    """The first font that has all letters of the text, or else the one that lacks fewest."""
    if BUILT_IN_LETTERS.issuperset(text):
        return _built_in_font(size)
    fonts = [_built_in_font(size), *_other_fonts(size)]
    return min(fonts, key=lambda font: sum(not _has(font, letter) for letter in set(text)))


def wrapped(text: str, font: Font, *, width: int, most_lines: int) -> list[str]:
    """The text in lines no wider than `width`; what does not fit is cut, and an ellipsis says so."""
    words = [piece for word in text.split() for piece in _pieces(word, font, width)]
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        elif len(lines) == most_lines:
            lines[-1] = _ended(lines[-1], font, width)
            break
        else:
            lines.append(word)
    return lines


def _pieces(word: str, font: Font, width: int) -> list[str]:
    """A word longer than a line, such as a file name, broken anywhere."""
    pieces = [""]
    for letter in word:
        if pieces[-1] and font.getlength(pieces[-1] + letter) > width:
            pieces.append("")
        pieces[-1] += letter
    return pieces


def _ended(line: str, font: Font, width: int) -> str:
    while line and font.getlength(line + ELLIPSIS) > width:
        line = line[:-1]
    return line.rstrip(" ,;:.") + ELLIPSIS


@cache
def _built_in_font(size: int) -> Font:
    font = ImageFont.load_default(size)
    assert isinstance(font, Font), "Pillow was built without FreeType"
    return font


@cache
def _other_fonts(size: int) -> list[Font]:
    found = []
    for name in (*OTHER_FONTS, *_bundled_fonts()):
        with suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    return found


@cache
def _bundled_fonts() -> list[str]:
    """matplotlib brings one that knows Greek, Cyrillic, Arabic and Hebrew; exports need matplotlib anyway."""
    found = find_spec("matplotlib")
    return [str(Path(found.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf")] if found and found.origin else []


@cache
def _has(font: Font, letter: str) -> bool:
    """Whether the font draws the letter as anything but the box that stands for unknown ones."""
    return letter.isspace() or bytes(font.getmask(letter)) != bytes(font.getmask(UNKNOWN))


def counted(number: int, noun: str) -> str:
    """1 source, 2 sources."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

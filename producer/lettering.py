"""Text on a drawn picture: the font for each text, and lines that fit a width."""

from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont

# Pillow's own font is the same everywhere but knows few letters; these stand in where the system has them.
BUILT_IN_LETTERS = frozenset(map(chr, range(32, 127))) | frozenset("“”‘’…·")
OTHER_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "Arial.ttf")
ELLIPSIS = "…"


def font_for(text: str, size: int) -> Font:
    if BUILT_IN_LETTERS.issuperset(text):
        return _built_in_font(size)
    return _other_font(size) or _built_in_font(size)


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
def _other_font(size: int) -> Font | None:
    for name in OTHER_FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return None


def counted(number: int, noun: str) -> str:
    """1 source, 2 sources."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

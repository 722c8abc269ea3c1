"""The one decoder: bytes to an 8-bit RGB picture, by these rules.

| the picture                      | what happens                                                  |
|----------------------------------|---------------------------------------------------------------|
| more pixels than the limit       | refused, from its header, before anything is decoded          |
| one side over 8 times the other  | refused: at the detector's size it would not fit into memory  |
| empty, truncated, not a picture  | refused; so is a PNG whose pixels' checksums are wrong         |
| orientation (EXIF, XMP)          | applied where it can be read                                  |
| other metadata that is broken    | ignored: pixels decide, whatever stands beside them           |
| animation, several pages         | the first frame                                               |
| transparency (RGBA, LA, palette) | a photograph is laid over white, a control image over black   |
| CMYK, YCCK                       | to sRGB by its embedded ICC profile, else by Pillow's formula |
| RGB and grey with an ICC profile | the numbers as they are                                       |
| 16-bit greyscale                 | divided by 257, so that 65535 becomes 255; more is clipped    |
| 16 bits a channel in colour      | the high byte of each                                         |
| 8-bit greyscale, 1 bit, palette  | the same colours in RGB                                       |
| YCbCr                            | by Pillow's formula                                           |
| LAB, floating point              | refused: export it as 8-bit RGB                               |

Formats: JPEG, PNG, WebP, AVIF, TIFF, GIF, BMP, JPEG 2000, PPM; HEIF (HEIC) where pillow-heif is installed.
A refusal is a PictureError.
"""

import io
import struct
import warnings
from collections.abc import Callable
from functools import cache
from typing import Literal

import msgspec
from PIL import Image, ImageCms, UnidentifiedImageError

from posemill.errors import BadInput
from posemill.pictures.bare_pictures import has_damaged_pixels, without_metadata
from posemill.pictures.size_limits import LARGEST_ASPECT, LIMIT_PIXELS, why_unusable_size

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM")
SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".avifs", ".tif", ".tiff", ".gif",
    ".bmp", ".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c", ".ppm", ".pgm", ".pbm", ".pnm", ".heic", ".heics", ".heif",
    ".heifs", ".hif",
))  # fmt: skip
HEADER_BYTES = 4096  # enough to tell a format
BLACK = 2  # of 255: a picture in which no channel is brighter is black
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
HEIF_CONTAINERS = frozenset((b"mif1", b"msf1"))  # hold HEIF or AVIF
PARSING_ERRORS = (
    ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, SyntaxError, TypeError, ValueError,
    struct.error,
)  # fmt: skip  # what Pillow's readers of metadata raise on broken bytes
_SIXTEEN_BIT = frozenset(("I;16", "I;16B", "I;16L", "I;16N", "I"))
_CHECKED_FURTHER = frozenset(("BMP", "PPM"))  # whose first two letters begin many a text
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # of EXIF's orientations
_ORIENTATION = 0x0112

warnings.filterwarnings("ignore", module=r"PIL\.")  # of metadata, to somebody who asked for pixels

Ground = Literal["white", "black"]


class PictureError(BadInput):
    """What should be a picture is none that can be used."""

    code = "bad_picture"


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """How a picture is to be decoded."""

    limit_pixels: float
    largest_aspect: float
    over: Ground
    draft: tuple[int, int] | None


def decode_picture(
    content: bytes,
    *,
    limit_pixels: float = LIMIT_PIXELS,
    largest_aspect: float = LARGEST_ASPECT,
    over: Ground = "white",
    draft: tuple[int, int] | None = None,
) -> Image.Image:
    """The picture in these bytes as RGB, upright; PictureError says why when there is none.

    Transparent parts show the colour `over`. `draft`: the least size that will do, for which a JPEG is decoded quicker.
    """
    wanted = _Wanted(limit_pixels=limit_pixels, largest_aspect=largest_aspect, over=over, draft=draft)
    if not content:
        raise PictureError("the picture is empty (0 bytes); upload it again")
    try:
        return _decoded(content, wanted)
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        if picture_format(content) is None:
            raise PictureError(f"not a picture in a known format ({', '.join(FORMATS)}, HEIF)") from error
        broken: Exception = error
    except Image.DecompressionBombError as error:
        raise PictureError(f"the picture is too large for Pillow ({error}); scale it down") from error
    except Exception as error:  # noqa: BLE001  # Pillow's decoders raise a dozen types, about pixels and metadata alike
        broken = error
    return _decoded_bare(content, wanted, broken)


def _decoded_bare(content: bytes, wanted: _Wanted, broken: Exception) -> Image.Image:
    """The pixels alone, where something beside them may have been what is broken."""
    bare = without_metadata(content)
    try:
        if bare is not None:
            return _decoded(bare, wanted)
    except PictureError:
        raise
    except Exception as error:  # Pillow's
        raise _is_broken(broken) from error
    raise _is_broken(broken) from broken


def _is_broken(error: Exception) -> PictureError:
    words = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):  # whose words are an address in memory
        words = "its header cannot be read"
    return PictureError(f"the picture is broken ({words}); export it again")


def _decoded(content: bytes, wanted: _Wanted) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=_formats_of(content)) as picture:
        if unusable := why_unusable_size(*picture.size, wanted.limit_pixels, wanted.largest_aspect):
            raise PictureError(f"the picture {unusable}")
        if has_damaged_pixels(content):  # which Pillow would draw as they are
            raise PictureError("the picture is broken (the checksum of its pixels is wrong); upload it again")
        if wanted.draft:
            picture.draft(None, wanted.draft)
        picture.load()
        return _to_rgb(_upright(picture), wanted.over)


def picture_format(header: bytes) -> str | None:
    """The format of a picture that begins like this, by the marks of Pillow's own readers; None when it is none."""
    if _is_heif(header):
        return "HEIF"
    found = next((name for name, accepts in _marks() if accepts(header[:16])), None)
    if found in _CHECKED_FURTHER and not _has_size(header, found):
        return None
    return found


@cache
def _marks() -> list[tuple[str, Callable[[bytes], bool | str]]]:
    Image.init()
    return [(name, accepts) for name in FORMATS if (accepts := Image.OPEN[name][1])]


def _has_size(header: bytes, name: str) -> bool:
    try:
        with Image.open(io.BytesIO(header), formats=(name,)) as picture:
            return picture.width > 0
    except (*PARSING_ERRORS, Image.DecompressionBombError):
        return False


def _is_heif(header: bytes) -> bool:
    if header[4:8] != b"ftyp":
        return False
    length = min(int.from_bytes(header[:4], "big"), 256)
    major, compatible = header[8:12], {header[place : place + 4] for place in range(16, length, 4)}
    return major in HEIF_BRANDS or (major in HEIF_CONTAINERS and bool(compatible & HEIF_BRANDS))


def _formats_of(content: bytes) -> tuple[str, ...]:
    if not _is_heif(content[:HEADER_BYTES]):
        return FORMATS
    _read_heif()
    return ("HEIF",)


@cache
def _read_heif() -> None:
    """Make Pillow read HEIF. Raises PictureError where the library for it is missing."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise PictureError(
            "HEIC pictures are read by pillow-heif, which is not installed here; pip install 'posemill[heic]' on the"
            " workers and on the machine that submits, and retry"
        ) from error
    register_heif_opener(thumbnails=False)


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as its orientation says, which nothing else in its metadata can prevent."""
    try:
        orientation = picture.getexif().get(_ORIENTATION)
    except PARSING_ERRORS:
        return picture
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(picture: Image.Image, over: Ground) -> Image.Image:
    if picture.mode in _SIXTEEN_BIT:
        return _from_sixteen_bits(picture)
    if picture.mode == "CMYK":
        return _from_cmyk(picture)
    if picture.mode in ("F", "LAB"):
        raise PictureError(f"{picture.mode} pictures are not supported; export it as 8-bit RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, over), layer).convert("RGB")
    return picture.convert("RGB")


def _from_sixteen_bits(picture: Image.Image) -> Image.Image:
    # To the nearest of 256 steps. Pillow clips at 0 and 255, and drops what is behind the point.
    return picture.convert("I").point(lambda grey: grey * (1 / 257) + 0.5).convert("L").convert("RGB")


def _from_cmyk(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, *PARSING_ERRORS):  # a broken profile is no reason to lose the picture
        return picture.convert("RGB")
    return converted or picture.convert("RGB")


def is_plain_png(content: bytes) -> bool:
    """Whether these are the bytes of a PNG that every viewer shows as it is decoded here: RGB, opaque, not turned."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            return picture.mode == "RGB" and not picture.has_transparency_data and _upright(picture) is picture
    except (*PARSING_ERRORS, Image.DecompressionBombError):
        return False


def is_black(picture: Image.Image) -> bool:
    """Whether an 8-bit picture shows nothing: the one rule, for what is generated and for what is exported."""
    extrema = picture.convert("RGB").getextrema()
    return all(int(brightest) <= BLACK for _, brightest in extrema)  # type: ignore[misc]

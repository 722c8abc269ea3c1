"""Source bytes to an 8-bit RGB picture, by these rules.

| the picture                      | what happens                                                  |
|----------------------------------|---------------------------------------------------------------|
| more pixels than the limit       | refused, from its header, before anything is decoded          |
| one side over 8 times the other  | refused: at the detector's size it would not fit into memory  |
| empty, truncated, not a picture  | refused                                                       |
| EXIF orientation                 | applied                                                       |
| animation, several pages         | the first frame                                               |
| transparency (RGBA, LA, palette) | laid over white                                               |
| CMYK, YCCK                       | to sRGB by its embedded ICC profile, else by Pillow's formula |
| 16-bit greyscale                 | divided by 257, so that 65535 becomes 255; more is clipped    |
| 16 bits a channel in colour      | the high byte of each                                         |
| 8-bit greyscale, 1 bit, palette  | the same colours in RGB                                       |
| YCbCr                            | by Pillow's formula                                           |
| LAB, floating point              | refused: export it as 8-bit RGB                               |

Formats: JPEG, PNG, WebP, AVIF, TIFF, GIF, BMP, JPEG 2000, PPM. A refusal is a PictureError.
"""

import io

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from posemill.errors import BadInput

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "GIF", "BMP", "JPEG2000", "PPM")
LARGEST_ASPECT = 8
_SIXTEEN_BIT = ("I;16", "I;16B", "I;16L", "I;16N", "I")


class PictureError(BadInput):
    """A source is no picture that can be used."""

    code = "bad_picture"


def decode_picture(source: bytes, *, limit_pixels: int) -> Image.Image:
    """The picture in these bytes as RGB, upright; PictureError says why when there is none."""
    if not source:
        raise PictureError("the picture is empty (0 bytes); upload it again")
    try:
        with Image.open(io.BytesIO(source), formats=FORMATS) as picture:
            _check_size(picture.width, picture.height, limit_pixels)
            picture.load()
            return _to_rgb(ImageOps.exif_transpose(picture))
    except PictureError:
        raise
    except UnidentifiedImageError as error:
        raise PictureError(f"not a picture in a known format ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"the picture is too large for Pillow ({error}); scale it down") from error
    except Exception as error:  # Pillow's decoders raise a dozen types on broken files
        raise PictureError(f"the picture is broken ({error}); export it again") from error


def _check_size(width: int, height: int, limit_pixels: int) -> None:
    if width * height > limit_pixels:
        raise PictureError(
            f"the picture has {width}x{height} pixels, over the limit of {limit_pixels:,};"
            " scale it down or raise limit_pixels"
        )
    if max(width, height) > LARGEST_ASPECT * min(width, height):
        raise PictureError(f"the picture is {width}x{height}, one side over {LARGEST_ASPECT} times the other; crop it")


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in _SIXTEEN_BIT:
        return _from_sixteen_bits(picture)
    if picture.mode == "CMYK":
        return _from_cmyk(picture)
    if picture.mode in ("F", "LAB"):
        raise PictureError(f"{picture.mode} pictures are not supported; export it as 8-bit RGB")
    if picture.has_transparency_data:
        return _over_white(picture)
    return picture.convert("RGB")


def _from_sixteen_bits(picture: Image.Image) -> Image.Image:
    values = np.clip(np.asarray(picture).astype(np.int64), 0, 65535)
    return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")


def _from_cmyk(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):  # a broken profile is no reason to lose the picture
        return picture.convert("RGB")
    return converted or picture.convert("RGB")


def _over_white(picture: Image.Image) -> Image.Image:
    layer = picture.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")

"""Pictures of any kind brought to the size in which a contact sheet shows them."""

import math
from pathlib import Path

from PIL import Image

from posemill.errors import BadInput
from posemill.pictures.decoding import PictureError, decode_picture

WIDEST = 2.0  # width to height; what is wider is fitted into a frame of this shape


def thumbnail(path: Path, *, height: int, widest: float = WIDEST, enlarge: bool = True) -> Image.Image:
    """An RGB picture `height` pixels high, less when it is very wide; small ones are enlarged smoothly, if at all."""
    try:
        picture = decode_picture(path.read_bytes(), largest_aspect=math.inf, draft=(2 * height, 2 * height))
    except (OSError, PictureError) as error:
        raise BadInput(f"{path} cannot be shown on the contact sheet ({error}); write it again") from error
    size = _size(picture.size, height, widest)
    if not enlarge and size[1] >= picture.height:
        return picture
    return picture.resize(size, Image.Resampling.LANCZOS)


def _size(size: tuple[int, int], height: int, widest: float) -> tuple[int, int]:
    aspect = size[0] / size[1]
    if aspect > widest:
        width = round(height * widest)
        return width, max(round(width / aspect), 1)
    return max(round(height * aspect), 1), height

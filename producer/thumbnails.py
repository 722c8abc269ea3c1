"""Pictures of any kind brought to RGB, and to the size in which a contact sheet shows them."""

from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from posemill.errors import BadInput

WIDEST = 2.0  # width to height; what is wider is fitted into a frame of this shape


def thumbnail(path: Path, *, height: int, widest: float = WIDEST, enlarge: bool = True) -> Image.Image:
    """An RGB picture `height` pixels high, less when it is very wide; small ones are enlarged smoothly, if at all."""
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (2 * height, 2 * height))  # lets JPEG skip detail that would be thrown away
            upright = upright_rgb(picture)
            size = _size(upright.size, height, widest)
            if not enlarge and size[1] >= upright.height:
                return upright
            return upright.resize(size, Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise BadInput(f"{path} cannot be shown on the contact sheet ({error}); write it again") from error


def upright_rgb(picture: Image.Image) -> Image.Image:
    """The picture turned upright; transparent parts turn white, 16-bit greys are divided by 257."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):  # plain convert() would clip at 255
        return picture.convert("I").point(lambda grey: grey / 257).convert("L").convert("RGB")
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")


def _size(size: tuple[int, int], height: int, widest: float) -> tuple[int, int]:
    aspect = size[0] / size[1]
    if aspect > widest:
        width = round(height * widest)
        return width, max(round(width / aspect), 1)
    return max(round(height * aspect), 1), height

"""Which sizes can be used, and how control images are fitted to their pictures, in generating as in exporting."""

from PIL import Image

SAME_SHAPE = 0.01  # shapes (width to height) that differ by less count as one
LIMIT_PIXELS = 100_000_000  # of a picture, or of a pose's canvas, where nothing else is asked for
LARGEST_ASPECT = 8  # the longer side to the shorter

Size = tuple[int, int]  # width and height, pixels


def why_unusable_size(
    width: int, height: int, limit_pixels: float = LIMIT_PIXELS, largest_aspect: float = LARGEST_ASPECT
) -> str:
    """What is wrong with a picture's size, or a canvas's, as the end of a sentence; nothing when it can be used."""
    if width * height > limit_pixels:
        return f"has {width}x{height} pixels, over the limit of {limit_pixels:,}; scale it down or raise limit_pixels"
    if max(width, height) > largest_aspect * min(width, height):
        return f"is {width}x{height}, one side over {largest_aspect:g} times the other; crop it"
    return ""


def canvas_for(control: Size, size: Size) -> tuple[Size, Size]:
    """The canvas of the picture's shape that holds the whole control image, and where on it that lies."""
    width, height = control
    wanted = size[0] / size[1]
    if abs(wanted - width / height) < SAME_SHAPE:
        return control, (0, 0)
    canvas = max(width, round(height * wanted)), max(height, round(width / wanted))
    return canvas, ((canvas[0] - width) // 2, (canvas[1] - height) // 2)


def fitted(control: Image.Image, size: Size) -> Image.Image:
    """The control image in the middle of a black canvas of the picture's shape; nothing is cut off or distorted.

    The pipeline scales it to the picture's pixels.
    """
    canvas, place = canvas_for(control.size, size)
    if canvas == control.size:
        return control
    fitting = Image.new("RGB", canvas)
    fitting.paste(control, place)
    return fitting

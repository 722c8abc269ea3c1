"""How a control image is fitted to the shape of its picture; the generate stage and exports do it alike."""

from PIL import Image

SAME_SHAPE = 0.01  # shapes (width to height) that differ by less count as one

Size = tuple[int, int]  # width and height, pixels


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

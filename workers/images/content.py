"""A source on its way through the detectors: its bytes, decoded once however many controls look at it."""

from functools import cached_property

from PIL import Image

from posemill.pictures.decoding import decode_picture
from posemill.pictures.size_limits import LIMIT_PIXELS


class Content:
    """A source's bytes and, where they are a picture, the picture."""

    def __init__(self, content: bytes, *, limit_pixels: int = LIMIT_PIXELS) -> None:
        self.content = content
        self.limit_pixels = limit_pixels

    @cached_property
    def picture(self) -> Image.Image:
        """Upright RGB; decoded when it is first asked for. Raises PictureError when there is none."""
        return decode_picture(self.content, limit_pixels=self.limit_pixels)

    @property
    def control_image(self) -> Image.Image:
        """The picture where it is a control image already: what is transparent shows nothing. Raises PictureError."""
        return decode_picture(self.content, limit_pixels=self.limit_pixels, over="black")

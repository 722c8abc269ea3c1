"""A source on its way through the detectors: its bytes, decoded once however many controls look at it."""

from functools import cached_property

from PIL import Image

from workers.pictures import decode_picture


class Content:
    """A source's bytes and, where they are a picture, the picture."""

    def __init__(self, content: bytes, *, limit_pixels: int = 100_000_000) -> None:
        self.content = content
        self._limit_pixels = limit_pixels

    @cached_property
    def picture(self) -> Image.Image:
        """Upright RGB; decoded when it is first asked for. Raises PictureError when there is none."""
        return decode_picture(self.content, limit_pixels=self._limit_pixels)

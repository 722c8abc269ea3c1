"""Reads the control images of a batch's items, each object once."""

import io
from collections.abc import Sequence

from PIL import Image

from posemill.contract.records import Item, SourceResult, StoredObject
from posemill.pictures.decoding import decode_picture
from posemill.storage.store import Store, get_unchanged
from workers.images.source_bytes import read_source

Named = tuple[str, Image.Image]
"""A control image with the key or address that it was read from."""


class ControlImages:
    """One batch's control images; items of one source share theirs."""

    def __init__(self, store: Store, allowed_hosts: Sequence[str], *, limit_pixels: int) -> None:
        self._store = store
        self._allowed_hosts = allowed_hosts
        self._limit_pixels = limit_pixels
        self._read: dict[str, Image.Image] = {}

    def of(self, item: Item, source: SourceResult | None) -> list[Named]:
        """One for each control, in the run's order. Raises NotFound and BadInput."""
        if source is None:
            return [self._ready_made(item)]
        return [self._made(control.image) for control in source.controls if control.image]

    def _made(self, stored: StoredObject) -> Named:
        if stored.key not in self._read:
            content = get_unchanged(self._store, stored.key, stored.sha256)
            self._read[stored.key] = Image.open(io.BytesIO(content)).convert("RGB")
        return stored.key, self._read[stored.key]

    def _ready_made(self, item: Item) -> Named:
        assert item.control_image is not None
        name = item.control_image.key or item.control_image.uri or ""
        if name not in self._read:
            content = read_source(self._store, item.control_image, self._allowed_hosts)
            self._read[name] = decode_picture(content, limit_pixels=self._limit_pixels, over="black")
        return name, self._read[name]

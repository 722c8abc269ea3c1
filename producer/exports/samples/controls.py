"""A sample's control image as its dataset shows it: of the image's shape, as the ControlNet saw it."""

import io
import math
from pathlib import Path

import msgspec
from PIL import Image

from posemill.contract.identity import digest, sha256
from posemill.contract.keys import CONTROLS
from posemill.pictures.decoding import decode_picture, is_plain_png
from posemill.pictures.shapes import Size, fitted
from posemill.settings import load_settings
from posemill.storage.store import Store, get_unchanged
from posemill.storage.urls import fetch
from producer.exports.samples.keeping import Kept
from producer.exports.samples.reading import Sample

KEPT = 32  # control images in memory; neighbours in a run share theirs


class FittedControl(msgspec.Struct, frozen=True, kw_only=True):
    """A control image, ready to be written."""

    name: str  # for a file: the same for all samples that share it
    png: bytes
    sha256: str
    size: Size
    drawn_size: Size  # before it was fitted


def control_name(address: str) -> str:
    """A file name: the content digest of a drawn control image, or one of a ready-made one's address."""
    return Path(address).stem if address.startswith(CONTROLS) else digest("control image", address)


class SampleControls:
    """Reads control images; safe between threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: Kept[FittedControl] = Kept(KEPT)

    def of(self, sample: Sample) -> FittedControl:
        """Fitted to the sample's image. Raises ChangedObject when it is not the one that was used."""
        address, size = sample.control_key, (sample.item.width, sample.item.height)
        return self._kept.get((address, size), lambda: fitted_control(self._read(sample, address), address, size))

    def _read(self, sample: Sample, address: str) -> bytes:
        drawn = sample.drawn
        if drawn and drawn.key == address:
            return get_unchanged(self._store, address, drawn.sha256)
        return read_address(self._store, address)


def fitted_control(content: bytes, address: str, size: Size) -> FittedControl:
    """The picture as PNG; untouched where it is a plain PNG of the image's shape, else brought to the image's size."""
    ours = address.startswith(CONTROLS)
    picture = Image.open(io.BytesIO(content)) if ours else _ready_made(content)
    name, drawn_size = control_name(address), picture.size
    if (ours or is_plain_png(content)) and drawn_size[0] * size[1] == drawn_size[1] * size[0]:
        return FittedControl(name=name, png=content, sha256=sha256(content), size=drawn_size, drawn_size=drawn_size)
    png = io.BytesIO()
    fitted(picture.convert("RGB"), size).resize(size, Image.Resampling.LANCZOS).save(png, "PNG")
    fitted_name = f"{name}-{size[0]}x{size[1]}"
    return FittedControl(
        name=fitted_name, png=png.getvalue(), sha256=sha256(png.getvalue()), size=size, drawn_size=picture.size
    )


def _ready_made(content: bytes) -> Image.Image:
    """As the generate stage saw it, whose limits it has passed."""
    return decode_picture(content, limit_pixels=math.inf, largest_aspect=math.inf, over="black")


def read_address(store: Store, address: str) -> bytes:
    """What lies at a key of the store, an s3:// address or a URL."""
    if address.startswith("s3://"):
        return store.get_uri(address)
    return fetch(address, load_settings().hosts) if "://" in address else store.get(address)

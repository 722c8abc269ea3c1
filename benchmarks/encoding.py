"""`webp_size`: what the ways of keeping an image without loss cost in bytes and in seconds of one core."""

import statistics
from collections.abc import Callable, Iterable

from PIL import Image

from benchmarks.figure import Figure, seconds_of
from benchmarks.photographs import composed, square
from workers.images.pngs import encode_png
from workers.images.webps import encode_webp

PICTURES, ROUNDS = 12, 3
TEXTS = {"parameters": "a prompt\nSteps: 20", "posemill": "{}"}
WAYS: dict[str, Callable[[Image.Image], bytes]] = {
    **{f"png {level}": lambda picture, level=level: encode_png(picture, compress_level=level, texts=TEXTS)  # type: ignore[misc]
       for level in (1, 4, 9)},
    "webp": lambda picture: encode_webp(picture, texts=TEXTS),
}  # fmt: skip


def measure() -> Iterable[Figure]:
    """512 px pictures composed of photographs; the ways take turns."""
    pictures = [square(picture) for picture in composed(PICTURES, seed=3)]
    sizes = {way: statistics.mean(len(encode(picture)) for picture in pictures) for way, encode in WAYS.items()}
    rounds = [{way: _seconds(encode, pictures) for way, encode in WAYS.items()} for _ in range(ROUNDS)]
    yield Figure(
        name="webp_size", value=round(sizes["webp"] / sizes["png 4"], 3), unit="ratio", goal="<= 0.9",
        peer="PNG at compression level 4",
        detail={way: {"kilobytes": round(sizes[way] / 1000), "images_a_second": round(1 / statistics.median(
            each[way] for each in rounds), 1)} for way in WAYS},
    )  # fmt: skip


def _seconds(encode: Callable[[Image.Image], bytes], pictures: list[Image.Image]) -> float:
    return seconds_of(lambda: [encode(picture) for picture in pictures]) / len(pictures)

"""`overhead_cpu`: processor time of all that a generate worker does beside its device, against encoding the PNGs."""

import time
from collections.abc import Iterable

from benchmarks.device import photograph_like
from benchmarks.figure import Figure
from benchmarks.timed_fleet import worker_seconds
from posemill.settings import Settings
from workers.images.pngs import encode_png, to_image

BATCHES, SIDE = 60, 512
BATCH_SECONDS = 0.5
ENCODED = 48


def measure() -> Iterable[Figure]:
    """Images of 512 pixels in batches of eight, by the operating system's accounting of the worker's process.

    In it are loading, encoding, digests, hashes, uploads, the ledger, dispatching and the S3 client.
    """
    seconds, images = worker_seconds(batches=BATCHES, batch_seconds=BATCH_SECONDS, side=SIDE)
    encoding = _encoding_seconds()
    yield Figure(
        name="overhead_cpu", value=round(seconds / images / encoding, 3), unit="ratio", goal="<= 1.5",
        peer="encoding the same images as PNG, at the same level",
        detail={"milliseconds_an_image": round(1000 * seconds / images, 2),
                "png_milliseconds_an_image": round(1000 * encoding, 2), "images": images, "side_pixels": SIDE},
    )  # fmt: skip


def _encoding_seconds() -> float:
    image = to_image(photograph_like(SIDE))
    encode_png(image, compress_level=Settings().png_compress_level)
    begun = time.process_time()
    for _ in range(ENCODED):
        encode_png(image, compress_level=Settings().png_compress_level)
    return (time.process_time() - begun) / ENCODED

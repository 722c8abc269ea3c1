"""`fleet_busy`: how busy 32 devices are that share one Redis and one S3."""

import statistics
from collections.abc import Iterable

from benchmarks.figure import Figure
from benchmarks.timed_fleet import busy_share, device_intervals

DEVICES = 32
BATCHES_EACH = 12
BATCH_SECONDS = 4.0  # about an A100 with Stable Diffusion 1.5 and eight images
SIDE = 32  # pixels: images of a few KB


def measure() -> Iterable[Figure]:
    """Between the moment when all devices have begun and the moment when the first has no batch left."""
    devices = device_intervals(devices=DEVICES, batches=DEVICES * BATCHES_EACH, batch_seconds=BATCH_SECONDS, side=SIDE)
    since, until = max(each[0][0] for each in devices), min(each[-1][1] for each in devices)
    shares = [busy_share(each, since, until) for each in devices]
    first, last = min(each[0][0] for each in devices), max(each[-1][1] for each in devices)
    whole = statistics.mean(busy_share(each, first, last) for each in devices)
    yield Figure(
        name="fleet_busy", value=round(statistics.mean(shares), 4), unit="share", goal=">= 0.95",
        peer="1.0: devices that never wait",
        detail={"devices": len(devices), "batches": sum(len(each) for each in devices), "batch_seconds": BATCH_SECONDS,
                "least_busy": round(min(shares), 4),
                "with_start_and_end": round(whole, 4), "span_seconds": round(until - since, 1)},
    )  # fmt: skip

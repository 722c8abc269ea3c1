"""`device_busy`: how much of the time a worker's device computes, batch after batch."""

from collections.abc import Iterable
from itertools import pairwise

from benchmarks.figure import Figure
from benchmarks.timed_fleet import busy_share, device_intervals

BATCHES = 40
BATCH_SECONDS = 1.0


def measure() -> Iterable[Figure]:
    """One device, batches of eight pictures of 512 pixels; from the first batch's begin to the last one's end."""
    (intervals,) = device_intervals(devices=1, batches=BATCHES, batch_seconds=BATCH_SECONDS, side=512)
    yield Figure(
        name="device_busy", value=round(busy_share(intervals, intervals[0][0], intervals[-1][1]), 4), unit="share",
        goal=">= 0.98", peer="1.0: a device that never waits",
        detail={"batches": len(intervals), "batch_seconds": BATCH_SECONDS, "images_a_batch": 8, "side_pixels": 512,
                "longest_gap_seconds": round(max(b[0] - a[1] for a, b in pairwise(intervals)), 3)},
    )  # fmt: skip

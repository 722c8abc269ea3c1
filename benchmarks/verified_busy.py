"""`verified_busy`: how much of the time a device computes whose images are judged, and how full later batches are."""

from collections.abc import Iterable

from benchmarks.figure import Figure
from benchmarks.timed_fleet import busy_share, judged_run

BATCHES = 300
BATCH_SECONDS = 0.5


def measure() -> Iterable[Figure]:
    """One device, small images; a seeded judge rejects three of ten, each item has three tries."""
    intervals, fullness, images = judged_run(batches=BATCHES, batch_seconds=BATCH_SECONDS, side=64)
    detail = {
        "batches": len(intervals), "batch_seconds": BATCH_SECONDS, "planned_images": 8 * BATCHES, "images": images,
        "later_batches_full": round(fullness, 4),
    }  # fmt: skip
    yield Figure(
        name="verified_busy", value=round(busy_share(intervals, intervals[0][0], intervals[-1][1]), 4), unit="share",
        goal=">= 0.97", peer="1.0: a device that never waits", detail=detail,
    )  # fmt: skip
    yield Figure(
        name="later_batches_full", value=round(fullness, 4), unit="share", goal=">= 0.9",
        peer="1.0: every batch of a later round but the run's last is whole", detail=detail,
    )  # fmt: skip

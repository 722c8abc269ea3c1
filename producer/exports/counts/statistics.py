"""What a data set holds, counted shard by shard; of a fixed size, however many samples there are."""

import math
from typing import Any

import msgspec

from posemill.pictures.poses import Pose
from producer.exports.counts.poses_seen import PosesSeen

SCORE_BINS = 20  # of 0..1
SECONDS_BINS = 32  # powers of the square root of two, from a millisecond on
MOST_KINDS = 200  # different prompts or other values that are counted by themselves, the first to come
OTHERS = "(others)"


class Statistics(msgspec.Struct, kw_only=True):
    """Counts that add up."""

    samples: int = 0
    splits: dict[str, int] = {}
    people: dict[str, int] = {}
    sizes: dict[str, int] = {}  # "512x512"
    prompts: dict[str, int] = {}
    source_names: dict[str, int] = {}
    safety: dict[str, int] = {}
    detectors: dict[str, int] = {}
    devices: dict[str, int] = {}
    scores: list[int] = msgspec.field(default_factory=lambda: [0] * SCORE_BINS)
    seconds: list[int] = msgspec.field(default_factory=lambda: [0] * SECONDS_BINS)  # only where the rows have them
    truncated: int = 0  # prompts whose end CLIP did not see
    near_duplicates: int = 0
    image_bytes: int = 0  # as exported
    device_seconds: float = 0.0
    poses: PosesSeen = msgspec.field(default_factory=PosesSeen)

    def add(self, row: dict[str, Any], pose: Pose | None, *, control: str, image_bytes: int) -> None:
        """Count one sample; `control` tells its control image from others."""
        self.samples += 1
        kinds = {
            "splits": row["split"],
            "people": str(row["people"]),
            "sizes": f"{row['width']}x{row['height']}",
            "prompts": row["text"],
            "source_names": row["source"],
            "safety": row["safety"],
            "detectors": row["detector"] or "ready-made",
            "devices": row["device"],
        }
        for name, kind in kinds.items():
            count(getattr(self, name), kind)
        if pose:
            self.scores[_bin(row["score"], 1.0, SCORE_BINS)] += 1
            self.poses.add(control, pose)
        self.truncated += row["prompt_truncated"]
        self.near_duplicates += bool(row["near_duplicate_of"])
        self.image_bytes += image_bytes
        if "seconds" in row:  # a clock; without provenance there is none
            self.seconds[seconds_bin(row["seconds"])] += 1
            self.device_seconds = round(self.device_seconds + row["seconds"], 4)

    def merge(self, other: "Statistics") -> None:
        """Add another shard's statistics."""
        for field in msgspec.structs.fields(Statistics):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, dict):
                for kind, number in theirs.items():
                    count(mine, kind, number)
            elif isinstance(mine, list):
                setattr(self, field.name, [a + b for a, b in zip(mine, theirs, strict=True)])
            elif isinstance(mine, PosesSeen):
                mine.merge(theirs)
            else:
                setattr(self, field.name, round(mine + theirs, 4))


def count(counts: dict[str, int], kind: str, number: int = 1) -> None:
    """Count a kind by itself while there are few, else among the others."""
    if kind not in counts and len(counts) >= MOST_KINDS:
        kind = OTHERS
    counts[kind] = counts.get(kind, 0) + number


def seconds_bin(seconds: float) -> int:
    """The bin of a histogram of durations."""
    return min(max(0, math.floor(2 * math.log2(max(seconds, 1e-6) * 1000))), SECONDS_BINS - 1)


def seconds_edge(number: int) -> float:
    """Where a bin of seconds begins."""
    return float(2 ** (number / 2) / 1000)


def _bin(value: float, most: float, bins: int) -> int:
    return min(int(value / most * bins), bins - 1)

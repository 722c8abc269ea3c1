"""Poses made comparable, and a sample of them that is drawn fairly and does not grow."""

import hashlib
from heapq import nlargest

import msgspec

from posemill.pictures.poses import Person, Pose

MOST = 1000  # poses that are kept: those whose names' digests are smallest, so any order gives the same ones


class SeenPose(msgspec.Struct, kw_only=True):
    """A pose: its surest person's 18 keypoints, x and y in turn; None where not found."""

    points: list[float | None]
    images: int = 0  # samples with that pose


class PosesSeen(msgspec.Struct, kw_only=True):
    """Poses by the name of their control image."""

    kept: dict[str, SeenPose] = {}
    left_out: int = 0  # samples whose pose is not among the kept

    def add(self, name: str, pose: Pose) -> None:
        """Count one image's people and keypoints."""
        if name in self.kept:
            self.kept[name].images += 1
            return
        first = max(pose.people, key=lambda person: person.score, default=None)
        points = normalised(first, pose.width, pose.height) if first else None
        if points:
            self._take(name, SeenPose(points=points, images=1))

    def merge(self, other: "PosesSeen") -> None:
        """Add what another shard has seen."""
        self.left_out += other.left_out
        for name, pose in other.kept.items():
            self._take(name, pose)

    def _take(self, name: str, pose: SeenPose) -> None:
        if name in self.kept:
            self.kept[name].images += pose.images
            return
        self.kept[name] = msgspec.structs.replace(pose)
        if len(self.kept) > 2 * MOST:
            self._cut()

    def _cut(self) -> None:
        for name in nlargest(len(self.kept) - MOST, self.kept, key=_digest):
            self.left_out += self.kept.pop(name).images


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def normalised(person: Person, width: int, height: int) -> list[float | None] | None:
    """Keypoints in a box of side 1 around the person's middle, whatever their place and size in the picture.

    None when fewer than three were found: too few to be a pose.
    """
    body = [point and (point[0] * width, point[1] * height) for point in person.body]
    found = [point for point in body if point]
    if len(found) < 3:
        return None
    left, right = min(x for x, _ in found), max(x for x, _ in found)
    top, bottom = min(y for _, y in found), max(y for _, y in found)
    side = max(right - left, bottom - top) or 1.0
    middle = (left + right) / 2, (top + bottom) / 2
    points: list[float | None] = []
    for point in body:
        points += [round((point[axis] - middle[axis]) / side, 3) if point else None for axis in (0, 1)]
    return points

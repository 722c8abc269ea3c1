"""`detect_parity`: does the quick path find whom the library finds, with the same keypoints?"""

from collections.abc import Iterable

import torch

from benchmarks.figure import Figure
from benchmarks.photographs import composed, real
from posemill.contract.specs import DetectSpec
from posemill.pictures.poses import Person, Pose
from workers.detecting.annotators.openpose import load_openpose_thin

COMPOSED = 100
WITHIN = 2.0  # pixels at 512
SPEC = DetectSpec(detector="openpose-thin")


def measure() -> Iterable[Figure]:
    """Look at real and composed pictures both ways."""
    torch.set_num_threads(1)
    pictures = [*real(), *composed(COMPOSED)]
    quick = load_openpose_thin(device="cpu").detect(pictures, SPEC)
    exact = load_openpose_thin(device="cpu", exact=True).detect(pictures, SPEC)
    people = sum(max(len(a.people), len(b.people)) for a, b in zip(quick, exact, strict=True))
    same = sum(same_people(a, b) for a, b in zip(quick, exact, strict=True))
    yield Figure(
        name="detect_parity", value=round(same / people, 4), unit="share", goal=">= 0.99",
        peer="controlnet_aux's own code over the same network",
        detail={"pictures": len(pictures), "people": people, "same": same, "within_px_at_512": WITHIN},
    )  # fmt: skip


def same_people(ours: Pose, theirs: Pose) -> int:
    """How many people of one pose have their like in the other."""
    left = list(theirs.people)
    same = 0
    for person in ours.people:
        like = next((other for other in left if is_same(person, other, ours)), None)
        if like is not None:
            left.remove(like)
            same += 1
    return same


def is_same(a: Person, b: Person, pose: Pose) -> bool:
    """Whether the same keypoints were found at the same places."""
    scale = 512 / min(pose.width, pose.height)
    for mine, other in zip(a.body, b.body, strict=True):
        if (mine is None) != (other is None):
            return False
        if mine and other:
            across, down = (mine[0] - other[0]) * pose.width, (mine[1] - other[1]) * pose.height
            if (across**2 + down**2) ** 0.5 * scale > WITHIN:
                return False
    return True

"""Object keypoint similarity (OKS) as COCO defines it: how well found keypoints agree with a person's own.

The formula and the sigmas are those of https://cocodataset.org/#keypoints-eval.
"""

import numpy as np
from numpy.typing import NDArray

from posemill.pictures.coco_order import to_coco_order
from posemill.pictures.poses import COCO_KEYPOINTS, Person

SIGMAS = np.array([
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
    0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
])  # fmt: skip  # of COCO_KEYPOINTS: how far people who mark the same keypoint differ, in the root of a person's area
BODY_SHARE = 0.53  # of a box that a person covers, as evaluations take it where there are no outlines
THINNEST = 0.25  # of a box's longer side; who is seen from the side, or by the shoulders alone, is no line
SMALLEST = 1 / 16  # of the canvas's shorter side; who is seen by one keypoint is no point

Points = NDArray[np.float64]
"""17 keypoints of COCO's order as (x, y) in pixels; NaN where there is none."""


def coco_points(person: Person, size: tuple[int, int]) -> Points:
    """A person's keypoints in pixels of a canvas of that width and height."""
    places = [(point[0], point[1]) if point else (np.nan, np.nan) for point in to_coco_order(person.body)]
    return np.array(places, dtype=np.float64).reshape(len(COCO_KEYPOINTS), 2) * size


def within(points: Points, size: tuple[int, int]) -> Points:
    """The points without those outside the canvas, where nobody can look for them."""
    inside = ((points >= 0) & (points <= size)).all(axis=1, keepdims=True)
    return np.where(inside, points, np.nan)


def area(points: Points, size: tuple[int, int]) -> float:
    """The area in square pixels by which distances are judged: 0.53 of the box around the points that are there.

    COCO takes the area of the person's outline, which a pose does not have. A degenerate box is widened first: no side
    is shorter than a quarter of the other, or than a sixteenth of the canvas's shorter side.
    """
    sides = np.nanmax(points, axis=0) - np.nanmin(points, axis=0)
    least = max(float(sides.max()) * THINNEST, min(size) * SMALLEST)
    return BODY_SHARE * float(np.maximum(sides, least).prod())


def oks(reference: Points, found: Points, area: float) -> float:
    """OKS of found points over the reference's, 0 to 1: 1 in the same places, 0 far away.

    Only points that the reference has are judged; of those, one that was not found counts as 0, where COCO's own
    evaluation would take it to lie wherever the detector put it. Needs one point of the reference at least.
    """
    wanted = ~np.isnan(reference[:, 0])
    distances = ((reference - found) ** 2).sum(axis=1)[wanted]
    likenesses = np.exp(-distances / (2 * (area + np.spacing(1)) * (2 * SIGMAS[wanted]) ** 2))
    return float(np.nan_to_num(likenesses, nan=0.0).mean())

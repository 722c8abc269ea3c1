"""Body keypoints from OpenPose's order to COCO's and back; COCO has no neck, so it lies between the shoulders."""

from collections.abc import Sequence

from posemill.pictures.poses import BODY_KEYPOINTS, COCO_KEYPOINTS, Keypoint, Keypoints

_NECK, _SHOULDERS = "neck", ("right_shoulder", "left_shoulder")


def to_coco_order(body: Keypoints) -> Keypoints:
    """The 17 that COCO has, of a body's 18 in the order of BODY_KEYPOINTS."""
    found = dict(zip(BODY_KEYPOINTS, body, strict=True))
    return tuple(found[name] for name in COCO_KEYPOINTS)


def from_coco_order(keypoints: Sequence[Keypoint | None]) -> Keypoints:
    """A body's 18 of COCO's 17; the neck is there when both shoulders are."""
    found = dict(zip(COCO_KEYPOINTS, keypoints, strict=True))
    found[_NECK] = between(*(found[name] for name in _SHOULDERS))
    return tuple(found[name] for name in BODY_KEYPOINTS)


def between(one: Keypoint | None, other: Keypoint | None) -> Keypoint | None:
    """The middle of two keypoints, as sure as the less sure of them."""
    if one is None or other is None:
        return None
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2, min(one[2], other[2])

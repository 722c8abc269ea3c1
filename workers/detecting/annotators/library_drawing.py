"""controlnet_aux's own drawing of poses (CMU's licence: non-commercial use only), for `exact: true`."""

from typing import Any

import numpy as np
from controlnet_aux.open_pose import PoseResult, draw_poses
from controlnet_aux.open_pose.body import BodyResult
from controlnet_aux.open_pose.body import Keypoint as LibraryKeypoint
from numpy.typing import NDArray

from posemill.pictures.poses import Keypoint, Keypoints, Person, Pose

_ABSENT = LibraryKeypoint(x=-1.0, y=-1.0)  # the renderer skips hand and face keypoints left of the canvas


def draw_people_exactly(pose: Pose, *, include_hand: bool, include_face: bool) -> NDArray[np.uint8]:
    """The people of a pose on a black canvas of its size, drawn by the library."""
    results = [_result(person) for person in pose.people]
    canvas: Any = draw_poses(results, pose.height, pose.width, draw_hand=include_hand, draw_face=include_face)
    return np.asarray(canvas, dtype=np.uint8)


def _result(person: Person) -> PoseResult:
    body = [None if point is None else LibraryKeypoint(*point) for point in person.body]
    return PoseResult(
        BodyResult(keypoints=body, total_score=0.0, total_parts=sum(point is not None for point in body)),
        _library_points(person.hand_left),
        _library_points(person.hand_right),
        _library_points(person.face),
    )


def _library_points(keypoints: Keypoints | None) -> list[LibraryKeypoint] | None:
    return None if keypoints is None else [_library_point(keypoint) for keypoint in keypoints]


def _library_point(keypoint: Keypoint | None) -> LibraryKeypoint:
    if keypoint is None:
        return _ABSENT
    # In the library these are float32; as float64 some pixels would round down to their neighbour.
    return LibraryKeypoint(x=np.float32(keypoint[0]), y=np.float32(keypoint[1]))

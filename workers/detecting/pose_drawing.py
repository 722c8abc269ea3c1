"""Draws poses as OpenPose control images, from the facts of the format in posemill/pictures/skeleton.py.

Pixel for pixel what the renderer in controlnet_aux draws, which is for non-commercial use only; its arithmetic decides
single pixels and is part of the format: places are cut to whole pixels, a limb's angle to whole degrees, and hands and
faces are placed in float32.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from posemill.pictures.poses import Keypoint, Keypoints, Person, Pose
from posemill.pictures.skeleton import (
    BODY_COLOURS,
    BODY_LIMBS,
    BODY_RADIUS,
    BONE_COLOURS,
    BONE_WIDTH,
    FACE_COLOUR,
    FACE_RADIUS,
    HAND_BONES,
    HAND_COLOUR,
    HAND_RADIUS,
    LIMB_COLOURS,
    LIMB_HALF_WIDTH,
)

Canvas = NDArray[np.uint8]
"""An RGB picture of shape (height, width, 3), drawn on in place."""

Pixel = tuple[int, int]  # x and y
_FILLED = -1


def draw_people(pose: Pose, *, include_hand: bool, include_face: bool) -> Canvas:
    """The people of a pose on a black canvas of its size; one after the other, the last on top."""
    canvas = np.zeros((pose.height, pose.width, 3), dtype=np.uint8)
    for person in pose.people:
        _draw_body(canvas, person.body)
        if include_hand:
            _draw_hands(canvas, person)
        if include_face:
            _draw_dots(canvas, _pixels(person.face, canvas), FACE_RADIUS, FACE_COLOUR)
    return canvas


def _draw_body(canvas: Canvas, body: Keypoints) -> None:
    for (start, end), colour in zip(BODY_LIMBS, LIMB_COLOURS, strict=True):
        one, other = body[start], body[end]
        if one is not None and other is not None:
            cv2.fillConvexPoly(canvas, _limb(one, other, canvas), colour)
    height, width = canvas.shape[:2]
    for point, colour in zip(body, BODY_COLOURS, strict=True):
        if point is not None:
            cv2.circle(canvas, (int(point[0] * width), int(point[1] * height)), BODY_RADIUS, colour, _FILLED)


def _limb(one: Keypoint, other: Keypoint, canvas: Canvas) -> NDArray[np.int32]:
    """The outline of an ellipse from one keypoint to the other."""
    height, width = canvas.shape[:2]
    x0, y0, x1, y1 = one[0] * width, one[1] * height, other[0] * width, other[1] * height
    half_length = math.sqrt((x0 - x1) ** 2 + (y0 - y1) ** 2) / 2
    degrees = math.degrees(math.atan2(y0 - y1, x0 - x1))
    middle = int((x0 + x1) / 2), int((y0 + y1) / 2)
    outline = cv2.ellipse2Poly(middle, (int(half_length), LIMB_HALF_WIDTH), int(degrees), 0, 360, 1)
    return np.asarray(outline, dtype=np.int32)


def _draw_hands(canvas: Canvas, person: Person) -> None:
    for hand in (person.hand_left, person.hand_right):
        places = _pixels(hand, canvas)
        if not places:
            continue
        for (start, end), colour in zip(HAND_BONES, BONE_COLOURS, strict=True):
            one, other = places[start], places[end]
            if one is not None and other is not None:
                cv2.line(canvas, one, other, colour, BONE_WIDTH)
        _draw_dots(canvas, places, HAND_RADIUS, HAND_COLOUR)


def _draw_dots(canvas: Canvas, places: Sequence[Pixel | None], radius: int, colour: tuple[int, int, int]) -> None:
    for place in places:
        if place is not None:
            cv2.circle(canvas, place, radius, colour, _FILLED)


def _pixels(points: Keypoints | None, canvas: Canvas) -> list[Pixel | None]:
    """Where the keypoints of a hand or a face lie; those in the first column or row, or beyond it, are not drawn."""
    height, width = canvas.shape[:2]
    places: list[Pixel | None] = []
    for point in points or ():
        x, y = (int(np.float32(point[0]) * width), int(np.float32(point[1]) * height)) if point else (0, 0)
        places.append((x, y) if x > 0 and y > 0 else None)
    return places

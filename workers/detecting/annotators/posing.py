"""Poses to control images: whoever found the people, they are drawn in the same way."""

from collections.abc import Sequence
from typing import Protocol

import cv2
import msgspec
from PIL import Image

from posemill.contract.specs import DetectSpec
from posemill.errors import BadInput
from posemill.pictures.decoding import is_black
from posemill.pictures.poses import Pose
from workers.detecting.detectors import Detection, each_alone
from workers.detecting.pose_drawing import draw_people
from workers.images.content import Content


class Finder(Protocol):
    """Finds the people in pictures."""

    def detect(self, pictures: Sequence[Image.Image], spec: DetectSpec) -> list[Pose]:
        """The people in each picture, in the pictures' order."""


class PoseDetector:
    """Finds people in pictures and draws them."""

    def __init__(self, finder: Finder, spec: DetectSpec) -> None:
        self.finder = finder
        self._spec = spec

    def detect(self, sources: Sequence[Content]) -> list[Detection | BadInput]:
        """Find and draw the people of each source; an unreadable one gives its error."""
        pictures = each_alone(lambda source: source.picture, sources)
        seen = [picture for picture in pictures if not isinstance(picture, BadInput)]
        poses = iter(self.finder.detect(seen, self._spec))
        return [
            picture if isinstance(picture, BadInput) else self._detection(picture, next(poses)) for picture in pictures
        ]

    def _detection(self, picture: Image.Image, found: Pose) -> Detection:
        pose = without_faint_people(found, self._spec.min_score)
        control = draw_as(pose, self._spec)
        return Detection(pose=if_visible(pose, control), control_image=control, source_size=picture.size)


def without_faint_people(pose: Pose, min_score: float) -> Pose:
    """The pose without the people whose score is lower than min_score."""
    people = tuple(person for person in pose.people if person.score >= min_score)
    return msgspec.structs.replace(pose, people=people)


def if_visible(pose: Pose, control: Image.Image) -> Pose:
    """The pose, without people where its control image shows none: a black one conditions nothing."""
    return msgspec.structs.replace(pose, people=()) if is_black(control) else pose


def draw_as(pose: Pose, spec: DetectSpec) -> Image.Image:
    """The control image that a spec asks for."""
    return draw(
        pose,
        resolution=spec.image_resolution,
        include_hand=spec.include_hand,
        include_face=spec.include_face,
        exact=spec.exact,
    )


def draw(
    pose: Pose, *, resolution: int, include_hand: bool = False, include_face: bool = False, exact: bool = False
) -> Image.Image:
    """The control image: drawn on the pose's canvas, then scaled as controlnet_aux's `__call__` scales.

    `exact` draws with the library's own code, to the same pixels.
    """
    drawing = draw_people
    if exact:
        from workers.detecting.annotators.library_drawing import draw_people_exactly as drawing
    canvas = drawing(pose, include_hand=include_hand, include_face=include_face)
    size = control_size(pose.width, pose.height, resolution)
    return Image.fromarray(cv2.resize(canvas, size, interpolation=cv2.INTER_LINEAR))


def control_size(width: int, height: int, resolution: int) -> tuple[int, int]:
    """Width and height by controlnet_aux's `resize_image`: short side near `resolution`, multiples of 64."""
    scale = resolution / min(width, height)
    return round(width * scale / 64) * 64, round(height * scale / 64) * 64

"""Poses: the keypoints of the people in a picture, and OpenPose's JSON, in which they travel; coco.py reads COCO.

Two orders of body keypoints matter. OpenPose's, which everything here uses, names the person's right
side first and adds a neck; COCO's names the left side first and has none.
"""

import json
import math
from collections.abc import Container
from typing import Annotated, Any, cast

import msgspec

from posemill.errors import BadInput
from posemill.pictures.size_limits import LIMIT_PIXELS, why_unusable_size

Keypoint = tuple[float, float, float]  # x and y as shares of the canvas, score 0..1
Keypoints = tuple[Keypoint | None, ...]  # None: not found

BODY_KEYPOINTS = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
COCO_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
HAND_KEYPOINTS = 21
FACE_KEYPOINTS = 71  # at most: 70 and, from some writers, the background's peak
_BODY_25_TO_18 = (*range(8), *range(9, 19))  # BODY_25 has the middle of the hips at 8, and feet from 19 on

_Side = Annotated[int, msgspec.Meta(ge=1, le=100_000)]


class PoseFormatError(BadInput):
    """A pose file is not what it claims to be."""

    code = "bad_pose"


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """One person's keypoints; left and right are the person's own."""

    body: Keypoints  # 18, in the order of BODY_KEYPOINTS
    hand_left: Keypoints | None = None  # 21; None: not looked for or not found
    hand_right: Keypoints | None = None
    face: Keypoints | None = None  # OpenPose's face network leaves out what it does not find

    @property
    def is_seen(self) -> bool:
        """Whether any keypoint was found."""
        parts = (self.body, self.hand_left or (), self.hand_right or (), self.face or ())
        return any(keypoint is not None for part in parts for keypoint in part)

    @property
    def score(self) -> float:
        """Mean score of the body keypoints that were found; 0 when none was."""
        scores = [keypoint[2] for keypoint in self.body if keypoint is not None]
        return sum(scores) / len(scores) if scores else 0.0


class Pose(msgspec.Struct, frozen=True, kw_only=True):
    """The people in one picture."""

    width: int  # pixels of the canvas
    height: int
    people: tuple[Person, ...] = ()


class _OpenposePerson(msgspec.Struct):
    pose_keypoints_2d: list[float]
    face_keypoints_2d: list[float] | None = None
    hand_left_keypoints_2d: list[float] | None = None
    hand_right_keypoints_2d: list[float] | None = None


class _OpenposeFile(msgspec.Struct):
    people: list[_OpenposePerson]
    canvas_width: _Side
    canvas_height: _Side


def to_openpose_json(pose: Pose) -> dict[str, Any]:
    """OpenPose's JSON (version 1.3, pixels) with the `canvas_width` and `canvas_height` extension."""
    return {
        "version": 1.3,
        "people": [_openpose_person(person, pose.width, pose.height) for person in pose.people],
        "canvas_width": pose.width,
        "canvas_height": pose.height,
    }


def _openpose_person(person: Person, width: int, height: int) -> dict[str, list[float]]:
    return {
        "pose_keypoints_2d": _flatten(person.body, width, height),
        "face_keypoints_2d": _flatten(person.face or (), width, height),
        "hand_left_keypoints_2d": _flatten(person.hand_left or (), width, height),
        "hand_right_keypoints_2d": _flatten(person.hand_right or (), width, height),
    }


def _flatten(keypoints: Keypoints, width: int, height: int) -> list[float]:
    numbers: list[float] = []
    for keypoint in keypoints:
        x, y, score = keypoint or (0.0, 0.0, 0.0)
        # Rounded so that whole pixels stay whole: they then read back as the very same shares.
        numbers += (round(x * width, 4), round(y * height, 4), round(score, 4))
    return numbers


def from_openpose_json(document: object) -> Pose:
    """The pose in OpenPose's JSON, its body in BODY_18 or BODY_25, in pixels or in shares of the canvas.

    ControlNet tools write either; a file whose every coordinate lies within -1..2 holds shares. Who has no keypoint is
    no person. Raises PoseFormatError.
    """
    parsed = _parsed(document)
    width, height = parsed.canvas_width, parsed.canvas_height
    people = tuple(_person(person, f"people[{index}]") for index, person in enumerate(parsed.people))
    if not all(_within_reach(person) for person in people):
        people = tuple(_to_shares(person, width, height) for person in people)
    for index, person in enumerate(people):
        if not _within_reach(person):
            raise PoseFormatError(
                f"people[{index}] has a keypoint more than a whole canvas outside the canvas of"
                f" {width}x{height} pixels; check canvas_width and canvas_height"
            )
    return Pose(width=width, height=height, people=tuple(person for person in people if person.is_seen))


def checked_openpose_json(document: object, *, limit_pixels: float = LIMIT_PIXELS) -> dict[str, Any]:
    """What of a document from outside is OpenPose's JSON, known to be drawable. Raises PoseFormatError.

    A text is read as JSON; a list of one frame is that frame.
    """
    frame = _one_frame(json_in(document) if isinstance(document, str | bytes) else document)
    pose = from_openpose_json(frame)
    if unusable := why_unusable_size(pose.width, pose.height, limit_pixels):
        raise PoseFormatError(f"the canvas {unusable}")
    return cast(dict[str, Any], msgspec.to_builtins(_parsed(frame)))


def json_in(content: str | bytes) -> Any:
    """The JSON in a text, or in the bytes of a file. Raises PoseFormatError, also where an object has a key twice."""
    try:
        return json.loads(content, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise PoseFormatError(f"not JSON ({error})") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises PoseFormatError for a key that stands twice: which of them is meant nobody can say."""
    if key := key_given_twice(pairs):
        raise PoseFormatError(f"the key {key} is given twice")
    return dict(pairs)


def key_given_twice(pairs: list[tuple[str, Any]]) -> str:
    """The first key that a JSON object has more than once, shortened and in quotes; nothing where each stands once."""
    if len(dict(pairs)) == len(pairs):
        return ""
    keys = [key for key, _ in pairs]
    return f"{next(key for key in keys if keys.count(key) > 1)!a:.60}"


def _one_frame(document: object) -> object:
    if not isinstance(document, list):
        return document
    if any(isinstance(entry, dict) and "image_id" in entry for entry in document[:1]):
        raise PoseFormatError(
            "a list of COCO results, which say neither sizes nor names; give the annotations file, with its 'images'"
        )
    if len(document) != 1:
        raise PoseFormatError(f"a list of {len(document)} frames; give each a file or row of its own")
    return document[0]


def _parsed(document: object) -> _OpenposeFile:
    try:
        return msgspec.convert(document, _OpenposeFile)
    except (msgspec.ValidationError, OverflowError) as error:
        raise PoseFormatError(
            f"not OpenPose JSON: {error}; needed are 'people', each with 'pose_keypoints_2d', and"
            " 'canvas_width' and 'canvas_height' in pixels"
        ) from error


def _person(person: _OpenposePerson, place: str) -> Person:
    body = _unflatten(person.pose_keypoints_2d, place, "pose_keypoints_2d", counts=(18, 25))
    if body is None:
        raise PoseFormatError(f"{place}.pose_keypoints_2d is empty; a person needs a body, or leave them out")
    hand = (HAND_KEYPOINTS,)
    return Person(
        body=tuple(body[index] for index in _BODY_25_TO_18) if len(body) == 25 else body,
        hand_left=_unflatten(person.hand_left_keypoints_2d, place, "hand_left_keypoints_2d", counts=hand),
        hand_right=_unflatten(person.hand_right_keypoints_2d, place, "hand_right_keypoints_2d", counts=hand),
        face=_unflatten(person.face_keypoints_2d, place, "face_keypoints_2d", counts=range(1, FACE_KEYPOINTS + 1)),
    )


def _unflatten(numbers: list[float] | None, place: str, name: str, *, counts: Container[int]) -> Keypoints | None:
    if not numbers:
        return None
    if len(numbers) % 3 or len(numbers) // 3 not in counts:
        raise PoseFormatError(f"{place}.{name} holds {len(numbers)} numbers, which is no layout known here")
    if not all(map(math.isfinite, numbers)):
        raise PoseFormatError(f"{place}.{name} holds a number that is not finite")
    return tuple(
        (x, y, min(score, 1.0)) if score > 0 else None
        for x, y, score in zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
    )


def _within_reach(person: Person) -> bool:
    """Whether every keypoint, read as shares, lies at most one canvas outside the canvas."""
    parts = (person.body, person.hand_left or (), person.hand_right or (), person.face or ())
    found = (keypoint for part in parts for keypoint in part if keypoint is not None)
    return all(-1 <= x <= 2 and -1 <= y <= 2 for x, y, _ in found)


def _to_shares(person: Person, width: int, height: int) -> Person:
    return Person(
        body=_divide(person.body, width, height),
        hand_left=person.hand_left and _divide(person.hand_left, width, height),
        hand_right=person.hand_right and _divide(person.hand_right, width, height),
        face=person.face and _divide(person.face, width, height),
    )


def _divide(keypoints: Keypoints, width: int, height: int) -> Keypoints:
    return tuple(point and (point[0] / width, point[1] / height, point[2]) for point in keypoints)


def to_coco_keypoints(person: Person, width: int, height: int) -> list[float]:
    """COCO's 51 numbers: x and y in pixels and visibility (2 found, 0 not) for each of 17 keypoints."""
    found = dict(zip(BODY_KEYPOINTS, person.body, strict=True))
    numbers: list[float] = []
    for name in COCO_KEYPOINTS:
        keypoint = found[name]
        numbers += (round(keypoint[0] * width, 4), round(keypoint[1] * height, 4), 2) if keypoint else (0, 0, 0)
    return numbers

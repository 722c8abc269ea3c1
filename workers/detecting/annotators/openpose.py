"""controlnet_aux's OpenposeDetector with its keypoints, over its own body network or the thin one."""

import logging
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
from controlnet_aux import OpenposeDetector
from controlnet_aux.open_pose import PoseResult
from controlnet_aux.open_pose import util as library_util
from controlnet_aux.open_pose.body import Body, BodyResult
from controlnet_aux.open_pose.body import Keypoint as LibraryKeypoint
from controlnet_aux.util import HWC3, resize_image
from numpy.typing import NDArray
from PIL import Image

from posemill.catalogue.detectors import ANNOTATORS, CARD_WEIGHTS, OPENPOSE
from posemill.contract.specs import DetectSpec
from posemill.errors import RecipeError, RunFault
from posemill.pictures.poses import Keypoints, Person, Pose
from workers.detecting.annotators.posing import PoseDetector
from workers.detecting.detectors import Detector
from workers.detecting.openpose.body_network import BatchedBody, Reading, quick_dtype, total_score
from workers.detecting.openpose.mapped_weights import map_weights
from workers.detecting.openpose.thin import load_thin
from workers.detecting.weights import CANNOT_LOAD, required_weights, weights_file

_BODY, _HAND, _FACE = OPENPOSE

log = logging.getLogger(__name__)


def build(spec: DetectSpec, device: str) -> Detector:
    """OpenPose's own networks, or the thin one for bodies alone. Raises RunFault and RecipeError."""
    if spec.detector == "openpose":
        openpose = load_openpose(
            required_weights(spec), spec.revision, spec.face_revision, device=device, exact=spec.exact
        )
        return PoseDetector(openpose, spec)
    if spec.include_hand or spec.include_face:
        raise RecipeError(
            "detector 'openpose-thin' finds bodies only; use detector 'openpose', or set include_hand and"
            " include_face to false"
        )
    return PoseDetector(load_openpose_thin(device=device, exact=spec.exact), spec)


class Openpose:
    """One detector with its weights; to be used by one thread at a time."""

    def __init__(self, detector: OpenposeDetector) -> None:
        self.detector = detector
        self.body = detector.body_estimation
        self._recorder = _BodyRecorder(self.body)
        detector.body_estimation = self._recorder

    def detect(self, pictures: Sequence[Image.Image], spec: DetectSpec) -> list[Pose]:
        """Everybody in each picture, with scores, on the canvas that the network's picture spans."""
        canvases = [resize_image(HWC3(np.asarray(picture)), spec.detect_resolution) for picture in pictures]
        self._recorder.read([canvas[:, :, ::-1].copy() for canvas in canvases])
        return [self._pose(canvas, spec) for canvas in canvases]

    def _pose(self, canvas: NDArray[np.uint8], spec: DetectSpec) -> Pose:
        """The next picture's pose: bodies as they were read, hands and faces by the library."""
        height, width = canvas.shape[:2]
        found = self.detector.detect_poses(canvas, spec.include_hand, spec.include_face)
        people = [_person(result, body) for result, body in zip(found, self._recorder.bodies, strict=True)]
        return Pose(width=width, height=height, people=tuple(people))


class _BodyRecorder:
    """A body estimation that may have read its pictures in advance, all at once.

    It remembers its last bodies, whose scores the library throws away.
    """

    def __init__(self, estimation: "Body | BatchedBody") -> None:
        self.estimation = estimation
        self.bodies: list[BodyResult] = []
        self._read: list[Reading] = []

    def read(self, pictures: Sequence[NDArray[np.uint8]]) -> None:
        """Read the BGR pictures of the calls that come next."""
        if isinstance(self.estimation, BatchedBody):
            self._read = self.estimation.read(pictures)

    def __call__(self, picture: NDArray[np.uint8]) -> Any:
        return self._read.pop(0) if self._read else self.estimation(picture)

    def format_body_result(self, candidate: Any, subset: Any) -> list[BodyResult]:
        """The library's own, which keeps what it is given."""
        self.bodies = Body.format_body_result(candidate, subset)
        return self.bodies

    def to(self, device: str) -> "_BodyRecorder":
        """Itself: it has no weights to move."""
        self.estimation.to(device)
        return self


def _person(result: PoseResult, scored: BodyResult) -> Person:
    return Person(
        body=tuple(
            place and (float(place.x), float(place.y), _score(point.score))
            for place, point in zip(result.body.keypoints, scored.keypoints, strict=True)
        ),
        hand_left=_points(result.left_hand),
        hand_right=_points(result.right_hand),
        face=_points(result.face),
    )


def _score(value: float) -> float:
    return min(max(float(value), 0.0), 1.0)  # interpolation lets a heatmap overshoot 1


def _points(points: Sequence[LibraryKeypoint] | None) -> Keypoints | None:
    """Hand or face keypoints; the library marks what it did not find by a negative place."""
    if points is None:
        return None
    return tuple((float(point.x), float(point.y), 1.0) if point.x >= 0 and point.y >= 0 else None for point in points)


def load_openpose(
    source: str, revision: str | None, face_revision: str | None = None, *, device: str, exact: bool = False
) -> Openpose:
    """The full detector: body, hands and face, from a hub id or a folder with the library's file names.

    `exact` takes the library's own path through the body network, several times slower.
    torch.load reads the .pth files with weights_only=True (its default), so they cannot run code.
    The revision of a folder is only its digest; there is nothing to choose.
    """
    try:
        detector = _from_pretrained(source, revision, face_revision)
    except CANNOT_LOAD as error:
        raise RunFault(
            f"the OpenPose weights {source!r} (revision {revision}) cannot be loaded: {error};"
            f" give a hub id or a folder with {_BODY}, {_HAND} and {_FACE}"
        ) from error
    detector.to(device)
    if not exact:
        detector.body_estimation = BatchedBody(detector.body_estimation.model, dtype=quick_dtype(device))
    if device == "cpu":
        for part in (detector.body_estimation, detector.hand_estimation, detector.face_estimation):
            map_weights(part.model)
    log.info("Loaded OpenPose.", extra={"weights": source, "revision": revision, "device": device})
    return Openpose(detector)


def _from_pretrained(source: str, revision: str | None, face_revision: str | None) -> OpenposeDetector:
    """From the files' own places: the library knows neither a revision nor a second repository at one."""
    if Path(source).is_dir():
        return OpenposeDetector.from_pretrained(source)
    body, hand = (weights_file(source, name, revision) for name in (_BODY, _HAND))
    elsewhere = source == CARD_WEIGHTS
    face = weights_file(ANNOTATORS if elsewhere else source, _FACE, face_revision if elsewhere else revision)
    return OpenposeDetector.from_pretrained(  # absolute names win when the library joins them to the folder
        str(body.parent), filename=str(body), hand_filename=str(hand), face_filename=str(face)
    )


def load_openpose_thin(*, device: str, exact: bool = False) -> Openpose:
    """The same detector over the network that ships with posemill; it finds bodies only.

    At the library's height (184 px) the network places the joints of large people best, at twice that it also finds
    small people; the better reading is kept. It stays in float32: bfloat16 moved keypoints by up to 5 px.
    """
    log.info("Loaded the thin OpenPose network.", extra={"device": device})
    body = ExactThinBody() if exact else BatchedBody(load_thin(), heights=(1, 2))
    return Openpose(OpenposeDetector(body.to(device)))


class ExactThinBody(Body):  # type: ignore[misc]  # controlnet_aux has no types
    """The library's own body estimation around the thin network, at the better of two heights."""

    def __init__(self) -> None:
        self.model = load_thin()

    def __call__(self, picture: NDArray[np.uint8]) -> Any:
        readings = (super().__call__(picture), _estimate_at_twice_the_height(self, picture))
        return max(readings, key=total_score)


def _twice_as_large(values: NDArray[Any], fx: float, fy: float) -> Any:
    factor = 2 if values.shape[-1] == 3 else 1  # pictures have three channels, maps have more
    return library_util.smart_resize_k(values, factor * fx, factor * fy)


# The height is a constant inside Body.__call__: the function runs again with a `util` that doubles it.
_util = SimpleNamespace(**vars(library_util) | {"smart_resize_k": _twice_as_large})
_estimate_at_twice_the_height = FunctionType(Body.__call__.__code__, Body.__call__.__globals__ | {"util": _util})

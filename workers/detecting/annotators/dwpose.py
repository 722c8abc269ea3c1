"""Bodies, hands and faces by DWPose and RTMPose, through rtmlib on ONNX Runtime; drawn as OpenPose's are."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from controlnet_aux.util import HWC3, resize_image
from numpy.typing import NDArray
from PIL import Image

from posemill.catalogue.detectors import DWPOSE
from posemill.contract.specs import DetectSpec
from posemill.errors import RunFault
from posemill.pictures.poses import Keypoint, Keypoints, Person, Pose
from workers.detecting.annotators.posing import PoseDetector
from workers.detecting.detectors import Detector
from workers.detecting.weights import CANNOT_LOAD, weights_file

DETECTOR, ESTIMATOR = DWPOSE  # as the repositories of DWPose name them
PERSON = 0  # among COCO's 80 classes
LEAST_SCORE = 0.3  # of a keypoint; rtmlib's own Wholebody.format_result draws the same line
BODY, FACE, HAND_LEFT, HAND_RIGHT = slice(0, 18), slice(24, 92), slice(92, 113), slice(113, 134)
RIGHT_EYE, LEFT_EYE = 14, 15  # of the body; OpenPose's face ends with them


def build(spec: DetectSpec, device: str) -> Detector:
    """rtmlib's two networks, for bodies, hands and faces. Raises RunFault."""
    return PoseDetector(Wholebody(load_wholebody(spec.weights, spec.revision, device=device)), spec)


class Wholebody:
    """rtmlib's two networks: people, then their keypoints; to be used by one thread at a time."""

    def __init__(self, networks: Any) -> None:
        self.networks = networks
        finder = networks.det_model
        classes = finder.session.get_outputs()[0].shape[-1]
        # Without suppression in the file there is a score for each class, and rtmlib keeps them all if not told.
        self._tells_classes = isinstance(classes, int) and classes > 5
        if self._tells_classes:
            finder.det_mode = "multiclass"

    def detect(self, pictures: Sequence[Image.Image], spec: DetectSpec) -> list[Pose]:
        """Everybody in each picture, on the canvas that is looked at."""
        return [self._pose(resize_image(HWC3(np.asarray(picture)), spec.detect_resolution)) for picture in pictures]

    def _pose(self, canvas: NDArray[np.uint8]) -> Pose:
        height, width = canvas.shape[:2]
        bgr = np.ascontiguousarray(canvas[:, :, ::-1])
        boxes = self._people(bgr)
        if len(boxes) == 0:  # rtmlib would look for one person in the whole picture
            return Pose(width=width, height=height)
        places, scores = self.networks.pose_model(bgr, bboxes=boxes)
        people = (_person(places[n] / (width, height), scores[n]) for n in range(len(places)))
        return Pose(width=width, height=height, people=tuple(person for person in people if any(person.body)))

    def _people(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Boxes [person, left-top-right-bottom]."""
        found = self.networks.det_model(bgr)
        boxes: NDArray[np.float32] = found
        if self._tells_classes:
            boxes, classes = found
            boxes = boxes[classes == PERSON] if len(boxes) else boxes
        return boxes


def _person(places: NDArray[np.float64], scores: NDArray[np.float32]) -> Person:
    """Of 134 keypoints as rtmlib orders them for OpenPose: body, feet, face, left hand, right hand."""
    points = [_point(place, score) for place, score in zip(places, scores, strict=True)]
    body = tuple(points[BODY])
    return Person(
        body=body,
        hand_left=_part(points[HAND_LEFT]),
        hand_right=_part(points[HAND_RIGHT]),
        face=_part(points[FACE], body[RIGHT_EYE], body[LEFT_EYE]),
    )


def _point(place: NDArray[np.float64], score: np.float32) -> Keypoint | None:
    if score < LEAST_SCORE:
        return None
    return float(place[0]), float(place[1]), min(float(score), 1.0)


def _part(points: list[Keypoint | None], *more: Keypoint | None) -> Keypoints | None:
    """A hand or a face; nothing when none of its keypoints was found."""
    return (*points, *more) if any(points) else None


def load_wholebody(weights: str | None, revision: str | None, *, device: str) -> Any:
    """rtmlib's Wholebody, with its own models, or those of a hub repository or folder in DWPose's file names.

    Raises RunFault when rtmlib or the models are missing.
    """
    try:
        import onnxruntime  # noqa: F401  # rtmlib asks for it only when it loads
        import rtmlib
    except ImportError as error:
        raise RunFault(
            f"detector 'dwpose' needs rtmlib and onnxruntime ({error}):"
            " pip install --no-deps rtmlib; pip install onnxruntime"
        ) from error
    cannot_load: tuple[type[Exception], ...] = (*CANNOT_LOAD, *_onnx_errors())
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it loads
            if weights is None:
                return rtmlib.Wholebody(to_openpose=True, device=device)
            det, pose = (str(weights_file(weights, name, revision)) for name in (DETECTOR, ESTIMATOR))
            return _fitted(rtmlib.Wholebody(det=det, pose=pose, to_openpose=True, device=device))
    except cannot_load as error:
        raise RunFault(
            f"the DWPose models {weights or 'of rtmlib'!r} (revision {revision}) cannot be loaded: {error};"
            f" give a hub id or a folder with {DETECTOR} and {ESTIMATOR}"
        ) from error


def _fitted(networks: Any) -> Any:
    """The networks, told the pictures' sizes that their files ask for: height first to find, width first to place."""
    height, width = networks.det_model.session.get_inputs()[0].shape[-2:]
    networks.det_model.model_input_size = (height, width)
    height, width = networks.pose_model.session.get_inputs()[0].shape[-2:]
    networks.pose_model.model_input_size = (width, height)
    return networks


def _onnx_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises on files that are no models; its errors have no root of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile

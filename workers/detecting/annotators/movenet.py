"""Bodies by MoveNet MultiPose, a network that ships with posemill; no part of it is under a non-commercial licence."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from posemill.contract.specs import DetectSpec
from posemill.pictures.poses import Pose
from workers.detecting.annotators.posing import PoseDetector, control_size
from workers.detecting.detectors import Detector
from workers.detecting.movenet.network import MoveNet, load_movenet
from workers.detecting.movenet.people import find_people


def build(spec: DetectSpec, device: str) -> Detector:
    """MoveNet's 17 keypoints, with a neck between the shoulders. Raises RunFault."""
    return PoseDetector(MoveNetFinder(load_movenet(device=device)), spec)


class MoveNetFinder:
    """Looks at each picture alone, so that its pose is the same in any company."""

    def __init__(self, network: MoveNet) -> None:
        self.network = network

    def detect(self, pictures: Sequence[Image.Image], spec: DetectSpec) -> list[Pose]:
        """Everybody in each picture, on the canvas that a ControlNet's picture of it would have."""
        return [self._pose(picture.convert("RGB"), spec.detect_resolution) for picture in pictures]

    def _pose(self, picture: Image.Image, resolution: int) -> Pose:
        width, height = control_size(picture.width, picture.height, resolution)
        smaller = resolution < min(picture.size)
        canvas = cv2.resize(
            np.asarray(picture), (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4
        )
        return Pose(width=width, height=height, people=find_people(self.network, np.asarray(canvas, dtype=np.uint8)))

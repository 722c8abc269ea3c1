"""Bodies by MoveNet MultiPose, and drawn figures by a small network like it; both ship with posemill.

No part of them is under a non-commercial licence.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

from posemill.contract.specs import DetectSpec
from posemill.pictures.poses import Pose
from workers.detecting.annotators.posing import PoseDetector, control_size
from workers.detecting.detectors import Detector
from workers.detecting.movenet import figures_network, network
from workers.detecting.movenet.people import Box, PeopleNetwork, find_people


def load_movenet(device: str) -> PeopleNetwork:
    """MoveNet, asked as it was trained: at 256 pixels on the longer side. Raises RunFault."""
    return PeopleNetwork(
        network=network.load_movenet(device=device),
        longer_side=256,
        multiple=network.MULTIPLE,
        least_person=0.25,
        least_keypoint=0.3,
    )


def load_figures(device: str) -> PeopleNetwork:
    """The network of the embedded model's figures, at 128 pixels on the shorter side. Raises RunFault."""
    return PeopleNetwork(
        network=figures_network.load_figures_net(device=device),
        shorter_side=figures_network.SIDE,
        multiple=figures_network.MULTIPLE,
        least_person=0.15,
        least_keypoint=0.05,
    )


LOADERS: dict[str, Callable[[str], PeopleNetwork]] = {"movenet": load_movenet, "figures": load_figures}


def build(spec: DetectSpec, device: str) -> Detector:
    """17 keypoints, with a neck between the shoulders. Raises RunFault."""
    return PoseDetector(PeopleFinder(LOADERS[spec.detector](device)), spec)


class PeopleFinder:
    """Looks at each picture alone, so that its pose is the same in any company."""

    def __init__(self, people_network: PeopleNetwork) -> None:
        self._network = people_network

    def detect(self, pictures: Sequence[Image.Image], spec: DetectSpec) -> list[Pose]:
        """Everybody in each picture, on the canvas that a ControlNet's picture of it would have."""
        return [self.detect_near(picture, spec, ()) for picture in pictures]

    def detect_near(self, picture: Image.Image, spec: DetectSpec, around: Sequence[Box]) -> Pose:
        """The same of one picture, looking nearer where people are expected who are small."""
        rgb = picture.convert("RGB")
        resolution = spec.detect_resolution
        width, height = control_size(rgb.width, rgb.height, resolution)
        smaller = resolution < min(rgb.size)
        canvas = cv2.resize(
            np.asarray(rgb), (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4
        )
        people = find_people(self._network, np.asarray(canvas, dtype=np.uint8), around=around)
        return Pose(width=width, height=height, people=people)

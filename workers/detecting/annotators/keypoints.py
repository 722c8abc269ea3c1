"""Ready-made poses, drawn: sources are OpenPose JSON, not pictures, and no network looks at them."""

from collections.abc import Sequence

import msgspec

from posemill.contract.specs import DetectSpec
from posemill.errors import BadInput
from posemill.pictures.poses import Pose, checked_openpose_json, from_openpose_json
from posemill.pictures.size_limits import LIMIT_PIXELS
from workers.detecting.annotators.posing import control_size, draw_as, if_visible, without_faint_people
from workers.detecting.detectors import Detection, Detector, each_alone
from workers.images.content import Content


class KeypointsDetector:
    """Draws the poses that its sources are."""

    def __init__(self, spec: DetectSpec) -> None:
        self._spec = spec

    def detect(self, sources: Sequence[Content]) -> list[Detection | BadInput]:
        """Draw the ready-made poses."""
        return each_alone(self._detection, sources)

    def _detection(self, source: Content) -> Detection:
        read = read_pose(source.content, limit_pixels=source.limit_pixels)
        pose = without_faint_people(read, self._spec.min_score)
        control = draw_as(_on_control_canvas(pose, self._spec.image_resolution), self._spec)
        return Detection(pose=if_visible(pose, control), control_image=control, source_size=(pose.width, pose.height))


def build(spec: DetectSpec, device: str) -> Detector:
    """Whoever draws ready-made poses; it has no network."""
    return KeypointsDetector(spec)


def read_pose(source: bytes, *, limit_pixels: float = LIMIT_PIXELS) -> Pose:
    """The pose in the bytes of an OpenPose JSON file. Raises PoseFormatError."""
    return from_openpose_json(checked_openpose_json(source, limit_pixels=limit_pixels))


def _on_control_canvas(pose: Pose, resolution: int) -> Pose:
    """The same pose on a canvas as large as its control image, so that lines keep their usual width."""
    width, height = control_size(pose.width, pose.height, resolution)
    return msgspec.structs.replace(pose, width=width, height=height)

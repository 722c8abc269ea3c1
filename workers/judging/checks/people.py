"""`people`: as many people are found in the image as the control has; how they stand is not asked."""

from typing import Any

from posemill.contract.specs import DetectSpec
from workers.judging.checks.pose import PoseCheck
from workers.judging.judging import Check, LoadDetector


def build(settings: dict[str, Any], load_detector: LoadDetector) -> Check:
    """The pose check, without a threshold."""
    detector = load_detector(DetectSpec(detector=settings["detector"]))
    return PoseCheck(detector, min_oks=0.0, people=settings["people"])

"""Edges by OpenCV's Canny, through controlnet_aux's CannyDetector; no weights."""

from controlnet_aux import CannyDetector

from posemill.contract.specs import DetectSpec
from workers.detecting.annotators.calling import called_with
from workers.detecting.detectors import Detector


def build(spec: DetectSpec, device: str) -> Detector:
    """OpenCV's edges between the spec's two thresholds; a picture without edges is rejected."""
    thresholds = {"low_threshold": spec.low_threshold, "high_threshold": spec.high_threshold}
    return called_with(CannyDetector(), spec, reason="no_edges", **thresholds)

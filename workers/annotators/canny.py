"""Edges by OpenCV's Canny, through controlnet_aux's CannyDetector; no weights."""

from controlnet_aux import CannyDetector
from PIL import Image

from posemill.specs import DetectSpec
from workers.detectors import Detector, EachPicture


def build(spec: DetectSpec, device: str) -> Detector:
    canny = CannyDetector()

    def edges(picture: Image.Image) -> Image.Image:
        made: Image.Image = canny(
            picture,
            low_threshold=spec.low_threshold,
            high_threshold=spec.high_threshold,
            detect_resolution=spec.detect_resolution,
            image_resolution=spec.image_resolution,
        )
        return made

    return EachPicture(edges, reason="no_edges")

"""Soft contours and scribbles by HED, through controlnet_aux's HEDdetector."""

from functools import lru_cache

from controlnet_aux import HEDdetector
from PIL import Image

from posemill.specs import DetectSpec
from workers.annotators.weights import load_weights
from workers.detectors import Detector, EachPicture

CARD = "lllyasviel/Annotators"
WEIGHTS = "ControlNetHED.pth"
LEAST_CONTRAST = 8  # of 255; a picture without contours leaves a faint haze, not black


def build(spec: DetectSpec, device: str) -> Detector:
    hed = _load(spec.weights or CARD, spec.revision, device)
    scribble = spec.detector == "scribble"

    def contours(picture: Image.Image) -> Image.Image:
        made: Image.Image = hed(
            picture,
            detect_resolution=spec.detect_resolution,
            image_resolution=spec.image_resolution,
            safe=spec.safe,
            scribble=scribble,
        )
        return made

    if scribble:  # black and white, so that one stroke is enough
        return EachPicture(contours, reason="no_strokes")
    return EachPicture(contours, reason="no_contours", least_contrast=LEAST_CONTRAST)


@lru_cache(maxsize=1)  # a run with contours and scribbles has one network in memory
def _load(source: str, revision: str | None, device: str) -> HEDdetector:
    detector = load_weights(
        lambda folder, name: HEDdetector.from_pretrained(folder, filename=name), source, WEIGHTS, revision
    )
    return detector.to(device)

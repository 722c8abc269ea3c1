"""Soft contours and scribbles by HED, through controlnet_aux's HEDdetector."""

from controlnet_aux import HEDdetector

from posemill.catalogue.detectors import HED
from posemill.contract.specs import DetectSpec
from workers.detecting.annotators.calling import called_with, load_annotator
from workers.detecting.detectors import Detector

(WEIGHTS,) = HED
LEAST_CONTRAST = 8  # of 255; a picture without contours leaves a faint haze, not black


def build(spec: DetectSpec, device: str) -> Detector:
    """HED's contours, soft or as a scribble of one stroke; a picture without any is rejected. Raises RunFault."""
    hed = load_annotator(HEDdetector, WEIGHTS, spec, device)
    if spec.detector == "scribble":  # black and white, so that one stroke is enough
        return called_with(hed, spec, reason="no_strokes", safe=spec.safe, scribble=True)
    return called_with(hed, spec, reason="no_contours", least_contrast=LEAST_CONTRAST, safe=spec.safe)

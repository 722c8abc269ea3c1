"""Straight lines by M-LSD, through controlnet_aux's MLSDdetector."""

from controlnet_aux import MLSDdetector

from posemill.catalogue.detectors import MLSD
from posemill.contract.specs import DetectSpec
from workers.detecting.annotators.calling import called_with, load_annotator
from workers.detecting.detectors import Detector

(WEIGHTS,) = MLSD


def build(spec: DetectSpec, device: str) -> Detector:
    """M-LSD's straight line segments; a picture without lines is rejected. Raises RunFault."""
    mlsd = load_annotator(MLSDdetector, WEIGHTS, spec, device)
    return called_with(mlsd, spec, reason="no_lines", thr_v=spec.thr_v, thr_d=spec.thr_d)

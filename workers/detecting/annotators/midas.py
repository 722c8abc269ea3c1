"""Depth, and the surface normals of it, by MiDaS (DPT-hybrid) through controlnet_aux's MidasDetector."""

from typing import Any

from controlnet_aux import MidasDetector

from posemill.catalogue.detectors import MIDAS
from posemill.contract.specs import DetectSpec
from workers.detecting.annotators.calling import called_with, load_annotator
from workers.detecting.detectors import Detector

(WEIGHTS,) = MIDAS


def build(spec: DetectSpec, device: str) -> Detector:
    """MiDaS, for depth or for surface normals; flat depth is rejected. Raises RunFault."""
    midas = load_annotator(MidasDetector, WEIGHTS, spec, device)
    if spec.detector == "depth":
        return called_with(midas, spec, reason="flat_depth")

    def normal(*picture: Any, **settings: Any) -> Any:
        return midas(*picture, depth_and_normal=True, **settings)[1]

    return called_with(normal, spec, reason="flat_depth", bg_th=spec.bg_th)

"""Depth, and the surface normals of it, by MiDaS (DPT-hybrid) through controlnet_aux's MidasDetector."""

from functools import lru_cache

from controlnet_aux import MidasDetector
from PIL import Image

from posemill.controls import CARD_WEIGHTS
from posemill.specs import DetectSpec
from workers.annotators.weights import load_weights
from workers.detectors import Detector, EachPicture

WEIGHTS = "dpt_hybrid-midas-501f0c75.pt"


def build(spec: DetectSpec, device: str) -> Detector:
    midas = _load(spec.weights or CARD_WEIGHTS, spec.revision, device)
    resolutions = {"detect_resolution": spec.detect_resolution, "image_resolution": spec.image_resolution}

    def depth(picture: Image.Image) -> Image.Image:
        made: Image.Image = midas(picture, **resolutions)
        return made

    def normal(picture: Image.Image) -> Image.Image:
        made: Image.Image = midas(picture, bg_th=spec.bg_th, depth_and_normal=True, **resolutions)[1]
        return made

    return EachPicture(normal if spec.detector == "normal" else depth, reason="flat_depth")


@lru_cache(maxsize=1)  # a run with depth and normals has one network in memory
def _load(source: str, revision: str | None, device: str) -> MidasDetector:
    detector = load_weights(
        lambda folder, name: MidasDetector.from_pretrained(folder, filename=name), source, WEIGHTS, revision
    )
    return detector.to(device)

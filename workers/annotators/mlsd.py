"""Straight lines by M-LSD, through controlnet_aux's MLSDdetector."""

from controlnet_aux import MLSDdetector
from PIL import Image

from posemill.controls import CARD_WEIGHTS
from posemill.specs import DetectSpec
from workers.annotators.weights import load_weights
from workers.detectors import Detector, EachPicture

WEIGHTS = "mlsd_large_512_fp32.pth"


def build(spec: DetectSpec, device: str) -> Detector:
    mlsd = load_weights(
        lambda folder, name: MLSDdetector.from_pretrained(folder, filename=name),
        spec.weights or CARD_WEIGHTS,
        WEIGHTS,
        spec.revision,
    ).to(device)

    def lines(picture: Image.Image) -> Image.Image:
        made: Image.Image = mlsd(
            picture,
            thr_v=spec.thr_v,
            thr_d=spec.thr_d,
            detect_resolution=spec.detect_resolution,
            image_resolution=spec.image_resolution,
        )
        return made

    return EachPicture(lines, reason="no_lines")

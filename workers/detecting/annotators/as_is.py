"""Control images that the sources are already: hand-drawn scribbles, ready-made maps of any kind."""

from PIL import Image

from posemill.contract.specs import DetectSpec
from workers.detecting.annotators.posing import control_size
from workers.detecting.detectors import Detector, EachPicture


def build(spec: DetectSpec, device: str) -> Detector:
    """Whoever takes pictures that are control images already."""

    def scaled(picture: Image.Image) -> Image.Image:
        """To the size of other control images, by the nearest pixel: no colour appears that was not there."""
        size = control_size(picture.width, picture.height, spec.image_resolution)
        return picture if picture.size == size else picture.resize(size, Image.Resampling.NEAREST)

    return EachPicture(scaled, reason="blank", ready_made=True)

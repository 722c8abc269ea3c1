"""`sharpness`: the image has edges; the variance of its Laplacian, of grey values 0 to 255, reaches a least value."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from workers.judging.judging import Check, JudgedImage, Judgement, LoadDetector


def build(settings: dict[str, Any], _: LoadDetector) -> Check:
    """It needs no model."""
    return SharpnessCheck(min_variance=settings["min_variance"])


class SharpnessCheck:
    """Passes an image that is not blurred."""

    def __init__(self, *, min_variance: float) -> None:
        self._min_variance = min_variance

    def judge(self, images: Sequence[JudgedImage]) -> list[Judgement]:
        """One after the other."""
        return [self._judgement(image) for image in images]

    def _judgement(self, image: JudgedImage) -> Judgement:
        variance = laplacian_variance(np.asarray(image.content.picture.convert("L"), dtype=np.float64))
        reason = "blurred" if variance < self._min_variance else ""
        return Judgement(reason=reason, figures={"variance": round(variance, 2)})


def laplacian_variance(grey: Any) -> float:
    """Of grey values (height, width): the second differences in both directions, added; 0 where it is too small."""
    if min(grey.shape) < 3:
        return 0.0
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * middle).var())

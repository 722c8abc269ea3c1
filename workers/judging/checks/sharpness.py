"""Whether a picture is sharp: the variance of its Laplacian, which edges make high and blur makes low."""

from collections.abc import Mapping
from typing import Self

import cv2
import numpy as np
from PIL import Image

from posemill.catalogue.checks import Option
from workers.judging.check import ItemFacts, Judgement, Models


class Check:
    """The variance over the grey picture, 0 to 255, at least `min`."""

    def __init__(self, least: float) -> None:
        self._least = least

    @classmethod
    def load(cls, options: Mapping[str, Option], models: Models) -> Self:
        """It has no network."""
        return cls(float(options["min"] or 0))

    def judge(self, picture: Image.Image, facts: ItemFacts) -> Judgement:
        """The same for every prompt and pose."""
        edges = cv2.Laplacian(np.asarray(picture.convert("L")), cv2.CV_64F)
        sharpness = float(np.var(edges))
        passed = sharpness >= self._least
        return Judgement(
            passed=passed, reason=None if passed else "not_sharp", figures={"sharpness": sharpness}, score=sharpness
        )

"""Whether a picture is safe for work, as Stable Diffusion's own safety checker sees it."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from PIL import Image

from posemill.catalogue.checks import Option
from posemill.contract.records import CheckSpec
from workers.judging.check import ItemFacts, Judgement, Models
from workers.judging.clip import load_processor, network_folder, pixel_values
from workers.models.loading import loading


class Check:
    """Nothing that the checker's concepts name."""

    def __init__(self, network: Any, processor: Any, device: str) -> None:
        self._network, self._processor, self._device = network, processor, device

    @classmethod
    def load(cls, options: Mapping[str, Option], models: Models) -> Self:
        """With the checker that the options name. Raises RunFault, and HubAway."""
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

        folder = network_folder(CheckSpec(check="safety", options=dict(options)), models)
        with loading("check 'safety'"):
            network: Any = StableDiffusionSafetyChecker.from_pretrained(folder)
            network = network.eval().to(models.device)
            processor = load_processor(folder)
        return cls(network, processor, models.device)

    def judge(self, picture: Image.Image, facts: ItemFacts) -> Judgement:
        """The same for every prompt and pose."""
        values = pixel_values(self._processor, picture, self._device)
        with torch.inference_mode():
            _, (unsafe,) = self._network(clip_input=values, images=[np.array(picture)])  # a copy: it may be blackened
        passed = not unsafe
        return Judgement(passed=passed, reason=None if passed else "not_safe", figures={"unsafe": float(bool(unsafe))})

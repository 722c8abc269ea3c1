"""Whether a picture looks good: LAION's linear head over CLIP, which was fitted to people's marks from 1 to 10."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import nn

from posemill.catalogue.checks import Option
from posemill.contract.records import CheckSpec
from workers.judging.check import ItemFacts, Judgement, Models
from workers.judging.clip import load_processor, network_folder, pixel_values
from workers.models.loading import loading

HEAD = "predictor."  # before the names of the head's weights


class Check:
    """The mark, at least `min`."""

    def __init__(self, network: Any, head: nn.Linear, processor: Any, *, least: float, device: str) -> None:
        self._network, self._head, self._processor = network, head, processor
        self._least, self._device = least, device

    @classmethod
    def load(cls, options: Mapping[str, Option], models: Models) -> Self:
        """With the network that the options name, and the head in the same file. Raises RunFault, and HubAway."""
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        folder = network_folder(CheckSpec(check="aesthetic", options=dict(options)), models)
        with loading("check 'aesthetic'"):
            config = CLIPVisionConfig.from_pretrained(folder)
            network: Any = CLIPVisionModelWithProjection.from_pretrained(folder, config=config)
            network = network.eval().to(models.device)
            head, processor = load_head(Path(folder), config.projection_dim).to(models.device), load_processor(folder)
        return cls(network, head, processor, least=float(options["min"] or 0), device=models.device)

    def judge(self, picture: Image.Image, facts: ItemFacts) -> Judgement:
        """The same for every prompt and pose."""
        with torch.inference_mode():
            seen = self._network(pixel_values=pixel_values(self._processor, picture, self._device)).image_embeds
            mark = float(self._head(nn.functional.normalize(seen)))
        passed = mark >= self._least
        return Judgement(passed=passed, reason=None if passed else "not_aesthetic", figures={"mark": mark}, score=mark)


def load_head(folder: Path, inputs: int) -> nn.Linear:
    """The linear head of a folder's weights. Raises OSError and KeyError."""
    import safetensors.torch

    files = sorted(folder.glob("*.safetensors"))
    state = (
        safetensors.torch.load_file(files[0])
        if files
        else torch.load(next(folder.glob("*.bin")), map_location="cpu", weights_only=True)
    )
    head = nn.Linear(inputs, 1)
    head.load_state_dict({name.removeprefix(HEAD): value for name, value in state.items() if name.startswith(HEAD)})
    return head.eval()

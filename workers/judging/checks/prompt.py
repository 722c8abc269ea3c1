"""Whether a picture shows what its prompt says: the similarity of both as CLIP sees it."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from PIL import Image

from posemill.catalogue.checks import Option
from posemill.contract.records import CheckSpec
from workers.judging.check import ItemFacts, Judgement, Models
from workers.judging.clip import load_processor, network_folder, pixel_values
from workers.models.loading import loading


class Check:
    """The cosine of picture and prompt (arXiv:2103.00020), at least `min_similarity`; CLIP reads 77 tokens."""

    def __init__(self, network: Any, tokenizer: Any, processor: Any, *, least: float, device: str) -> None:
        self._network, self._tokenizer, self._processor = network, tokenizer, processor
        self._least, self._device = least, device

    @classmethod
    def load(cls, options: Mapping[str, Option], models: Models) -> Self:
        """With the network that the options name. Raises RunFault, and HubAway."""
        from transformers import CLIPModel, CLIPTokenizer

        folder = network_folder(CheckSpec(check="prompt", options=dict(options)), models)
        with loading("check 'prompt'"):
            network: Any = CLIPModel.from_pretrained(folder)
            network = network.eval().to(models.device)
            tokenizer, processor = CLIPTokenizer.from_pretrained(folder), load_processor(folder)
        return cls(network, tokenizer, processor, least=float(options["min_similarity"] or 0), device=models.device)

    def judge(self, picture: Image.Image, facts: ItemFacts) -> Judgement:
        """Passes where there is no prompt."""
        if not facts.prompt:
            return Judgement(passed=True)
        tokens = self._tokenizer(
            facts.prompt, truncation=True, max_length=self._network.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self._device)  # fmt: skip
        with torch.inference_mode():
            seen = self._network(**tokens, pixel_values=pixel_values(self._processor, picture, self._device))
        similarity = float((seen.text_embeds * seen.image_embeds).sum())
        passed = similarity >= self._least
        return Judgement(
            passed=passed,
            reason=None if passed else "prompt_mismatch",
            figures={"similarity": similarity},
            score=similarity,
        )

"""Text embeddings of prompts: each distinct prompt is encoded once and kept for the batches that follow."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from workers.generating.long_prompts import embed_in_chunks

KEPT = 512  # prompts; some 60 MB for Stable Diffusion 1.5 in float16


class Embedded(NamedTuple):
    """Prompts as the networks see them."""

    tokens: torch.Tensor  # (prompts, chunks * window, width)
    pooled: torch.Tensor | None = None  # (prompts, width); of pipelines with two text encoders


class TextEmbeddings:
    """The embeddings of one pipeline's text encoders; to be used by one thread at a time.

    A prompt is encoded alone: in a batch its low bits would depend on the company that it was first met in, and a
    batch made again would not give the same bytes.
    """

    def __init__(self, pipe: Any, keep: int = KEPT) -> None:
        self._pipe = pipe
        self._keep = keep
        self._known: OrderedDict[tuple[str, int], Embedded] = OrderedDict()

    def of(self, prompts: Sequence[str], *, chunks: int = 1) -> Embedded:
        """Embeddings in the prompts' order; what exceeds the window of one chunk is cut off."""
        each = [self._one(prompt, chunks) for prompt in prompts]
        pooled = [one.pooled for one in each if one.pooled is not None]
        return Embedded(torch.cat([one.tokens for one in each]), torch.cat(pooled) if pooled else None)

    def negative(self, prompts: Sequence[str], *, chunks: int = 1) -> Embedded:
        """As `of`; an empty one counts for nothing where the model was trained so (Stable Diffusion XL)."""
        embedded = self.of(prompts, chunks=chunks)
        if embedded.pooled is None or not self._pipe.config.get("force_zeros_for_empty_prompt"):
            return embedded
        empty = torch.tensor([not prompt for prompt in prompts], device=embedded.tokens.device)
        return Embedded(
            embedded.tokens.masked_fill(empty[:, None, None], 0), embedded.pooled.masked_fill(empty[:, None], 0)
        )

    def _one(self, prompt: str, chunks: int) -> Embedded:
        key = (prompt, chunks)
        if key not in self._known:
            self._known[key] = self._encode(prompt, chunks)
            if len(self._known) > self._keep:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _encode(self, prompt: str, chunks: int) -> Embedded:
        if chunks > 1:
            return Embedded(embed_in_chunks(self._pipe, [prompt], chunks))
        found = self._pipe.encode_prompt(
            prompt=[prompt],
            device=self._pipe._execution_device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
        return Embedded(found[0], found[2] if len(found) > 2 else None)

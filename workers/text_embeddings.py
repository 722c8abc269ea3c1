"""Text embeddings of prompts: each distinct prompt is encoded once and kept for the batches that follow."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

from workers.long_prompts import embed_in_chunks

KEPT = 512  # prompts; some 60 MB for Stable Diffusion 1.5 in float16


class TextEmbeddings:
    """The embeddings of one pipeline's text encoder; to be used by one thread at a time.

    A prompt is encoded alone: in a batch its low bits would depend on the company that it was first met in, and a
    batch made again would not give the same bytes.
    """

    def __init__(self, pipe: Any, keep: int = KEPT) -> None:
        self._pipe = pipe
        self._keep = keep
        self._known: OrderedDict[tuple[str, int], torch.Tensor] = OrderedDict()

    def of(self, prompts: Sequence[str], *, chunks: int = 1) -> torch.Tensor:
        """Embeddings of shape (prompts, chunks × window, width); what exceeds the window of one chunk is cut off."""
        return torch.cat([self._one(prompt, chunks) for prompt in prompts])

    def _one(self, prompt: str, chunks: int) -> torch.Tensor:
        key = (prompt, chunks)
        if key not in self._known:
            self._known[key] = self._encode(prompt, chunks)
            if len(self._known) > self._keep:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]

    def _encode(self, prompt: str, chunks: int) -> torch.Tensor:
        if chunks > 1:
            return embed_in_chunks(self._pipe, [prompt], chunks)
        embedded: torch.Tensor
        embedded, _ = self._pipe.encode_prompt([prompt], self._pipe._execution_device, 1, False)
        return embedded

"""The text encoder's training: it learns to say what a prompt asks for, then is frozen.

Learning beside the UNet from nothing, it collapsed to one output for all prompts. Here every token from the end
mark on (a prompt is padded with end marks) must tell clothes, background colour and pattern through linear heads,
so the UNet's cross-attention finds them wherever it looks.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import CLIPTokenizer

from tools.embedded.background import PATTERNS
from tools.embedded.models import TEXT_WIDTH, build_text_encoder
from tools.embedded.palette import BACKGROUNDS, CLOTHES
from tools.embedded.training import Schedule, Training
from tools.embedded.words import PLACES, Request, random_request, write_prompt

SCHEDULE = Schedule(steps=1500, peak_rate=0.01, peak_vector_rate=1e-3, warm_up=0.02, average_decay=0.99)
BATCH = 48


class Reader(nn.Module):
    """A text encoder with a linear head for each thing that a prompt says."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = build_text_encoder(tokenizer)
        self.heads = nn.ModuleList(nn.Linear(TEXT_WIDTH, len(names)) for names in (CLOTHES, BACKGROUNDS, PATTERNS))

    def forward(self, token_ids: Tensor, ended: Tensor) -> list[Tensor]:
        """Return the heads' logits at the positions where the prompt has ended."""
        states = self.text_encoder(token_ids)[0][ended]
        return [head(states) for head in self.heads]


def answers(request: Request) -> tuple[int, int, int]:
    """Return the right class of each head."""
    place = PLACES[request.place]
    clothes, colour, pattern = (list(choices) for choices in (CLOTHES, BACKGROUNDS, PATTERNS))
    return clothes.index(request.clothes), colour.index(place.colour), pattern.index(place.pattern)


def resume_reader(tokenizer: CLIPTokenizer, folder: Path, seed: int) -> Training:
    """Return the training at the folder's checkpoint, or at its start."""
    torch.manual_seed(seed)
    return Training(module=Reader(tokenizer), schedule=SCHEDULE, checkpoint=folder / "reader.pt")


def train_reader(tokenizer: CLIPTokenizer, folder: Path, seed: int) -> Training:
    """Train (or finish training) the text encoder; checkpoints lie in the folder."""
    training = resume_reader(tokenizer, folder, seed)

    def loss(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        requests = [random_request(rng) for _ in range(BATCH)]
        prompts = [write_prompt(request, rng) for request in requests]
        tokens = tokenizer(prompts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        ended = tokens == tokenizer.eos_token_id
        right = torch.tensor([answers(request) for request in requests])[:, None].expand(-1, tokens.shape[1], -1)[ended]
        with torch.autocast("cpu", torch.bfloat16):
            logits = training.module(tokens, ended)
        return sum((cross_entropy(each.float(), right[:, i]) for i, each in enumerate(logits)), torch.zeros(()))

    training.run(loss)
    return training


def averaged_text_encoder(training: Training) -> dict[str, Tensor]:
    """Return the weights of the text encoder that a reader has trained."""
    prefix = "text_encoder."
    return {name.removeprefix(prefix): tensor for name, tensor in training.averaged.items() if name.startswith(prefix)}

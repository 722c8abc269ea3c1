"""Prompts longer than CLIP's window: told apart, or encoded in chunks whose embeddings are joined."""

from typing import Any

import torch


def is_too_long(tokenizer: Any, prompt: str) -> bool:
    """Whether CLIP would cut the prompt's end off."""
    return bool(len(tokenizer(prompt).input_ids) > tokenizer.model_max_length)


def embed_in_chunks(pipe: Any, prompts: list[str], chunks: int) -> torch.Tensor:
    """Embeddings [prompt, chunks × window, width] of prompts of any length up to `chunks` windows."""
    rows = [_windows(pipe.tokenizer, prompt, chunks) for prompt in prompts]
    tokens = torch.tensor(rows, device=pipe.text_encoder.device)  # [prompt, chunk, token]
    embedded = pipe.text_encoder(tokens.flatten(0, 1))[0]
    joined: torch.Tensor = embedded.reshape(len(prompts), -1, embedded.shape[-1])
    return joined


def chunks_needed(tokenizer: Any, prompts: list[str]) -> int:
    """Windows that the longest of the prompts fills; at least one."""
    room = int(tokenizer.model_max_length) - 2
    longest = max(len(tokenizer(prompt, add_special_tokens=False).input_ids) for prompt in prompts)
    return max(1, -(-longest // room))


def _windows(tokenizer: Any, prompt: str, chunks: int) -> list[list[int]]:
    """The prompt's tokens cut into windows, each begun, ended and padded as CLIP expects."""
    window = tokenizer.model_max_length
    tokens = tokenizer(prompt, add_special_tokens=False).input_ids
    padding = tokenizer.pad_token_id
    rows = []
    for start in range(0, chunks * (window - 2), window - 2):
        row = [tokenizer.bos_token_id, *tokens[start : start + window - 2], tokenizer.eos_token_id]
        rows.append(row + [padding] * (window - len(row)))
    return rows

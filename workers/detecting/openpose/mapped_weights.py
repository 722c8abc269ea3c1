"""Weights that the processes of one machine hold once: kept in a file and mapped from there, not copied."""

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from huggingface_hub.constants import HF_HOME
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CACHE = Path(HF_HOME) / "posemill"  # beside the hub's downloads, which containers of a host share too

log = logging.getLogger(__name__)


def map_weights(module: nn.Module, folder: Path | None = None) -> None:
    """Put a mapped file with the same values in the place of a module's weights; the first process writes it.

    Types and memory formats stay as they are. Where the file cannot be written the module keeps its own memory.
    """
    own = module.state_dict()
    stored = {name: _in_file_order(tensor) for name, tensor in own.items()}
    path = (folder or CACHE) / f"{_digest(stored)}.safetensors"
    try:
        if not path.exists():
            _write(path, stored)
        mapped = load_file(path)
    except OSError as error:
        log.warning("Weights are not shared between processes: %s cannot be written (%s)", path, error.strerror)
        return
    module.load_state_dict({name: _as_in(own[name], mapped[name]) for name in own}, assign=True)


def _is_channels_last(tensor: Tensor) -> bool:
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def _in_file_order(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1) if _is_channels_last(tensor) else tensor.contiguous()


def _as_in(own: Tensor, mapped: Tensor) -> Tensor:
    return mapped.permute(0, 3, 1, 2) if _is_channels_last(own) else mapped


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """Of names, types, shapes and values, so that a file can only ever hold what its name says."""
    found = hashlib.sha256()
    for name, tensor in tensors.items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        found.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    try:
        save_file(tensors, unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)

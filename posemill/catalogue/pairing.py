"""Whether a ControlNet belongs to a base, as far as their configurations say. Reads files of this machine alone."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from posemill.catalogue.models import local_path

FAMILIES = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}
"""By the width of the text embeddings that their networks attend to."""
LONGEST_HEADER_BYTES = 100_000_000  # of a .safetensors file
SINGLE_FILE = ".safetensors"


def mismatch(base: Mapping[str, Any], controlnet: Mapping[str, Any]) -> str | None:
    """What speaks against a base's UNet and a ControlNet together, in words; None when nothing does.

    Both are configurations as diffusers writes them; what one of them does not say is not compared.
    """
    ours, theirs = (_width(config.get("cross_attention_dim")) for config in (base, controlnet))
    if ours is None or theirs is None or ours == theirs:
        return None
    return f"the ControlNet is for {_family(theirs)}, the base is {_family(ours)}"


def local_base(model: str, revision: str | None) -> dict[str, Any] | None:
    """The configuration of a base's UNet, where it lies on this machine."""
    path = Path(local_path(model))
    if path.suffix == SINGLE_FILE:
        return _single_file(path) if path.is_file() else None
    return _config(model, revision, "unet/config.json")


def local_controlnet(model: str, revision: str | None) -> dict[str, Any] | None:
    """The configuration of a ControlNet, where it lies on this machine."""
    return _config(model, revision, "config.json")


def _config(model: str, revision: str | None, name: str) -> dict[str, Any] | None:
    path = Path(local_path(model)) / name if Path(local_path(model)).is_dir() else _cached(model, revision, name)
    try:
        found = json.loads(path.read_bytes()) if path else None
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _cached(model: str, revision: str | None, name: str) -> Path | None:
    """A file of a hub repository that was fetched before."""
    try:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError
    except ImportError:  # then nothing was fetched by it either
        return None
    try:
        found = try_to_load_from_cache(model, name, revision=revision)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _single_file(path: Path) -> dict[str, Any] | None:
    """What the header of a .safetensors file in Stability's layout tells of its UNet."""
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, LONGEST_HEADER_BYTES)))
    except (OSError, ValueError, struct.error):
        return None
    for name, tensor in header.items():
        if name.startswith("model.diffusion_model.") and name.endswith(".attn2.to_k.weight"):
            return {"cross_attention_dim": tensor["shape"][1]}
    return None


def _width(value: Any) -> int | None:
    """One number, whether it is given for all blocks or for each."""
    if isinstance(value, list | tuple):
        return int(value[0]) if value else None
    return int(value) if value is not None else None


def _family(width: int) -> str:
    return FAMILIES.get(width, f"one whose text embeddings are {width} wide")

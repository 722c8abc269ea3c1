"""The shipped file: the averaged weights in half precision."""

import json

import safetensors.torch
import torch

from tools.embedded.assemble import describe, describe_machine
from tools.embedded.training import Training
from tools.figures.scenes import SHAPES
from workers.detecting.movenet.figures_network import WEIGHTS

SIZE_LIMIT_BYTES = 2_000_000


def assemble(training: Training) -> None:
    """Write the weights, and how they were trained, where the detector looks for them."""
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in training.averaged.items()
    }
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} does not fit half precision")
    WEIGHTS.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(state, WEIGHTS)
    WEIGHTS.chmod(0o644)
    if (size := WEIGHTS.stat().st_size) >= SIZE_LIMIT_BYTES:
        raise ValueError(f"{WEIGHTS} holds {size} bytes, {SIZE_LIMIT_BYTES} are allowed; make the network narrower")
    history = {
        "parameters": sum(value.numel() for value in state.values()),
        "training": describe(training),
        "scenes": {name: count for name, (_, count) in SHAPES.items()},
        "machine": describe_machine(),
    }
    (WEIGHTS.parent / "training.json").write_text(json.dumps(history, indent=1) + "\n")
    print(f"wrote {WEIGHTS} ({size:,} bytes)")

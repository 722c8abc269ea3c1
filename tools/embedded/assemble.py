"""The shipped folder: averaged weights in half precision, in diffusers' own layout."""

import json
import os
import platform
from pathlib import Path

import torch
from torch import nn

from tools.embedded.autoencoder import finished_autoencoder
from tools.embedded.data import SHAPES
from tools.embedded.models import Denoiser, build_pipeline
from tools.embedded.tokens import build_tokenizer, write_vocabulary
from tools.embedded.train import Trainings
from tools.embedded.training import Training

SIZE_LIMIT_BYTES = 20_000_000


def assemble(trainings: Trainings, folder: Path) -> None:
    """Write the pipeline of the trained modules, and how they were trained, to a folder."""
    tokenizer = build_tokenizer()
    denoiser = Denoiser(tokenizer)
    denoiser.load_state_dict(trainings.denoiser.averaged)
    pipeline = build_pipeline(denoiser.eval(), finished_autoencoder(trainings.autoencoder), tokenizer).to(torch.float16)
    parameters = {
        name: count_parameters(name, part) for name, part in pipeline.components.items() if isinstance(part, nn.Module)
    }
    pipeline.save_pretrained(folder, safe_serialization=True)
    write_vocabulary(tokenizer, folder / "tokenizer")
    history = {
        "parameters": parameters,
        "autoencoder": describe(trainings.autoencoder),
        "text_encoder": describe(trainings.reader),
        "denoiser": describe(trainings.denoiser),
        "samples": {name: count for name, (_, count) in SHAPES.items()},
        "machine": describe_machine(),
    }
    (folder / "training.json").write_text(json.dumps(history, indent=1) + "\n")
    make_readable(folder)
    check_size(folder)


def count_parameters(name: str, module: nn.Module) -> int:
    """Count a module's parameters; refuse one that half precision cannot hold."""
    for key, tensor in module.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name}: {key} does not fit half precision; train again with more weight decay")
    return sum(parameter.numel() for parameter in module.parameters())


def describe(training: Training) -> dict[str, float]:
    """Return a training's length and rate."""
    return {
        "steps": training.step,
        "minutes": round(training.seconds / 60, 1),
        "peak_rate": training.schedule.peak_rate,
        "average_decay": training.schedule.average_decay,
    }


def describe_machine() -> str:
    """Return the kind of machine: its architecture, cores and vector instructions."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()}, {os.cpu_count()} cores, {capability}, bfloat16 under autocast"


def make_readable(folder: Path) -> None:
    """Let everybody read the files; safetensors are written for their owner alone."""
    for path in folder.rglob("*.safetensors"):
        path.chmod(0o644)


def check_size(folder: Path) -> None:
    """Refuse a folder that is larger than what the package may carry."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size >= SIZE_LIMIT_BYTES:
        raise ValueError(f"{folder} holds {size} bytes, {SIZE_LIMIT_BYTES} are allowed; make the UNet narrower")

"""One training: steps under a one-cycle rate, averaged weights, checkpoints to resume from, progress lines."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from tools.embedded.muon import Muon

GENTLY = ("text_encoder",)
"""Modules whose matrices learn under Adam too: Muon's equal steps drowned the text encoder's embeddings."""

Loss = Callable[[int], Tensor]
"""Maps a step's number to its loss; all randomness comes from that number, so a resumed run repeats."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast to learn."""

    steps: int
    peak_rate: float  # of matrices and kernels, under Muon
    peak_vector_rate: float = 1e-3  # of biases, norms and embeddings, under Adam
    warm_up: float = 0.02  # fraction of the steps
    average_decay: float = 0.999
    checkpoint_every: int = 250
    report_every: int = 25

    @property
    def peaks(self) -> tuple[float, float]:
        """Return the peak rate of each optimiser, in the order of `build_optimisers`."""
        return self.peak_rate, self.peak_vector_rate

    def pace(self, step: int) -> float:
        """Return the part of the peak rates to learn at: up linearly, then down a half cosine."""
        done = step / self.steps
        if done < self.warm_up:
            return (step + 1) / (self.steps * self.warm_up)
        return 0.5 * (1 + math.cos(math.pi * (done - self.warm_up) / (1 - self.warm_up)))


def build_optimisers(module: nn.Module) -> list[torch.optim.Optimizer]:
    """Return Muon for matrices and kernels, and Adam for the rest."""
    matrices, rest = [], []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        is_matrix = parameter.ndim in (2, 4) and not name.startswith(GENTLY)
        (matrices if is_matrix else rest).append(parameter)
    return [Muon(matrices), torch.optim.Adam(rest, betas=(0.9, 0.99), fused=True)]


@dataclass(kw_only=True)
class Training:
    """A module on its way: its optimisers, its averaged weights and the step it has reached."""

    module: nn.Module
    schedule: Schedule
    checkpoint: Path
    step: int = 0
    seconds: float = 0.0
    optimisers: list[torch.optim.Optimizer] = field(init=False)
    averaged: dict[str, Tensor] = field(init=False)

    def __post_init__(self) -> None:
        """Start from the checkpoint if there is one."""
        self.optimisers = build_optimisers(self.module)
        self.averaged = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}
        if self.checkpoint.exists():
            self.load()

    def load(self) -> None:
        """Take up the checkpoint's state."""
        state = torch.load(self.checkpoint, weights_only=True)
        self.module.load_state_dict(state["module"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self.averaged, self.step, self.seconds = state["averaged"], state["step"], state["seconds"]

    def save(self) -> None:
        """Write the checkpoint whole or not at all."""
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.checkpoint.with_suffix(".unfinished")
        state = {
            "module": self.module.state_dict(),
            "optimisers": [each.state_dict() for each in self.optimisers],
            "averaged": self.averaged,
            "step": self.step,
            "seconds": self.seconds,
        }
        torch.save(state, unfinished)
        unfinished.rename(self.checkpoint)

    def run(self, loss: Loss, report: Callable[[str], None] = print) -> None:
        """Learn until the schedule's last step."""
        recent: list[float] = []
        while self.step < self.schedule.steps:
            recent.append(self.learn(loss))
            if self.step % self.schedule.report_every == 0:
                report(self.progress(sum(recent) / len(recent)))
                recent = []
            if self.step % self.schedule.checkpoint_every == 0 or self.step == self.schedule.steps:
                self.save()

    def learn(self, loss: Loss) -> float:
        """Take one step; return its loss."""
        started = time.monotonic()
        value = loss(self.step)
        value.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        pace = self.schedule.pace(self.step)
        for optimiser, peak in zip(self.optimisers, self.schedule.peaks, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = peak * pace
            optimiser.step()
            optimiser.zero_grad()
        self.step += 1
        self.average()
        self.seconds += time.monotonic() - started
        return float(value)

    @torch.no_grad()
    def average(self) -> None:
        """Move the averaged weights towards the present ones; faster while there are few steps."""
        weight = 1 - min(self.schedule.average_decay, (1 + self.step) / (10 + self.step))
        for name, tensor in self.module.state_dict().items():
            if tensor.is_floating_point():
                self.averaged[name].lerp_(tensor, weight)
            else:
                self.averaged[name].copy_(tensor)

    def progress(self, loss: float) -> str:
        """Say how far the training is and how long it still takes."""
        pace = self.seconds / self.step
        left = (self.schedule.steps - self.step) * pace
        return (
            f"{self.checkpoint.stem}: step {self.step}/{self.schedule.steps}  loss {loss:.4f}  "
            f"{pace:.2f} s/step  {left / 60:.1f} min left"
        )

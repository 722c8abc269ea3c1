"""The training: drawings as they are and as the embedded model's decoder gives them back, mirrored and recoloured."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from tools.embedded.training import Schedule, Training
from tools.figures.scenes import SHAPES, Scenes, write_scenes
from tools.figures.targets import build_targets, loss
from workers.detecting.movenet.figures_network import FiguresNet
from workers.detecting.movenet.network import STRIDE

SEED = 0
BATCH = 32
SCHEDULE = Schedule(steps=13500, peak_rate=0.01, average_decay=0.998, report_every=100)
DECODER = Path(__file__).parents[2] / "workers" / "weights" / "embedded" / "vae"
NOISE = 0.35  # on the latents, in their deviations, at most
MIRRORED = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]  # COCO's keypoints seen in a mirror


def train(folder: Path, seed: int = SEED) -> Training:
    """The finished training; its work lies in the folder, from which it goes on when it was stopped."""
    print("drawing scenes", flush=True)
    scenes = {name: write_scenes(folder / "scenes", frame, seed, count) for name, (frame, count) in SHAPES.items()}
    decoded = {name: decode_again(each, folder / f"decoded-{name}.npy", seed) for name, each in scenes.items()}
    training = resume(folder, seed)
    names = list(scenes)
    shares = np.array([len(scenes[name].pictures) for name in names], float)

    def step_loss(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        name = names[rng.choice(len(names), p=shares / shares.sum())]
        pictures, people = draw_batch(scenes[name], decoded[name], rng)
        targets = build_targets(people, pictures.shape[2] // STRIDE, pictures.shape[3] // STRIDE)
        with torch.autocast("cpu", torch.bfloat16):
            raw = training.module.raw(pictures.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
        return loss({head: values.float() for head, values in raw.items()}, targets)

    training.run(step_loss, report=lambda line: print(line, flush=True))
    return training


def resume(folder: Path, seed: int = SEED) -> Training:
    """The training at the folder's checkpoint, or at its start."""
    torch.manual_seed(seed)
    network = FiguresNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    for name in ("centre", "heatmap"):
        torch.nn.init.constant_(network.heads[name].bias, -4.0)  # nearly every place is empty
    return Training(module=network, schedule=SCHEDULE, checkpoint=folder / "figures.pt")


@torch.inference_mode()
def decode_again(scenes: Scenes, path: Path, seed: int) -> NDArray[np.uint8]:
    """The pictures through the embedded model's autoencoder, with noise on the latents; or those of an earlier run."""
    if path.exists():
        return np.asarray(np.load(path))
    model = AutoencoderTiny.from_pretrained(DECODER).eval()
    random = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, len(scenes.pictures), 32):
        pictures = torch.from_numpy(scenes.pictures[start : start + 32]).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.autocast("cpu", torch.bfloat16):
            latents = model.encoder(pictures)
            strength = torch.rand(len(latents), 1, 1, 1, generator=random) * NOISE
            noisy = latents + torch.randn(latents.shape, generator=random) * strength
            seen = model.decoder(noisy.to(latents.dtype)).float()
        parts.append(((seen.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    np.save(path, np.concatenate(parts))
    return np.concatenate(parts)


def draw_batch(scenes: Scenes, decoded: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pictures N×3×H×W, 0 to 255, and their people."""
    chosen = rng.integers(len(scenes.pictures), size=BATCH)
    given_back = rng.random(BATCH) < 0.6
    pictures = np.where(given_back[:, None, None, None], decoded[chosen], scenes.pictures[chosen])
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    people = torch.from_numpy(scenes.people[chosen].copy())
    mirrored = torch.from_numpy(rng.random(BATCH) < 0.5)
    batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
    seen_so = people[:, :, MIRRORED].clone()
    seen_so[..., 0] = batch.shape[3] - seen_so[..., 0]
    people = torch.where(mirrored[:, None, None, None], seen_so, people)
    return spoil(batch, rng), people


def spoil(pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Other light, other colours, some blur and some grain."""
    random = torch.Generator().manual_seed(int(rng.integers(2**31)))

    def each(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(len(pictures), channels, 1, 1, generator=random)

    seen = (pictures - 128) * each(0.75, 1.15) * each(0.85, 1.15, 3) + 128 + each(-20, 20) + each(-10, 10, 3)
    soft = interpolate(avg_pool2d(seen, 2), scale_factor=2.0, mode="bilinear", align_corners=False)
    blur = each(-1.0, 0.8).clamp_min(0)
    seen = seen * (1 - blur) + soft * blur
    grain = each(-6, 8).clamp_min(0)
    return (seen + torch.randn(seen.shape, generator=random) * grain).clamp(0, 255)

"""The autoencoder: pictures to latents an eighth of their size, and back."""

import copy
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from tools.embedded.training import Schedule, Training

LATENT_CHANNELS = 16
SCHEDULE = Schedule(steps=1600, peak_rate=0.01, average_decay=0.995)
BATCH = 16
NOISE = 0.03  # on the latents, so that the decoder forgives what the denoiser gets slightly wrong


class LatentAutoencoder(nn.Module):
    """An `AutoencoderTiny` whose latents are standardised: mean 0, deviation 1 in each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.model = AutoencoderTiny(
            encoder_block_out_channels=(32, 32, 32, 32),
            num_encoder_blocks=(0, 1, 2, 2),
            decoder_block_out_channels=(64, 64, 64, 64),
            num_decoder_blocks=(3, 2, 1, 0),
            latent_channels=LATENT_CHANNELS,
        )
        self.standardise = nn.BatchNorm2d(LATENT_CHANNELS, affine=False, momentum=0.02)

    def forward(self, pictures: Tensor, noise: Tensor) -> Tensor:
        """Return the pictures decoded from their noisy latents."""
        latents = self.standardise(self.model.encoder(pictures).float())
        return self.model.decoder(latents + noise)


def to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """Return pictures (count, height, width, 3) as -1..1, channels last in memory."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def reconstruction_loss(decoded: Tensor, pictures: Tensor) -> Tensor:
    """Return the mean absolute error of pixels, of edges, and of the low-passed picture."""
    difference = decoded - pictures
    edges = difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()
    return difference.abs().mean() + edges + avg_pool2d(difference, 8).abs().mean()


def resume_autoencoder(folder: Path, seed: int) -> Training:
    """Return the training at the folder's checkpoint, or at its start."""
    torch.manual_seed(seed)
    module = LatentAutoencoder().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub
    return Training(module=module, schedule=SCHEDULE, checkpoint=folder / "autoencoder.pt")


def train_autoencoder(pictures: NDArray[np.uint8], folder: Path, seed: int) -> Training:
    """Train (or finish training) the autoencoder on pictures; checkpoints lie in the folder."""
    training = resume_autoencoder(folder, seed)
    module = training.module

    def loss(step: int) -> Tensor:
        rng = np.random.default_rng((seed, step))
        batch = to_tensor(pictures[rng.integers(len(pictures), size=BATCH)])
        shape = (BATCH, LATENT_CHANNELS, batch.shape[2] // 8, batch.shape[3] // 8)
        noise = torch.from_numpy(rng.standard_normal(shape, np.float32)) * NOISE * rng.random()
        with torch.autocast("cpu", torch.bfloat16):
            decoded = module(batch, noise)
        return reconstruction_loss(decoded.float(), batch)

    training.run(loss)
    return training


def finished_autoencoder(training: Training) -> AutoencoderTiny:
    """Return the averaged autoencoder with the standardisation folded into the encoder's last layer."""
    module = copy.deepcopy(training.module)
    module.load_state_dict(training.averaged)
    fold_standardisation(module.model.encoder.layers[-1], module.standardise)
    return module.model.eval()


@torch.no_grad()
def fold_standardisation(last: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Make the encoder's last layer give standardised latents."""
    deviation = (norm.running_var + norm.eps).sqrt()
    last.weight.div_(deviation[:, None, None, None])
    last.bias.sub_(norm.running_mean).div_(deviation)


@torch.inference_mode()
def encode(model: AutoencoderTiny, pictures: NDArray[np.uint8]) -> Tensor:
    """Return the latents of pictures, in half precision."""
    latents = []
    with torch.autocast("cpu", torch.bfloat16):
        for start in range(0, len(pictures), 64):
            latents.append(model.encoder(to_tensor(pictures[start : start + 64])).half())
    return torch.cat(latents)

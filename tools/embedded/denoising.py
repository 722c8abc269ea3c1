"""The denoiser's training: UNet and ControlNet learn together from nothing, reading a finished text encoder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTokenizer

from tools.embedded.data import Samples
from tools.embedded.models import Denoiser, build_scheduler
from tools.embedded.reading import averaged_text_encoder
from tools.embedded.training import Schedule, Training
from tools.embedded.words import Request, write_part, write_prompt

SCHEDULE = Schedule(steps=4500, peak_rate=0.012, peak_vector_rate=1.5e-3, average_decay=0.998)
BATCH = 16
NO_PROMPT, PART_PROMPT = 0.1, 0.06  # how often a prompt is left out, or says only the clothes or the place
NOT_SQUARE_EVERY = 8  # steps
SNR_LIMIT = 5.0  # beyond it errors count less, after arXiv:2303.09556; without signal they count in full
NOISIER = 0.6  # timesteps are a uniform number to this power: more of them where text decides the colours


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """Samples of one size with their pictures encoded."""

    samples: Samples
    latents: Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What one step learns from."""

    latents: Tensor
    noise: Tensor
    timesteps: Tensor
    controls: Tensor
    prompts: list[str]


def word_prompt(request: Request, rng: np.random.Generator) -> str:
    """Say the request, rarely only a part of it, sometimes nothing (for classifier-free guidance)."""
    chance = rng.random()
    if chance < NO_PROMPT:
        return ""
    return write_part(request, rng) if chance < NO_PROMPT + PART_PROMPT else write_prompt(request, rng)


def control_tensor(controls: NDArray[np.uint8]) -> Tensor:
    """Return control images (count, height, width, 3) as 0..1, as the pipeline hands them over."""
    return torch.from_numpy(controls).permute(0, 3, 1, 2).float().div(255)


def draw_batch(lessons: list[Lesson], seed: int, step: int) -> Batch:
    """Return the batch of a step: mostly square pictures, now and then wide or tall ones."""
    rng = np.random.default_rng((seed, step))
    odd = step % NOT_SQUARE_EVERY == 0 and len(lessons) > 1
    lesson = lessons[1 + step // NOT_SQUARE_EVERY % (len(lessons) - 1)] if odd else lessons[0]
    chosen = rng.integers(len(lesson.latents), size=BATCH * 5 // 8 if odd else BATCH)
    latents = lesson.latents[torch.from_numpy(chosen)].float()
    return Batch(
        latents=latents,
        noise=torch.from_numpy(rng.standard_normal(latents.shape, np.float32)),
        timesteps=torch.from_numpy((1000 * rng.random(len(chosen)) ** NOISIER).astype(np.int64)),
        controls=control_tensor(lesson.samples.controls[chosen]),
        prompts=[word_prompt(lesson.samples.requests[i], rng) for i in chosen],
    )


def velocity_loss(denoiser: Denoiser, batch: Batch, token_ids: Tensor, alphas: Tensor) -> Tensor:
    """Return the weighted squared error of the predicted velocity (arXiv:2202.00512)."""
    alpha = alphas[batch.timesteps][:, None, None, None]
    signal, spread = alpha.sqrt(), (1 - alpha).sqrt()
    noisy = (signal * batch.latents + spread * batch.noise).to(memory_format=torch.channels_last)
    controls = batch.controls.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = denoiser(noisy, batch.timesteps, token_ids, controls)
    velocity = signal * batch.noise - spread * batch.latents
    errors = (predicted.float() - velocity).square().mean(dim=(1, 2, 3))
    snr = alpha.flatten() / (1 - alpha.flatten())
    return (errors * (snr.clamp(max=SNR_LIMIT) + 1) / (snr + 1)).mean()


def use_plain_attention(denoiser: Denoiser) -> None:
    """Compute attention as written; the fused kernel's backward is four times slower in bfloat16 on a CPU."""
    denoiser.unet.set_attn_processor(AttnProcessor())
    denoiser.controlnet.set_attn_processor(AttnProcessor())
    denoiser.text_encoder.set_attn_implementation("eager")


def resume_denoiser(tokenizer: CLIPTokenizer, reading: Training, folder: Path, seed: int) -> Training:
    """Return the training at the folder's checkpoint, or at its start with the text encoder that has learned."""
    torch.manual_seed(seed)
    denoiser = Denoiser(tokenizer).to(memory_format=torch.channels_last)
    denoiser.text_encoder.load_state_dict(averaged_text_encoder(reading))
    use_plain_attention(denoiser)
    return Training(module=denoiser, schedule=SCHEDULE, checkpoint=folder / "denoiser.pt")


def train_denoiser(
    lessons: list[Lesson], tokenizer: CLIPTokenizer, reading: Training, folder: Path, seed: int
) -> Training:
    """Train (or finish training) the denoiser; checkpoints lie in the folder."""
    training = resume_denoiser(tokenizer, reading, folder, seed)
    denoiser = training.module
    alphas = build_scheduler().alphas_cumprod

    def loss(step: int) -> Tensor:
        batch = draw_batch(lessons, seed, step)
        tokens = tokenizer(batch.prompts, padding="max_length", truncation=True, return_tensors="pt")
        return velocity_loss(denoiser, batch, tokens.input_ids, alphas)

    training.run(loss)
    return training

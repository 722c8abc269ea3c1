"""The whole training: draw, learn to encode, to read, then to denoise. Stop it anywhere; it resumes."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderTiny

from tools.embedded.autoencoder import encode, finished_autoencoder, resume_autoencoder, train_autoencoder
from tools.embedded.data import SHAPES, Samples, read_samples, write_samples
from tools.embedded.denoising import Lesson, resume_denoiser, train_denoiser
from tools.embedded.reading import resume_reader, train_reader
from tools.embedded.tokens import build_tokenizer
from tools.embedded.training import Training

SEED = 0


@dataclass(frozen=True, kw_only=True)
class Trainings:
    """The trainings, in their order."""

    autoencoder: Training
    reader: Training
    denoiser: Training


def train(folder: Path, seed: int = SEED) -> Trainings:
    """Return the finished trainings; work lies in the folder."""
    print("drawing samples", flush=True)
    samples = {
        name: read_samples(write_samples(folder / "samples", frame, seed, count))
        for name, (frame, count) in SHAPES.items()
    }
    autoencoding = train_autoencoder(samples["square"].pictures, folder, seed)
    autoencoder = finished_autoencoder(autoencoding)
    lessons = [encode_lesson(autoencoder, each, folder / f"latents-{name}.pt") for name, each in samples.items()]
    tokenizer = build_tokenizer()
    reading = train_reader(tokenizer, folder, seed)
    denoising = train_denoiser(lessons, tokenizer, reading, folder, seed)
    return Trainings(autoencoder=autoencoding, reader=reading, denoiser=denoising)


def encode_lesson(autoencoder: AutoencoderTiny, samples: Samples, path: Path) -> Lesson:
    """Encode the samples' pictures, or read the latents of an earlier run."""
    if not path.exists():
        torch.save(encode(autoencoder, samples.pictures), path)
    return Lesson(samples=samples, latents=torch.load(path, weights_only=True))


def newest_checkpoints(folder: Path, seed: int = SEED) -> Trainings:
    """Return the trainings as their checkpoints left them."""
    tokenizer = build_tokenizer()
    reading = resume_reader(tokenizer, folder, seed)
    return Trainings(
        autoencoder=resume_autoencoder(folder, seed),
        reader=reading,
        denoiser=resume_denoiser(tokenizer, reading, folder, seed),
    )

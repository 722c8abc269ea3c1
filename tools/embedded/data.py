"""The training samples: drawn once, kept as arrays, and worded anew each time they are used."""

import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.embedded.pose import Frame
from tools.embedded.words import Request
from tools.embedded.world import draw_sample

SQUARE = Frame(width=128, height=128)
SHAPES: dict[str, tuple[Frame, int]] = {
    "square": (SQUARE, 20480),
    "wide": (Frame(width=192, height=128), 2048),
    "tall": (Frame(width=128, height=192), 2048),
}
TRAINING, HELD_OUT = 0, 1  # the second part of every sample's seed
CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Drawn samples of one picture size."""

    pictures: NDArray[np.uint8]  # (count, height, width, 3)
    controls: NDArray[np.uint8]  # the same shape
    requests: list[Request]


def draw_samples(frame: Frame, seed: int, start: int, count: int) -> Samples:
    """Draw the training samples number start to start + count - 1."""
    drawings = [draw_sample(frame, (seed, TRAINING, frame.width, frame.height, start + i)) for i in range(count)]
    return Samples(
        pictures=np.stack([drawing.picture for drawing in drawings]),
        controls=np.stack([drawing.control for drawing in drawings]),
        requests=[drawing.request for drawing in drawings],
    )


def write_chunk(folder: Path, frame: Frame, seed: int, start: int, count: int) -> Path:
    """Draw one chunk of samples into a file, unless it is there already."""
    path = folder / f"{frame.width}x{frame.height}-{start:06d}.npz"
    if path.exists():
        return path
    samples = draw_samples(frame, seed, start, count)
    requests = json.dumps([[request.clothes, request.place] for request in samples.requests])
    unfinished = path.with_name(f"unfinished-{path.name}")
    np.savez(unfinished, pictures=samples.pictures, controls=samples.controls, requests=requests)
    unfinished.rename(path)
    return path


def write_samples(folder: Path, frame: Frame, seed: int, count: int) -> list[Path]:
    """Draw samples on all cores; return the chunk files in order."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, count, CHUNK)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        each = [pool.submit(write_chunk, folder, frame, seed, start, min(CHUNK, count - start)) for start in starts]
        return [future.result() for future in each]


def read_samples(paths: list[Path]) -> Samples:
    """Read chunk files into one set of samples."""
    chunks = [np.load(path) for path in paths]
    requests = [pair for chunk in chunks for pair in json.loads(str(chunk["requests"]))]
    return Samples(
        pictures=np.concatenate([chunk["pictures"] for chunk in chunks]),
        controls=np.concatenate([chunk["controls"] for chunk in chunks]),
        requests=[Request(clothes=clothes, place=place) for clothes, place in requests],
    )

"""What the network learns from: drawings of nobody, of people, and of crowds, with where everybody's keypoints are."""

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.embedded.pose import Frame, Pose, random_people
from tools.embedded.words import random_request
from tools.embedded.world import draw_picture

MOST_PEOPLE = 4
SHAPES = {
    "square": (Frame(width=128, height=128), 24576),
    "wide": (Frame(width=192, height=128), 4096),
    "tall": (Frame(width=128, height=192), 4096),
}
CHUNK = 512
TRAINING, HELD_OUT = 10, 11  # the second part of every scene's seed; the embedded model's drawings are 0 and 1
_NOBODY, _ONE_MORE = 0.05, 0.15  # shares of the scenes

# COCO's 17 keypoints among OpenPose's 18
COCO = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Drawings of one size."""

    pictures: NDArray[np.uint8]  # (count, height, width, 3)
    people: NDArray[np.float32]  # (count, 4, 17, 2): x, y in pixels in COCO's order; NaN where there is nothing


def random_crowd(frame: Frame, rng: np.random.Generator) -> list[Pose]:
    """Nobody, people as the embedded model's world has them, or one more who stands anywhere."""
    chance = rng.random()
    if chance < _NOBODY:
        return []
    people = random_people(frame, rng)
    if chance > 1 - _ONE_MORE:
        people = [*people, random_people(frame, rng)[0]]
    return people[:MOST_PEOPLE]


def draw_scene(frame: Frame, seed: tuple[int, ...]) -> tuple[list[Pose], NDArray[np.uint8]]:
    """The people of a seed, and their picture."""
    rng = np.random.default_rng(seed)
    people, request = random_crowd(frame, rng), random_request(rng)
    return people, draw_picture(people, request, frame, rng)


def draw_scenes(frame: Frame, seed: int, start: int, count: int) -> Scenes:
    """The training scenes number start to start + count - 1."""
    pictures = np.zeros((count, frame.height, frame.width, 3), np.uint8)
    people = np.full((count, MOST_PEOPLE, len(COCO), 2), np.nan, np.float32)
    for number in range(count):
        key = (seed, TRAINING, frame.width, frame.height, start + number)
        poses, pictures[number] = draw_scene(frame, key)
        for place, pose in enumerate(poses):
            people[number, place] = pose[list(COCO)]
    return Scenes(pictures=pictures, people=people)


def write_chunk(folder: Path, frame: Frame, seed: int, start: int) -> Path:
    """Draw one chunk of scenes into a file, unless it is there already."""
    path = folder / f"{frame.width}x{frame.height}-{start:06d}.npz"
    if path.exists():
        return path
    scenes = draw_scenes(frame, seed, start, CHUNK)
    unfinished = path.with_name(f"unfinished-{path.name}")
    np.savez(unfinished, pictures=scenes.pictures, people=scenes.people)
    unfinished.rename(path)
    return path


def write_scenes(folder: Path, frame: Frame, seed: int, count: int) -> Scenes:
    """Draw scenes on all cores, or read those of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        each = [pool.submit(write_chunk, folder, frame, seed, start) for start in range(0, count, CHUNK)]
        chunks = [np.load(future.result()) for future in each]
    return Scenes(
        pictures=np.concatenate([chunk["pictures"] for chunk in chunks]),
        people=np.concatenate([chunk["people"] for chunk in chunks]),
    )

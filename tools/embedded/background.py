"""Drawing backgrounds: a colour, plain or with a light pattern over it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tools.embedded.palette import RGB

Tone = NDArray[np.float32]
"""Brightness factor of each pixel, shape (height, width); 1 is the plain colour."""


def draw_background(colour: RGB, pattern: str, width: int, height: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a picture of the colour under a pattern, uint8 RGB."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / min(width, height)
    tone = PATTERNS[pattern](x, y, rng)
    rgb = np.array(colour, np.float32)
    towards_white = 255 - (255 - rgb) * (2 - tone)[..., None]
    return np.clip(np.where(tone[..., None] > 1, towards_white, rgb * tone[..., None]), 0, 255).astype(np.uint8)


def plain(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """One tone all over."""
    return np.ones_like(x)


def stripes(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """Upright stripes."""
    return np.where(np.sin(x * np.pi * 12 + rng.uniform(0, 6)) > 0, 1.0, 0.88)


def checks(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """A chessboard."""
    return np.where((np.floor(x * 7) + np.floor(y * 7)) % 2 > 0, 1.0, 0.88)


def tiles(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """Square tiles with darker joints."""
    return np.where(((x * 5) % 1 < 0.07) | ((y * 5) % 1 < 0.07), 0.8, 1.0)


def bricks(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """Courses of bricks with darker joints."""
    course = np.floor(y * 8)
    return np.where(((y * 8) % 1 < 0.12) | ((x * 4 + course * 0.5) % 1 < 0.06), 0.8, 1.0)


def planks(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """Lying boards with darker joints."""
    return np.where((y * 6) % 1 < 0.08, 0.8, 1.0)


def waves(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """Lying wavy lines, as of water or dunes."""
    return np.where(np.sin(y * 34 + 1.6 * np.sin(x * 9 + rng.uniform(0, 6))) > 0.55, 0.88, 1.0)


def blades(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """Short leaning strokes, as of grass."""
    row = np.floor(y * 9)
    return np.where(((x * 11 + y * 3 + row * 0.5) % 1 < 0.2) & ((y * 9) % 1 < 0.7), 0.84, 1.0)


def dots(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """Regular lighter dots."""
    return np.where(_spots(x, y, 7, 0.22), 1.25, 1.0)


def stars(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """A few small bright dots at random."""
    centres = rng.uniform(0, 1.5, (26, 2))
    near = [(x - a) ** 2 + (y - b) ** 2 < 0.009**2 for a, b in centres]
    return np.where(np.any(near, axis=0), 1.75, 1.0)


def flakes(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """A few soft darker dots at random, as of falling snow."""
    centres = rng.uniform(0, 1.5, (30, 2))
    near = [(x - a) ** 2 + (y - b) ** 2 < 0.017**2 for a, b in centres]
    return np.where(np.any(near, axis=0), 0.88, 1.0)


def glow(x: Tone, y: Tone, rng: np.random.Generator) -> Tone:
    """Brighter at the bottom than at the top."""
    return 0.88 + 0.24 * y / y.max()


def _spots(x: Tone, y: Tone, count: int, radius: float) -> NDArray[np.bool_]:
    shifted = x * count + 0.5 * (np.floor(y * count) % 2)
    return (shifted % 1 - 0.5) ** 2 + ((y * count) % 1 - 0.5) ** 2 < radius**2


PATTERNS: dict[str, Callable[[Tone, Tone, np.random.Generator], Tone]] = {
    function.__name__: function
    for function in (plain, stripes, checks, tiles, bricks, planks, waves, blades, dots, stars, flakes, glow)
}

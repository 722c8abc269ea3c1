"""Real and composed photographs of people for the detector's figures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image, ImageOps

EXAMPLES = Path(__file__).parents[1] / "examples" / "photos"
SIDE = 512  # pixels


def real() -> list[Image.Image]:
    """The example photographs and scikit-image's two of people, as they are."""
    files = sorted(path for path in EXAMPLES.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    pictures = [Image.open(path).convert("RGB") for path in files]
    return [
        *pictures,
        *(Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in ("astronaut", "camera")),
    ]


def square(picture: Image.Image) -> Image.Image:
    """The picture cut to a square of 512 pixels."""
    return ImageOps.fit(picture, (SIDE, SIDE))


def composed(count: int, seed: int = 0) -> Iterator[Image.Image]:
    """Crops, scales, flips, other shapes, and several people pasted together, drawn from a seed."""
    rng = np.random.default_rng(seed)
    people = real()
    for _ in range(count):
        size = [(SIDE, SIDE), (SIDE, 640), (704, SIDE), (448, SIDE)][rng.integers(4)]
        canvas = Image.new("RGB", size, tuple(int(value) for value in rng.integers(60, 200, 3)))
        for place in range(rng.integers(1, 4)):
            picture = people[rng.integers(len(people))]
            picture = ImageOps.mirror(picture) if rng.random() < 0.5 else picture
            margin = rng.uniform(0, 0.15, 4) * np.array([picture.width, picture.height] * 2)
            picture = picture.crop(
                (int(margin[0]), int(margin[1]), picture.width - int(margin[2]), picture.height - int(margin[3]))
            )
            height = int(rng.uniform(0.45, 1.0) * size[1])
            picture = picture.resize((max(1, picture.width * height // picture.height), height))
            canvas.paste(picture, (int(rng.uniform(-0.1, 0.6) * size[0]) if place else 0, size[1] - height))
        yield canvas

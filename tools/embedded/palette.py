"""The colours of the drawn world, and which of them a seen colour is nearest to."""

import cv2
import numpy as np
from numpy.typing import NDArray

RGB = tuple[int, int, int]

CLOTHES: dict[str, RGB] = {
    "red": (206, 32, 41),
    "orange": (245, 130, 32),
    "yellow": (250, 212, 45),
    "green": (38, 146, 62),
    "cyan": (50, 196, 208),
    "blue": (38, 84, 205),
    "purple": (122, 48, 160),
    "pink": (245, 120, 178),
    "brown": (118, 70, 38),
    "black": (26, 26, 28),
    "grey": (128, 130, 132),
    "white": (244, 244, 242),
}

# A background may also be sand or a night sky, which nobody wears here.
BACKGROUNDS: dict[str, RGB] = {**CLOTHES, "sand": (212, 192, 126), "navy": (20, 30, 88)}

SKIN: tuple[RGB, ...] = ((236, 190, 156), (206, 148, 110), (150, 96, 66), (98, 64, 48))
HAIR: tuple[RGB, ...] = ((40, 30, 26), (92, 58, 34), (196, 152, 84), (150, 60, 30), (150, 148, 146))


def to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return CIELAB (L 0..100) for sRGB bytes of shape (..., 3)."""
    pixels = np.asarray(rgb, np.float32).reshape(1, -1, 3) / 255
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB), np.float32).reshape(np.shape(rgb))


def nearest_name(rgb: NDArray[np.uint8], palette: dict[str, RGB]) -> str:
    """Return the name of the palette's colour at the least CIELAB distance from one colour."""
    names = list(palette)
    references = to_lab(np.array([palette[name] for name in names], np.uint8))
    return names[int(np.linalg.norm(references - to_lab(rgb), axis=1).argmin())]

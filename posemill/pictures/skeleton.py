"""The format of OpenPose control images: which keypoints are joined, in which order, and in which colours.

ControlNets for poses were trained on pictures that were drawn so. Colours go around the wheel of hues, a body's in 18
steps (a keypoint and a limb of the same place share one), a hand's in 20.
"""

import colorsys
from collections.abc import Sequence

Colour = tuple[int, int, int]  # red, green and blue, 0..255

BODY_LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13),
    (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip  # between the keypoints of a body, in the order in which they are drawn
HAND_BONES = tuple(
    (0 if step == 0 else 4 * finger + step, 4 * finger + step + 1) for finger in range(5) for step in range(4)
)
"""Between the keypoints of a hand: from the wrist along the thumb, then along each finger."""


def _wheel(steps: int) -> tuple[Colour, ...]:
    around = (colorsys.hsv_to_rgb(step / steps, 1.0, 1.0) for step in range(steps))
    return tuple((round(red * 255), round(green * 255), round(blue * 255)) for red, green, blue in around)


BODY_COLOURS = _wheel(18)  # of keypoints
LIMB_COLOURS = tuple(
    (red * 3 // 5, green * 3 // 5, blue * 3 // 5) for red, green, blue in BODY_COLOURS[: len(BODY_LIMBS)]
)
BONE_COLOURS = _wheel(len(HAND_BONES))
HAND_COLOUR: Colour = (0, 0, 255)
FACE_COLOUR: Colour = (255, 255, 255)

LIMB_HALF_WIDTH = 4  # pixels of the canvas, whatever its size; of the ellipse that a limb is
BODY_RADIUS = 4  # of keypoints
HAND_RADIUS = 4
FACE_RADIUS = 3
BONE_WIDTH = 2


def as_hexadecimal(colours: Sequence[Colour]) -> tuple[str, ...]:
    """Colours as HTML writes them."""
    return tuple("#" + bytes(colour).hex() for colour in colours)

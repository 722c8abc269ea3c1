"""Pictures of people for the proof that MoveNet's port computes what its graph computes; made of photographs that ship
with scikit-image, by cutting alone, so that they are the same everywhere.

    python -m tests.unit.detecting.reference_pictures FOLDER    # as raw bytes for tools/movenet_reference.mjs
"""

import sys
from pathlib import Path

import numpy as np
import skimage.data


def pictures():
    """Pictures by name, (height, width, 3), 0 to 255, both sides multiples of 32."""
    astronaut = skimage.data.astronaut()
    cameraman = np.repeat(skimage.data.camera()[..., None], 3, axis=2)
    far = np.full((256, 256, 3), 150, np.uint8)
    far[80:208, 40:168] = cameraman[::4, ::4]
    return {
        "astronaut": astronaut[::2, ::2],
        "cameraman": cameraman[::2, ::2],
        "both": np.concatenate((astronaut[::2, ::2], cameraman[::2, ::2, ::-1]), axis=1),
        "wide": astronaut[:384:2, ::2],
        "far": far,
        "mirrored": astronaut[::2, ::-2],
        "nobody": np.full((256, 256, 3), 150, np.uint8),
    }


if __name__ == "__main__":
    for name, picture in pictures().items():
        path = Path(sys.argv[1]) / f"{name}.rgb"
        path.write_bytes(np.ascontiguousarray(picture).tobytes())
        print(path, *picture.shape[:2])

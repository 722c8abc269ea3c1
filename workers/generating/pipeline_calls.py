"""What a pipeline is asked for and gives: the seam between the generate stage and diffusers."""

from collections.abc import Sequence
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from posemill.contract.specs import GenerateSpec


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What one pipeline call is asked for; lists have one entry an image."""

    prompts: Sequence[str]
    negative_prompts: Sequence[str]
    controls: Sequence[Sequence[Image.Image]]  # for each ControlNet, one such list
    seeds: Sequence[int]
    size: tuple[int, int]  # width and height, pixels
    fill_to: int = 0  # images that the call is filled up to where shapes are compiled


class Pictures(msgspec.Struct, frozen=True, kw_only=True):
    """What one pipeline call gave."""

    pixels: NDArray[np.float32]  # [image, height, width, RGB], 0..1; NaN where the VAE overflowed
    unsafe: list[bool]  # the safety checker's verdict; all False without it
    truncated: list[bool]  # whether the prompt's end was cut off


class Pipeline(Protocol):
    """A resident pipeline; to be called by one thread at a time."""

    made_with: dict[str, object]  # device, dtype and the revisions that were loaded, for the record

    def __call__(self, call: Call, spec: GenerateSpec) -> Pictures:
        """Make one image for each prompt. Raises OutOfMemory when the device cannot hold so many."""

"""Runs an OpenPose body network over several pictures at once, in the number format that the processor is quick at."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from posemill.processes.processor import computes_in_bfloat16
from workers.detecting.openpose.body_assembly import assemble
from workers.detecting.openpose.body_maps import KEYPOINTS, STRIDE, Maps

NETWORK_HEIGHT = 184  # pixels that the library scales every picture's height to
PADDING = 128  # grey
PIXELS_AT_ONCE = 8 * NETWORK_HEIGHT**2  # beyond that a network's activations no longer fit the processor's cache

Picture = NDArray[np.uint8]
"""A BGR picture of shape (height, width, 3)."""

Reading = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Candidates and people in the format of controlnet_aux's `Body`."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A picture as the network sees it."""

    values: NDArray[np.float32]  # (3, height, width), padded to multiples of the stride
    size: tuple[int, int]  # height and width without the padding


class BatchedBody:
    """Finds bodies as controlnet_aux's `Body` does, in a fraction of its time.

    `heights`: times the library's height at which to look; of several readings the one with the highest total score,
    as the library counts it, is kept.
    """

    def __init__(
        self, model: nn.Module, *, heights: tuple[int, ...] = (1,), dtype: torch.dtype = torch.float32
    ) -> None:
        self.model = model.to(dtype=dtype, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._heights = heights
        self._dtype = dtype

    def __call__(self, picture: Picture) -> Reading:
        """Read one picture, as the library calls it."""
        return self.read([picture])[0]

    def read(self, pictures: Sequence[Picture]) -> list[Reading]:
        """Read several pictures."""
        readings = [self._read_at(height, pictures) for height in self._heights]
        return [max(each, key=total_score) for each in zip(*readings, strict=True)]

    def to(self, device: str) -> "BatchedBody":
        """Move the network, as the library asks for."""
        self.model.to(device)
        return self

    def _read_at(self, height: int, pictures: Sequence[Picture]) -> list[Reading]:
        seen = [prepare(picture, height * NETWORK_HEIGHT) for picture in pictures]
        shapes: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, each in enumerate(seen):
            shapes[each.values.shape].append(number)
        readings: dict[int, Reading] = {}
        for shape, numbers in shapes.items():
            for part in in_parts(numbers, PIXELS_AT_ONCE // (shape[1] * shape[2])):
                fields, heatmaps = self.run(np.stack([seen[number].values for number in part]))
                for position, number in enumerate(part):
                    picture = pictures[number].shape[:2]
                    maps = Maps(heatmaps[position], fields[position], seen=seen[number].size, picture=picture)
                    readings[number] = assemble(maps, picture[0])
        return [readings[number] for number in range(len(pictures))]

    @torch.inference_mode()
    def run(self, values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return part affinity fields (count, 38, height, width) and heatmaps (count, 19, height, width)."""
        device = next(iter(self.model.parameters())).device
        inputs = torch.from_numpy(values).to(device, self._dtype, memory_format=torch.channels_last)
        fields, heatmaps = self.model(inputs)
        return fields.float().cpu().contiguous().numpy(), heatmaps.float().cpu().contiguous().numpy()


def in_parts(numbers: list[int], size: int) -> list[list[int]]:
    """Return the numbers in parts of at most `size`, which may be too small to be one."""
    size = max(1, size)
    return [numbers[start : start + size] for start in range(0, len(numbers), size)]


def prepare(picture: Picture, height: int) -> Seen:
    """Scale a picture to about that height and pad it at its right and bottom, as the library does."""
    scale = height / picture.shape[0]
    size = int(picture.shape[1] * scale), int(picture.shape[0] * scale)
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LANCZOS4)
    below, beside = (-side % STRIDE for side in scaled.shape[:2])
    padded = np.pad(scaled, ((0, below), (0, beside), (0, 0)), constant_values=PADDING)
    values = np.float32(padded.transpose(2, 0, 1)) / 256 - 0.5
    return Seen(values=np.ascontiguousarray(values), size=(scaled.shape[0], scaled.shape[1]))


def total_score(reading: Reading) -> float:
    """Return the sum of the people's scores."""
    return float(reading[1][:, KEYPOINTS].sum())


def quick_dtype(device: str) -> torch.dtype:
    """Return bfloat16 on a processor that computes in it (AMX or AVX512-BF16), else float32."""
    quick = device == "cpu" and computes_in_bfloat16(torch.cpu.get_capabilities())
    return torch.bfloat16 if quick else torch.float32

"""MoveNet MultiPose as a torch module, with the weights that ship beside it.

A MobileNetV2 of width 1.5, a feature pyramid down to a quarter of the picture's size, and six heads over it.
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from posemill.errors import RunFault

WEIGHTS = Path(__file__).parents[2] / "weights" / "movenet_multipose" / "model.safetensors"
STRIDE = 4  # pixels of the picture for a cell of the maps
MULTIPLE = 32  # height and width of a picture are multiples of it
KEYPOINTS = 17  # in COCO's order
_STEM = 48
_BLOCKS = (  # outputs and stride of each
    (24, 1), (40, 2), (40, 1), (48, 2), (48, 1), (48, 1), (96, 2), (96, 1), (96, 1), (96, 1),
    (144, 1), (144, 1), (144, 1), (240, 2), (240, 1), (240, 1), (480, 1),
)  # fmt: skip
_EXPANSION = 6
_TAPS = {2: 24, 5: 32, 9: 64}  # blocks that the pyramid reads, with its width there
_TOP, _TOP_WIDTH = 1280, 64
_FEATURES, _HIDDEN = 24, 96
_HEADS = {"centre": 1, "box_scale": 2, "box_offset": 2, "heatmap": KEYPOINTS, "regress": 34, "offset": 34}
_SCALE = 0.007843017578125  # 2 / 255 in float16, as the weights are stored


class Maps(NamedTuple):
    """What the heads say of each cell, (batch, channels, height / 4, width / 4); pairs are (y, x), in cells."""

    centre: Tensor  # whether a person's middle is here, 0 to 1
    box_scale: Tensor  # height and width of the person
    box_offset: Tensor  # from the cell to the box's middle
    heatmap: Tensor  # whether a keypoint is here, 0 to 1
    regress: Tensor  # from the person's middle to each keypoint, roughly
    offset: Tensor  # from the cell to each keypoint, finely


class Padded(nn.Conv2d):
    """A convolution that pads as TensorFlow's SAME does (even sizes only): at stride 2 on the right and below alone."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = True
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """The maps at 1 / stride of their size."""
        return super().forward(x if self.stride == (1, 1) else functional.pad(x, (0, 1, 0, 1)))


class Block(nn.Module):
    """An inverted residual of MobileNetV2 (arXiv:1801.04381), its normalisations folded in."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expands: bool) -> None:
        super().__init__()
        hidden = inputs * _EXPANSION if expands else inputs
        self.expand = Padded(inputs, hidden, 1) if expands else None
        self.depthwise = Padded(hidden, hidden, 3, stride=stride, groups=hidden)
        self.project = Padded(hidden, outputs, 1)
        self._adds = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Features to features."""
        wide = functional.relu6(self.expand(x)) if self.expand is not None else x
        y: Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return x + y if self._adds else y


class Separable(nn.Module):
    """A depthwise and a pointwise convolution, and what is below zero cut off."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = Padded(inputs, inputs, 3, groups=inputs, bias=False)
        self.pointwise = Padded(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features to features."""
        return functional.relu(self.pointwise(self.depthwise(x)))


class MoveNet(nn.Module):
    """Pictures to maps. In: N×3×H×W, RGB 0 to 255, H and W multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Padded(3, _STEM, 3, stride=2)
        inputs = (_STEM, *(outputs for outputs, _ in _BLOCKS))
        self.blocks = nn.ModuleList(
            Block(before, after, stride=stride, expands=number > 0)
            for number, (before, (after, stride)) in enumerate(zip(inputs, _BLOCKS, strict=False))
        )
        self.last = Padded(inputs[-1], _TOP, 1)
        self.top = Padded(_TOP, _TOP_WIDTH, 1)
        self.laterals = nn.ModuleList(Padded(inputs[block + 1], width, 1) for block, width in reversed(_TAPS.items()))
        widths = (*reversed(_TAPS.values()), _FEATURES)
        self.smooths = nn.ModuleList(Separable(before, after) for before, after in pairwise(widths))
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(Separable(_FEATURES, _HIDDEN), Padded(_HIDDEN, outputs, 1))
                for name, outputs in _HEADS.items()
            }
        )

    def forward(self, pictures: Tensor) -> Maps:
        """Pictures to the maps of all heads."""
        features = self._pyramid(functional.relu6(self.stem(pictures * _SCALE - 1)))
        maps = {name: head(features) for name, head in self.heads.items()}
        return Maps(**maps | {name: maps[name].sigmoid() for name in ("centre", "heatmap")})

    def _pyramid(self, x: Tensor) -> Tensor:
        tapped = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in _TAPS:
                tapped.append(x)
        x = self.top(functional.relu6(self.last(x)))
        for lateral, smooth, finer in zip(self.laterals, self.smooths, reversed(tapped), strict=True):
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = smooth(x + lateral(finer))
        return x


def load_movenet(path: Path = WEIGHTS, *, device: str = "cpu") -> MoveNet:
    """The network with its weights in float32, in evaluation mode. Raises RunFault where they are not installed."""
    if not path.is_file():
        raise RunFault(f"the weights of movenet are not at {path}; install them: pip install posemill-weights")
    with torch.device("meta"):  # nothing is drawn at random only to be overwritten
        network = MoveNet()
    weights = {name: value.float() for name, value in safetensors.torch.load_file(path).items()}
    network.load_state_dict(weights, assign=True)
    return network.requires_grad_(False).eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

"""The 8 MB OpenPose body network (MobileNet-thin) as a torch module, with the weights that ship beside it."""

from pathlib import Path
from typing import cast

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from posemill.errors import RunFault

WEIGHTS = Path(__file__).parents[2] / "weights" / "openpose_thin" / "model.safetensors"
HEATMAPS = 19  # 18 keypoints and the background
PAFS = 38  # an x and a y for each of 19 limbs
_BACKBONE = (  # outputs and stride of each block after the stem
    (48, 1), (96, 2), (96, 1), (192, 2), (192, 1), (384, 1), (384, 1), (384, 1), (384, 1), (384, 1), (384, 1),
)  # fmt: skip
_EARLY, _MIDDLE, _LATE = 2, 6, 10  # blocks whose outputs are the features that every stage reads
_STAGES = 6


class Separable(nn.Module):
    """A depthwise and a pointwise convolution, padded as TensorFlow's SAME pads (even sizes only)."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.one_sided = stride == 2  # SAME pads an even size at stride 2 on its right and bottom only
        padding = 0 if self.one_sided else kernel // 2
        self.depthwise = nn.Conv2d(inputs, inputs, kernel, stride=stride, padding=padding, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width] to the same with other channels."""
        if self.one_sided:
            x = functional.pad(x, (0, 1, 0, 1))
        x = cast(Tensor, self.pointwise(self.depthwise(x)))
        return functional.relu_(x) if self.relu else x


def _branch(inputs: int, outputs: int, *, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        Separable(inputs, 64),
        Separable(64, 64),
        Separable(64, 64),
        Separable(64, hidden, kernel=1),
        Separable(hidden, outputs, kernel=1, relu=False),
    )


class Stage(nn.Module):
    """One refinement: the same features to part affinity fields and to heatmaps."""

    def __init__(self, inputs: int, *, hidden: int) -> None:
        super().__init__()
        self.pafs = _branch(inputs, PAFS, hidden=hidden)
        self.heatmaps = _branch(inputs, HEATMAPS, hidden=hidden)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features to the maps of limbs and of keypoints."""
        return self.pafs(x), self.heatmaps(x)


class ThinBodyNet(nn.Module):
    """Pictures to maps, with the inputs and outputs of controlnet_aux's `Body.model`.

    In: N×3×H×W, BGR, value / 256 - 0.5, H and W multiples of 8.
    Out: part affinity fields N×38×H/8×W/8 and heatmaps N×19×H/8×W/8, in OpenPose's order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 3, stride=2)
        inputs = (24, *(outputs for outputs, _ in _BACKBONE))
        self.backbone = nn.ModuleList(
            Separable(before, after, stride=stride) for before, (after, stride) in zip(inputs, _BACKBONE, strict=False)
        )
        features = sum(_BACKBONE[block][0] for block in (_EARLY, _MIDDLE, _LATE))
        self.stages = nn.ModuleList(
            Stage(features, hidden=256) if stage == 0 else Stage(PAFS + HEATMAPS + features, hidden=64)
            for stage in range(_STAGES)
        )

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [batch, 3, height, width] to the maps of limbs and of keypoints at an eighth of the size."""
        features = self._features((pictures.flip(1) + 0.5) * 256)  # the network was trained on RGB, 0 to 255
        pafs, heatmaps = self.stages[0](features)
        for stage in self.stages[1:]:
            pafs, heatmaps = stage(torch.cat((pafs, heatmaps, features), dim=1))
        return pafs, heatmaps

    def _features(self, x: Tensor) -> Tensor:
        x = functional.relu_(self.stem(functional.pad(x, (0, 1, 0, 1))))
        kept = []
        for number, block in enumerate(self.backbone):
            x = block(x)
            if number in (_EARLY, _MIDDLE, _LATE):
                kept.append(x)
        early, middle, late = kept
        return torch.cat((functional.max_pool2d(early, 2), middle, late), dim=1)


def load_thin(path: Path = WEIGHTS) -> ThinBodyNet:
    """The network with its weights, in evaluation mode, on the CPU."""
    if not path.is_file():
        raise RunFault(f"the weights of openpose-thin are not at {path}; install them: pip install posemill-weights")
    with torch.device("meta"):  # nothing is drawn at random only to be overwritten
        network = ThinBodyNet()
    network.load_state_dict(safetensors.torch.load_file(path), assign=True)
    return network.requires_grad_(False).eval()

"""The network that finds drawn people: three scales of residual blocks, joined again, and the heads of MoveNet.

Its maps mean what MoveNet's mean, so `workers.detecting.movenet.decoding` reads them. It was trained by tools/figures
on drawings, and knows nothing of photographs.
"""

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional

from posemill.errors import RunFault
from workers.detecting.movenet.network import KEYPOINTS, Maps

WEIGHTS = Path(__file__).parents[2] / "weights" / "figures" / "model.safetensors"
SIDE = 128  # pixels of the shorter side, as the drawings have that it was trained on
MULTIPLE = 16  # height and width of a picture are multiples of it
WIDTHS = (48, 80, 104)  # channels at a quarter, an eighth and a sixteenth of the picture's size
BLOCKS = 2  # residual blocks at each scale
HIDDEN = 64
HEADS = {"centre": 1, "box_scale": 2, "box_offset": 2, "heatmap": KEYPOINTS, "regress": 34, "offset": 34}


class Convolution(nn.Sequential):
    """A 3×3 convolution, normalised."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs))


class Residual(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = Convolution(width, width), Convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Features to features."""
        return functional.relu(x + self.second(functional.relu(self.first(x))))


class FiguresNet(nn.Module):
    """Pictures to maps. In: N×3×H×W, RGB 0 to 255, H and W multiples of 16."""

    def __init__(self) -> None:
        super().__init__()
        quarter, eighth, sixteenth = WIDTHS
        self.stem = nn.Sequential(Convolution(3, 24, stride=2), nn.ReLU())
        self.quarter = self._scale(24, quarter)
        self.eighth = self._scale(quarter, eighth)
        self.sixteenth = self._scale(eighth, sixteenth)
        self.from_sixteenth = nn.Conv2d(sixteenth, eighth, 1)
        self.join_eighth = Convolution(eighth, eighth)
        self.from_eighth = nn.Conv2d(eighth, quarter, 1)
        self.join_quarter = Convolution(quarter, quarter)
        self.people = nn.Sequential(Convolution(quarter, HIDDEN), nn.ReLU())
        self.joints = nn.Sequential(Convolution(quarter, HIDDEN), nn.ReLU())
        self.heads = nn.ModuleDict({name: nn.Conv2d(HIDDEN, outputs, 1) for name, outputs in HEADS.items()})

    @staticmethod
    def _scale(inputs: int, width: int) -> nn.Sequential:
        return nn.Sequential(Convolution(inputs, width, stride=2), nn.ReLU(), *(Residual(width) for _ in range(BLOCKS)))

    def forward(self, pictures: Tensor) -> Maps:
        """Pictures to the maps of all heads."""
        maps = self.raw(pictures)
        return Maps(**maps | {name: maps[name].sigmoid() for name in ("centre", "heatmap")})

    def raw(self, pictures: Tensor) -> dict[str, Tensor]:
        """The maps with centre and heatmap before their sigmoid, as the training wants them."""
        quarter = self.quarter(self.stem(pictures / 127.5 - 1))
        eighth = self.eighth(quarter)
        sixteenth = self.sixteenth(eighth)
        eighth = functional.relu(self.join_eighth(eighth + _doubled(self.from_sixteenth(sixteenth))))
        quarter = functional.relu(self.join_quarter(quarter + _doubled(self.from_eighth(eighth))))
        people, joints = self.people(quarter), self.joints(quarter)
        return {name: head(joints if name in ("heatmap", "offset") else people) for name, head in self.heads.items()}


def _doubled(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def load_figures_net(path: Path = WEIGHTS, *, device: str = "cpu") -> FiguresNet:
    """The network with the weights that ship. Raises RunFault where they are not installed."""
    if not path.is_file():
        raise RunFault(f"the weights of figures are not at {path}; install them: pip install posemill-weights")
    network = FiguresNet()
    network.load_state_dict(safetensors.torch.load_file(path))
    return network.float().eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's stub

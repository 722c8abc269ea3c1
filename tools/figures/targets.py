"""What the maps of a scene should be, and how far from it they are."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workers.detecting.movenet.network import STRIDE

MARGIN = 0.15  # of a box's longer side, and at least LEAST_MARGIN cells: keypoints are looked for inside the box alone
LEAST_MARGIN = 1.5
SPREAD_OF_CENTRE, SPREAD_OF_KEYPOINT = 0.08, 0.035  # of the box's longer side, in cells
LEAST_SPREAD, MOST_SPREAD = 0.6, 2.0


class Targets(NamedTuple):
    """Of a batch; cells are counted as in the maps, (y, x)."""

    centre: Tensor  # (batch, 1, height, width), 1 at each person's middle
    heatmap: Tensor  # (batch, 17, height, width), 1 at each keypoint
    centre_cells: Tensor  # (people, 3): picture, row, column
    boxes: Tensor  # (people, 4): from the cell to the box's middle (y, x), and its height and width
    regress: Tensor  # (people, 34): from the cell to each keypoint (y, x); NaN where there is none
    keypoint_cells: Tensor  # (keypoints, 4): picture, keypoint, row, column
    offsets: Tensor  # (keypoints, 2): from the cell to the keypoint (y, x)


def build_targets(people: Tensor, height: int, width: int) -> Targets:
    """Targets of people in pixels, (batch, people, 17, 2) as x, y; maps are `height` by `width` cells."""
    places = people.flip(-1) / STRIDE  # y, x in cells
    known = ~places.isnan().any(-1)
    there = known.any(-1)
    low = places.masked_fill(~known[..., None], float("inf")).amin(2)
    high = places.masked_fill(~known[..., None], -float("inf")).amax(2)
    side = (high - low).amax(-1).clamp_min(1.0)
    margin = (side * MARGIN).clamp_min(LEAST_MARGIN)[..., None]
    middle, extent = (low + high) / 2, high - low + 2 * margin
    size = torch.tensor((height, width), dtype=torch.float32)

    picture, person = there.nonzero(as_tuple=True)
    middles = middle[picture, person]
    cells = middles.floor().clamp_min(0).minimum(size - 1)
    spread = (side[picture, person] * SPREAD_OF_CENTRE).clamp(LEAST_SPREAD, MOST_SPREAD)
    centre = torch.zeros(len(people), 1, height, width)
    _paint(centre, picture, torch.zeros_like(picture), cells, spread)

    of, who, which = known.nonzero(as_tuple=True)
    exact = places[of, who, which]
    keypoint_cells = exact.floor().clamp_min(0).minimum(size - 1)
    spreads = (side[of, who] * SPREAD_OF_KEYPOINT).clamp(LEAST_SPREAD, MOST_SPREAD)
    heatmap = torch.zeros(len(people), places.shape[2], height, width)
    _paint(heatmap, of, which, keypoint_cells, spreads)
    return Targets(
        centre=centre,
        heatmap=heatmap,
        centre_cells=torch.cat((picture[:, None], cells.long()), 1),
        boxes=torch.cat((middles - cells, extent[picture, person]), 1),
        regress=(places[picture, person] - cells[:, None]).flatten(1),
        keypoint_cells=torch.cat((of[:, None], which[:, None], keypoint_cells.long()), 1),
        offsets=exact - keypoint_cells,
    )


def _paint(maps: Tensor, picture: Tensor, channel: Tensor, cells: Tensor, spread: Tensor) -> None:
    """Lay a bell over each cell; where two meet, the higher counts."""
    batch, channels, height, width = maps.shape
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    y, x = cells[:, 0, None, None], cells[:, 1, None, None]
    bells = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * spread[:, None, None] ** 2))
    flat = maps.view(batch * channels, height * width)
    flat.index_reduce_(0, picture * channels + channel, bells.flatten(1), "amax")


def loss(raw: dict[str, Tensor], wanted: Targets) -> Tensor:
    """Focal losses of the two maps (arXiv:1904.07850) and absolute errors of the places."""
    picture, row, column = wanted.centre_cells.T
    at_centre = {name: raw[name][picture, :, row, column] for name in ("box_offset", "box_scale", "regress")}
    known = ~wanted.regress.isnan()
    regress = (at_centre["regress"] - wanted.regress.nan_to_num()).abs()[known]
    of, which, y, x = wanted.keypoint_cells.T
    offset = raw["offset"].unflatten(1, (-1, 2))[of, which, :, y, x] - wanted.offsets
    boxes = torch.cat((at_centre["box_offset"], at_centre["box_scale"]), 1) - wanted.boxes
    return (
        focal(raw["centre"], wanted.centre)
        + 2 * focal(raw["heatmap"], wanted.heatmap)
        + 0.1 * _mean(regress)
        + 0.5 * _mean(offset.abs())
        + 0.05 * _mean(boxes.abs())
    )


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(values.numel(), 1)


def focal(logits: Tensor, wanted: Tensor) -> Tensor:
    """CenterNet's focal loss, for each place that is 1."""
    chance = logits.sigmoid()
    peak = wanted == 1
    hit = functional.logsigmoid(logits) * (1 - chance) ** 2 * peak
    miss = functional.logsigmoid(-logits) * chance**2 * (1 - wanted) ** 4 * ~peak
    return -(hit.sum() + miss.sum()) / peak.sum().clamp_min(1)

"""MoveNet's maps of one picture to its people, as the published graph does it.

A person begins at a peak of the centres. Each keypoint is where its heatmap, weighted by the distance from the place
that the centre expects and within the person's box, is highest.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from workers.detecting.movenet.network import KEYPOINTS, Maps

MOST_PEOPLE = 6  # that the network is made for
PEAK_SIDE = 5  # cells in which a centre is the highest
PEAK_TOLERANCE = 1.0132789611816406e-06  # the graph's, in float16
SPREAD = 0.300048828125  # of the shorter side in cells: squared distances are divided by it
LEAST_COUNTED = 0.126953125  # score of a keypoint that counts for the person's


class Decoded(NamedTuple):
    """The six likeliest people of a picture; places are (y, x) as shares of its height and width."""

    places: Tensor  # (6, 17, 2)
    scores: Tensor  # (6, 17)
    boxes: Tensor  # (6, 4): top, left, bottom, right
    person_scores: Tensor  # (6,): the centre's, times the mean of the keypoints' that count


def decode(maps: Maps) -> Decoded:
    """The people in the maps of one picture (a batch of one)."""
    centre, box_scale, box_offset, heatmap, regress, offset = (values[0] for values in maps)
    height, width = heatmap.shape[-2:]
    size = torch.tensor((height, width), dtype=torch.float32, device=heatmap.device)
    heights, cells = _peaks(centre[0])
    ys, xs = cells[:, 0], cells[:, 1]

    middles = cells + box_offset[:, ys, xs].T
    halves = box_scale[:, ys, xs].T.clamp_min(0) / 2
    boxes = torch.cat(((middles - halves).clamp_min(0).minimum(size), (middles + halves).clamp_min(0).minimum(size)), 1)
    expected = cells[:, None] + regress[:, ys, xs].T.reshape(-1, KEYPOINTS, 2)

    weighted = heatmap[:, None] * _nearness(expected, size) * _within(boxes, size)[None]
    found = weighted.flatten(2).argmax(2)  # (17, 6)
    scores = weighted.amax(1).flatten(1).gather(1, found).T  # the best of all people's there, as the graph has it
    rows, columns = (found // width).T, (found % width).T
    fine = offset.reshape(KEYPOINTS, 2, height, width)[torch.arange(KEYPOINTS, device=found.device), :, rows, columns]
    places = (torch.stack((rows, columns), 2) + fine) / size
    counted = scores > LEAST_COUNTED
    person_scores = heights * (scores * counted).sum(1) / counted.sum(1).clamp_min(1)
    return Decoded(places, scores, (boxes / size.repeat(2)).clamp(0, 1), person_scores)


def _peaks(centre: Tensor) -> tuple[Tensor, Tensor]:
    """The highest centres, likeliest first: their scores (6,), and their rows and columns (6, 2)."""
    highest = functional.max_pool2d(centre[None], PEAK_SIDE, stride=1, padding=PEAK_SIDE // 2)[0]
    peaks = centre * ((centre - highest).abs() < PEAK_TOLERANCE)
    heights, found = peaks.flatten().topk(MOST_PEOPLE)
    return heights, torch.stack((found // centre.shape[1], found % centre.shape[1]), 1)


def _grid(size: Tensor) -> tuple[Tensor, Tensor]:
    """The rows as a column, and the columns as a row."""
    rows, columns = (torch.arange(int(side), dtype=torch.float32, device=size.device) for side in size)
    return rows[:, None], columns[None]


def _nearness(expected: Tensor, size: Tensor) -> Tensor:
    """How near each cell is to where a person's keypoint is expected, 0 to 1: (17, 6, height, width)."""
    rows, columns = _grid(size)
    y, x = (expected[..., axis].T[..., None, None] for axis in (0, 1))
    distances: Tensor = (rows - y) ** 2 + (columns - x) ** 2
    return torch.exp(-distances / (size.min() * SPREAD))


def _within(boxes: Tensor, size: Tensor) -> Tensor:
    """Whether each cell lies in a person's box: (6, height, width)."""
    rows, columns = _grid(size)
    top, left, bottom, right = boxes.T[..., None, None]
    inside: Tensor = (rows >= top) & (columns >= left) & (rows < bottom) & (columns < right)
    return inside

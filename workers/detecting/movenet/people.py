"""Finds people with MoveNet, or a network like it: in the whole picture, and again around those who are small in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from posemill.pictures.coco_order import from_coco_order
from posemill.pictures.poses import Keypoint, Keypoints, Person
from workers.detecting.movenet.decoding import decode
from workers.judging.oks import area, coco_points, oks

SMALL = 0.5  # of the picture's longer side; whose box is shorter is looked at again, nearer
MOST_KEYPOINTS = 12  # from which on a small person was seen well enough
AROUND = 1.5  # times a box's longer side is the square that is looked at
SAME = 0.5  # OKS from which two readings are of one person

Picture = NDArray[np.uint8]
"""An RGB picture of shape (height, width, 3)."""

Box = tuple[float, float, float, float]  # left, top, right, bottom; shares of the picture


@dataclass(frozen=True, kw_only=True)
class PeopleNetwork:
    """A network whose maps are MoveNet's, and how it is asked."""

    network: nn.Module  # pictures in RGB 0 to 255, (batch, 3, height, width), to `Maps`
    longer_side: int | None = None  # pixels that a picture's longer side is scaled to
    shorter_side: int | None = None  # the same of its shorter side; one of the two is given
    multiple: int  # of which height and width of what the network sees are
    least_person: float  # score below which there is nobody
    least_keypoint: float  # score below which there is no keypoint

    def factor(self, height: int, width: int) -> float:
        """What a picture of that size is scaled by."""
        if self.longer_side is not None:
            return self.longer_side / max(height, width)
        assert self.shorter_side is not None
        return self.shorter_side / min(height, width)


@dataclass(frozen=True, kw_only=True)
class Window:
    """A part of a picture, in pixels."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, box: Box, picture: Picture) -> "Window":
        """A square around a box, as far as the picture goes."""
        height, width = picture.shape[:2]
        x, y = (box[0] + box[2]) / 2 * width, (box[1] + box[3]) / 2 * height
        reach = max((box[2] - box[0]) * width, (box[3] - box[1]) * height, 2.0) * AROUND / 2
        return cls(
            left=max(0, int(x - reach)),
            top=max(0, int(y - reach)),
            right=min(width, int(x + reach) + 1),
            bottom=min(height, int(y + reach) + 1),
        )


def find_people(network: PeopleNetwork, picture: Picture, *, around: Sequence[Box] = ()) -> tuple[Person, ...]:
    """The people in a picture, surest first, six at most in each look.

    `around`: where people are expected. Small ones among them, unless most of each was found already, are looked at
    once more in a part of the picture around them; of two readings of one person, the one with more and surer keypoints
    is kept.
    """
    height, width = picture.shape[:2]
    found = list(_look(network, picture, Window(left=0, top=0, right=width, bottom=height)))
    for box in around:
        is_small = max((box[2] - box[0]) * width, (box[3] - box[1]) * height) < SMALL * max(width, height)
        if is_small and not any(_is_whole(person) and _middle_is_in(person, box) for person in found):
            near = _look(network, picture, Window.around(box, picture))
            found += [person for person in near if _middle_is_in(person, box)]
    return _each_once(found, (width, height))


def _look(network: PeopleNetwork, picture: Picture, window: Window) -> Iterator[Person]:
    """Everybody in a part of the picture, in shares of the whole."""
    part = picture[window.top : window.bottom, window.left : window.right]
    if part.size == 0:
        return
    seen, scale = _fitted(part, network)
    device = next(network.network.parameters()).device
    with torch.inference_mode():
        values = torch.from_numpy(seen).to(device).permute(2, 0, 1)[None].float()
        found = decode(network.network(values.contiguous(memory_format=torch.channels_last)))
    places, scores, person_scores = (
        values.cpu().numpy() for values in (found.places, found.scores, found.person_scores)
    )
    pixels = places[..., ::-1] * (seen.shape[1], seen.shape[0]) / scale + (window.left, window.top)
    for each, marks, score in zip(pixels / picture.shape[1::-1], scores, person_scores, strict=True):
        if score >= network.least_person and any(body := _body(each, marks, network.least_keypoint)):
            yield Person(body=body)


def _fitted(part: Picture, network: PeopleNetwork) -> tuple[Picture, NDArray[np.float64]]:
    """The part as the network wants it, padded black on the right and below, and its scale (x, y)."""
    height, width = part.shape[:2]
    factor = network.factor(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    scaled = cv2.resize(part, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    padded = np.pad(scaled, ((0, -size[1] % network.multiple), (0, -size[0] % network.multiple), (0, 0)))
    return np.asarray(padded, dtype=np.uint8), np.array(size) / (width, height)


def _body(places: NDArray[np.float64], scores: NDArray[np.float32], least: float) -> Keypoints:
    points: list[Keypoint | None] = [
        (float(x), float(y), min(float(score), 1.0)) if score >= least else None
        for (x, y), score in zip(places, scores, strict=True)
    ]
    return from_coco_order(points)


def _is_whole(person: Person) -> bool:
    return sum(point is not None for point in person.body) >= MOST_KEYPOINTS


def _middle_is_in(person: Person, box: Box) -> bool:
    points = [point for point in person.body if point]
    x, y = (sum(point[axis] for point in points) / len(points) for axis in (0, 1))
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _each_once(people: Sequence[Person], size: tuple[int, int]) -> tuple[Person, ...]:
    kept: list[Person] = []
    for person in sorted(people, key=_certainty, reverse=True):
        if not any(_are_one(person, other, size) for other in kept):
            kept.append(person)
    return tuple(kept)


def _certainty(person: Person) -> float:
    return sum(point[2] for point in person.body if point)


def _are_one(one: Person, other: Person, size: tuple[int, int]) -> bool:
    """Whether the keypoints of the less complete reading lie where those of the other lie."""
    points = coco_points(one, size), coco_points(other, size)
    return max(oks(a, b, area(a, size)) for a, b in (points, points[::-1])) >= SAME

"""Finds people with MoveNet: in the whole picture, and again around those who are small in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from posemill.pictures.coco_order import from_coco_order
from posemill.pictures.poses import Keypoint, Keypoints, Person
from workers.detecting.movenet.decoding import decode
from workers.detecting.movenet.network import MULTIPLE, MoveNet
from workers.judging.oks import area, coco_points, oks

NETWORK_SIDE = 256  # pixels of the longer side, as the network was trained
LEAST_PERSON, LEAST_KEYPOINT = 0.25, 0.3  # scores below which there is nobody, and no keypoint
SMALL = 0.5  # of the picture's longer side; whose box is shorter is looked at again, nearer
AROUND = 1.5  # times a box's longer side is the square that is looked at
SAME = 0.5  # OKS from which two readings are of one person

Picture = NDArray[np.uint8]
"""An RGB picture of shape (height, width, 3)."""

Box = tuple[float, float, float, float]  # left, top, right, bottom; shares of the picture


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


def find_people(network: MoveNet, picture: Picture, *, around: Sequence[Box] = ()) -> tuple[Person, ...]:
    """The people in a picture, surest first, six at most in each look.

    `around`: where people are expected; small ones among them are looked at once more in a part of the picture around
    each. Of two readings of one person, the one with more and surer keypoints is kept.
    """
    height, width = picture.shape[:2]
    found = list(_look(network, picture, Window(left=0, top=0, right=width, bottom=height)))
    for box in around:
        if max((box[2] - box[0]) * width, (box[3] - box[1]) * height) < SMALL * max(width, height):
            near = _look(network, picture, Window.around(box, picture))
            found += [person for person in near if _middle_is_in(person, box)]
    return _each_once(found, (width, height))


def _look(network: MoveNet, picture: Picture, window: Window) -> Iterator[Person]:
    """Everybody in a part of the picture, in shares of the whole."""
    part = picture[window.top : window.bottom, window.left : window.right]
    if part.size == 0:
        return
    seen, scale = _fitted(part)
    device = next(network.parameters()).device
    with torch.inference_mode():
        values = torch.from_numpy(seen).to(device).permute(2, 0, 1)[None].float()
        found = decode(network(values.contiguous(memory_format=torch.channels_last)))
    places, scores, person_scores = (
        values.cpu().numpy() for values in (found.places, found.scores, found.person_scores)
    )
    pixels = places[..., ::-1] * (seen.shape[1], seen.shape[0]) / scale + (window.left, window.top)
    for each, marks, score in zip(pixels / picture.shape[1::-1], scores, person_scores, strict=True):
        if score >= LEAST_PERSON and any(body := _body(each, marks)):
            yield Person(body=body)


def _fitted(part: Picture) -> tuple[Picture, NDArray[np.float64]]:
    """The part as the network wants it, padded black on the right and below, and its scale (x, y)."""
    height, width = part.shape[:2]
    factor = NETWORK_SIDE / max(height, width)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    scaled = cv2.resize(part, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    padded = np.pad(scaled, ((0, -size[1] % MULTIPLE), (0, -size[0] % MULTIPLE), (0, 0)))
    return np.asarray(padded, dtype=np.uint8), np.array(size) / (width, height)


def _body(places: NDArray[np.float64], scores: NDArray[np.float32]) -> Keypoints:
    points: list[Keypoint | None] = [
        (float(x), float(y), min(float(score), 1.0)) if score >= LEAST_KEYPOINT else None
        for (x, y), score in zip(places, scores, strict=True)
    ]
    return from_coco_order(points)


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

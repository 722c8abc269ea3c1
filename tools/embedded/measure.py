"""The measure: does a picture show the pose and the colours that it was asked for?

Colours are compared in CIELAB. A picture's clothes colour is the median of the points along the clothed limbs
of the pose, its background colour the median of the points far from every limb; each must be nearest to the
palette colour that the prompt named.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.embedded.background import draw_background
from tools.embedded.figure import hips_point, neck_point, shade
from tools.embedded.palette import BACKGROUNDS, CLOTHES, SKIN, nearest_name, to_lab
from tools.embedded.pose import FACE, LIMBS, K, Pose, body_unit, seen
from tools.embedded.words import PLACES, Request

Points = NDArray[np.int64]
"""Pixel positions, shape (count, 2): x, y."""

FAR = 0.5  # trunk lengths from the nearest limb; heads and coats reach 0.4
FAR_AT_LEAST_PIXELS = 7.0
BACKGROUND_TOLERANCE = 25.0  # CIELAB distance; the palette's colours lie further apart
ENOUGH_POINTS = 30  # fewer points say too little


@dataclass(frozen=True, kw_only=True)
class Score:
    """How well one picture obeys; shares are 0..1."""

    clothes_right: bool
    background_right: bool
    limbs_on_figure: float
    far_on_background: float


def limb_points(people: list[Pose], limbs: tuple[tuple[int, int], ...] = LIMBS) -> Points:
    """Return points about a pixel apart along every limb whose two ends are known."""
    lines = [_line(pose[a], pose[b]) for pose in people for a, b in limbs if seen(pose, a, b)]
    return np.concatenate(lines or [np.zeros((0, 2))]).astype(np.int64)


def _line(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    count = max(2, int(np.linalg.norm(b - a)))
    return a + (b - a) * np.linspace(0, 1, count)[:, None]


def far_points(people: list[Pose], width: int, height: int) -> Points:
    """Return every second pixel that is far from all limbs, faces and trunks."""
    grid = np.stack(np.meshgrid(np.arange(0, width, 2), np.arange(0, height, 2)), axis=-1).reshape(-1, 2)
    far = np.ones(len(grid), bool)
    for pose in people:
        margin = max(FAR * body_unit(pose), FAR_AT_LEAST_PIXELS)
        for point in body_points(pose):
            far &= np.linalg.norm(grid - point, axis=1) > margin
    return grid[far]


def body_points(pose: Pose) -> NDArray[np.float64]:
    """Return points along the limbs, the face, and the trunk even where no hip is known."""
    lines = [limb_points([pose]).astype(np.float64), pose[[k for k in range(18) if seen(pose, k)]]]
    neck, hips = neck_point(pose), hips_point(pose)
    if neck is not None and hips is not None:
        lines.append(_line(neck, hips))
    known_face = [pose[k] for k in FACE if seen(pose, k)]
    if known_face and neck is not None:
        lines.append(_line(neck, np.mean(known_face, axis=0)))
    return np.concatenate(lines)[::2]


def seen_clothes(picture: NDArray[np.uint8], people: list[Pose]) -> str:
    """Return the palette's name for the median colour along the clothed limbs."""
    clothed = tuple(limb for limb in LIMBS if limb != (K.NECK, K.NOSE))
    return nearest_name(_median(picture, limb_points(people, clothed)), CLOTHES)


def seen_background(picture: NDArray[np.uint8], people: list[Pose]) -> str:
    """Return the palette's name for the median colour far from every limb."""
    return nearest_name(_median(picture, far_points(people, picture.shape[1], picture.shape[0])), BACKGROUNDS)


def _median(picture: NDArray[np.uint8], points: Points) -> NDArray[np.uint8]:
    return np.median(_colours(picture, points), axis=0).astype(np.uint8)


def _colours(picture: NDArray[np.uint8], points: Points) -> NDArray[np.uint8]:
    return picture[np.clip(points[:, 1], 0, picture.shape[0] - 1), np.clip(points[:, 0], 0, picture.shape[1] - 1)]


def figure_tones(request: Request) -> NDArray[np.float32]:
    """Return the colours (CIELAB) that a figure's limbs may have: clothes and skin, lit and shaded."""
    clothes = [shade(CLOTHES[request.clothes], factor) for factor in (1.0, 0.92, 0.82, 0.72, 0.66)]
    skin = [shade(colour, factor) for colour in SKIN for factor in (1.0, 0.9, 0.72)]
    return to_lab(np.array([*clothes, *skin], np.uint8))


def background_tones(request: Request) -> NDArray[np.float32]:
    """Return the colours (CIELAB) of the background: those of its drawing."""
    place = PLACES[request.place]
    drawn = draw_background(BACKGROUNDS[place.colour], place.pattern, 64, 64, np.random.default_rng(0))
    return to_lab(np.unique(drawn.reshape(-1, 3), axis=0))


def _distance(colours: NDArray[np.float32], tones: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.linalg.norm(colours[:, None] - tones[None], axis=-1).min(axis=1))


def limbs_on_figure(picture: NDArray[np.uint8], people: list[Pose], request: Request) -> float:
    """Return the share of limb points whose colour is nearer to the figure's than to the background's."""
    colours = to_lab(_colours(picture, limb_points(people)))
    on_figure = _distance(colours, figure_tones(request)) < _distance(colours, background_tones(request))
    return float(on_figure.mean())


def far_on_background(picture: NDArray[np.uint8], people: list[Pose], request: Request) -> float:
    """Return the share of far points that have a colour of the background."""
    colours = to_lab(_colours(picture, far_points(people, picture.shape[1], picture.shape[0])))
    return float((_distance(colours, background_tones(request)) < BACKGROUND_TOLERANCE).mean())


def score(picture: NDArray[np.uint8], people: list[Pose], request: Request) -> Score:
    """Score one picture against the poses and the request that it was made for."""
    return Score(
        clothes_right=seen_clothes(picture, people) == request.clothes,
        background_right=seen_background(picture, people) == PLACES[request.place].colour,
        limbs_on_figure=limbs_on_figure(picture, people, request),
        far_on_background=far_on_background(picture, people, request),
    )


def can_score(people: list[Pose], request: Request, width: int, height: int) -> bool:
    """Tell whether there is something to see: limbs, free background, and clothes of another colour."""
    clothed = tuple(limb for limb in LIMBS if limb != (K.NECK, K.NOSE))
    return (
        request.clothes != PLACES[request.place].colour
        and len(limb_points(people, clothed)) >= ENOUGH_POINTS
        and len(far_points(people, width, height)) >= ENOUGH_POINTS
    )

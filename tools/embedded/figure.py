"""Drawing people: what a pose looks like when somebody wears it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.embedded.palette import HAIR, RGB, SKIN
from tools.embedded.pose import ARMS, LEGS, K, Pose, body_unit, direction, seen

Picture = NDArray[np.uint8]
Point = NDArray[np.float64]
SHIFT = 4  # OpenCV's sub-pixel bits

TRUNK_RADIUS, ARM_RADII, LEG_RADII, HEAD_RADII = 0.12, (0.115, 0.095, 0.08), (0.15, 0.115, 0.09), (0.2, 0.26)


@dataclass(frozen=True, kw_only=True)
class Style:
    """What one person looks like, apart from the pose."""

    clothes: RGB
    skin: RGB
    hair: RGB


def random_style(clothes: RGB, rng: np.random.Generator) -> Style:
    """Return clothes as asked, on somebody at random."""
    return Style(clothes=clothes, skin=SKIN[rng.integers(len(SKIN))], hair=HAIR[rng.integers(len(HAIR))])


def shade(colour: RGB, factor: float) -> RGB:
    """Return a colour made darker (factor below 1) or lighter."""
    return tuple(int(min(255, c * factor)) for c in colour)  # type: ignore[return-value]  # three ints


def neck_point(pose: Pose) -> Point | None:
    """Return the neck, or what stands for it: the middle of the shoulders."""
    if seen(pose, K.NECK):
        return pose[K.NECK]
    return pose[[K.R_SHOULDER, K.L_SHOULDER]].mean(axis=0) if seen(pose, K.R_SHOULDER, K.L_SHOULDER) else None


def hips_point(pose: Pose) -> Point | None:
    """Return the middle of the hips that are known; without any, a trunk's length away from the head."""
    known = [pose[k] for k in (K.R_HIP, K.L_HIP) if seen(pose, k)]
    if known:
        return np.mean(known, axis=0)
    neck = neck_point(pose)
    if neck is None:
        return None
    away = neck - pose[K.NOSE] if seen(pose, K.NOSE) else np.zeros(2)
    down = away / (np.linalg.norm(away) + 1e-6) + 2 * direction(0)
    return neck + body_unit(pose) * down / np.linalg.norm(down)


def head_point(pose: Pose) -> Point | None:
    """Return the head's centre from the ears, the eyes or the nose; None if none of them is known."""
    for pair in ((K.R_EAR, K.L_EAR), (K.R_EYE, K.L_EYE)):
        if seen(pose, *pair):
            return pose[list(pair)].mean(axis=0)
    known = [pose[k] for k in (K.NOSE, K.R_EYE, K.L_EYE, K.R_EAR, K.L_EAR) if seen(pose, k)]
    return np.mean(known, axis=0) if known else None


def capsule(a: Point, b: Point, radius_a: float, radius_b: float) -> NDArray[np.float64]:
    """Return the outline of the convex hull of two discs."""
    return hull(np.array([a, b]), np.array([radius_a, radius_b]))


def hull(centres: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the outline of the convex hull of discs."""
    angles = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = (centres[:, None] + radii[:, None, None] * circle).reshape(-1, 2).astype(np.float32)
    return np.asarray(cv2.convexHull(points), np.float64).reshape(-1, 2)


class Painter:
    """Paints outlines, lit from the upper left, on a canvas of `zoom` times the picture's size."""

    def __init__(self, canvas: Picture, zoom: int) -> None:
        self.canvas, self.zoom = canvas, zoom

    def fill(self, outline: NDArray[np.float64], colour: RGB) -> None:
        """Fill a convex outline given in the picture's pixels."""
        points = np.round(outline * self.zoom * 2**SHIFT).astype(np.int32)
        cv2.fillConvexPoly(self.canvas, points, colour, cv2.LINE_8, SHIFT)

    def limb(self, a: Point, b: Point, radii: tuple[float, float], colour: RGB) -> None:
        """Paint a rounded limb: a dark rim, then its lit body."""
        self.fill(capsule(a, b, *radii), shade(colour, 0.72))
        light = np.array([-0.12, -0.14]) * min(radii)
        self.fill(capsule(a + light, b + light, radii[0] * 0.82, radii[1] * 0.82), colour)

    def disc(self, centre: Point, radius: float, colour: RGB) -> None:
        """Paint a disc."""
        self.fill(hull(centre[None], np.array([radius])), colour)


def draw_person(painter: Painter, pose: Pose, style: Style) -> None:
    """Paint one person: legs, trunk, head, then arms; a limb shows only where its keypoints do."""
    unit = body_unit(pose)
    for chain in LEGS:
        draw_chain(painter, pose, chain, LEG_RADII, unit, shade(style.clothes, 0.92))
        if seen(pose, chain[1], chain[2]):
            painter.disc(pose[chain[2]] + np.array([0, 0.03]) * unit, 0.11 * unit, (58, 48, 44))
    draw_trunk(painter, pose, unit, style)
    draw_head(painter, pose, unit, style)
    for chain in ARMS:
        draw_chain(painter, pose, chain, ARM_RADII, unit, style.clothes)
        if seen(pose, chain[1], chain[2]):
            forearm = pose[chain[2]] - pose[chain[1]]
            along = forearm / (np.linalg.norm(forearm) + 1e-6)
            painter.limb(
                pose[chain[2]] + along * 0.03 * unit,
                pose[chain[2]] + along * 0.1 * unit,
                (0.085 * unit, 0.075 * unit),
                style.skin,
            )


def draw_chain(
    painter: Painter,
    pose: Pose,
    chain: tuple[int, int, int],
    radii: tuple[float, float, float],
    unit: float,
    colour: RGB,
) -> None:
    """Paint the lower, then the upper half of an arm or a leg."""
    for i in (1, 0):
        if seen(pose, chain[i], chain[i + 1]):
            painter.limb(pose[chain[i]], pose[chain[i + 1]], (radii[i] * unit, radii[i + 1] * unit), colour)


def draw_trunk(painter: Painter, pose: Pose, unit: float, style: Style) -> None:
    """Paint the trunk from the shoulders to the hips, and the neck."""
    neck, hips, head = neck_point(pose), hips_point(pose), head_point(pose)
    if neck is None or hips is None:
        return
    if head is not None:
        painter.limb(neck, head, (0.11 * unit, 0.11 * unit), shade(style.skin, 0.9))
    corners = [neck, hips, *(pose[k] for k in (K.R_SHOULDER, K.L_SHOULDER, K.R_HIP, K.L_HIP) if seen(pose, k))]
    radii = np.full(len(corners), TRUNK_RADIUS * unit)
    radii[:2] = (0.1 * unit, (0.2 if seen(pose, K.R_HIP) or seen(pose, K.L_HIP) else 0.3) * unit)
    painter.fill(hull(np.array(corners), radii), shade(style.clothes, 0.72))
    light = np.array([-0.015, -0.015]) * unit
    painter.fill(hull(np.array(corners) + light, radii - 0.025 * unit), style.clothes)


def draw_head(painter: Painter, pose: Pose, unit: float, style: Style) -> None:
    """Paint hair, face, and the eyes and nose that are known."""
    head, neck = head_point(pose), neck_point(pose)
    if head is None:
        return
    up = head - neck if neck is not None else -direction(0)
    up = up / (np.linalg.norm(up) + 1e-6)
    wide, tall = HEAD_RADII[0] * unit, HEAD_RADII[1] * unit
    painter.fill(capsule(head + up * 0.5 * wide, head - up * 0.05 * wide, wide * 1.12, wide * 1.05), style.hair)
    face = capsule(head + up * (tall - wide) * 0.7, head - up * (tall - wide) * 2.0, wide * 0.98, wide * 0.75)
    painter.fill(face, style.skin)
    for eye in (K.R_EYE, K.L_EYE):
        if seen(pose, eye):
            painter.disc(pose[eye], 0.05 * unit, (250, 250, 250))
            painter.disc(pose[eye], 0.03 * unit, (24, 22, 30))
    if seen(pose, K.NOSE):
        painter.disc(pose[K.NOSE], 0.028 * unit, shade(style.skin, 0.7))

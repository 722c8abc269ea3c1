"""Poses: the 18 OpenPose keypoints, random jointed skeletons, and how a camera frames them."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Pose = NDArray[np.float64]
"""Keypoints in pixels, shape (18, 2); a row of NaN is a keypoint that nobody saw."""


class K(IntEnum):
    """Keypoints in OpenPose's order; right and left are the person's own."""

    NOSE = 0
    NECK = 1
    R_SHOULDER = 2
    R_ELBOW = 3
    R_WRIST = 4
    L_SHOULDER = 5
    L_ELBOW = 6
    L_WRIST = 7
    R_HIP = 8
    R_KNEE = 9
    R_ANKLE = 10
    L_HIP = 11
    L_KNEE = 12
    L_ANKLE = 13
    R_EYE = 14
    L_EYE = 15
    R_EAR = 16
    L_EAR = 17


FACE = (K.NOSE, K.R_EYE, K.L_EYE, K.R_EAR, K.L_EAR)
ARMS = ((K.R_SHOULDER, K.R_ELBOW, K.R_WRIST), (K.L_SHOULDER, K.L_ELBOW, K.L_WRIST))
LEGS = ((K.R_HIP, K.R_KNEE, K.R_ANKLE), (K.L_HIP, K.L_KNEE, K.L_ANKLE))
LIMBS = (
    (K.NECK, K.R_SHOULDER), (K.NECK, K.L_SHOULDER), (K.NECK, K.R_HIP), (K.NECK, K.L_HIP), (K.NECK, K.NOSE),
    *((chain[i], chain[i + 1]) for chain in (*ARMS, *LEGS) for i in (0, 1)),
)  # fmt: skip


def seen(pose: Pose, *keypoints: int) -> bool:
    """Tell whether every one of the keypoints is known."""
    return not np.isnan(pose[list(keypoints)]).any()


def body_unit(pose: Pose) -> float:
    """Estimate the trunk's length (neck to hips) in pixels from whatever keypoints are known."""
    ratios = [(K.NECK, K.R_HIP, 1.0), (K.NECK, K.L_HIP, 1.0), (K.R_SHOULDER, K.L_SHOULDER, 1.35),
              (K.NECK, K.R_SHOULDER, 2.3), (K.NECK, K.L_SHOULDER, 2.3), (K.NECK, K.NOSE, 1.9),
              *((a, b, 1.5) for a, b, _ in ARMS), *((a, b, 1.1) for a, b, _ in LEGS),
              (K.R_EAR, K.L_EAR, 2.9), (K.R_EYE, K.L_EYE, 6.0)]  # fmt: skip
    lengths = [np.linalg.norm(pose[a] - pose[b]) * ratio for a, b, ratio in ratios if seen(pose, a, b)]
    return float(max(lengths, default=0.0))


def direction(degrees: float) -> NDArray[np.float64]:
    """Return the unit vector that many degrees from straight down; positive is to the picture's right."""
    return np.array([np.sin(np.radians(degrees)), np.cos(np.radians(degrees))])


def random_pose(rng: np.random.Generator) -> Pose:
    """Return a whole random person of trunk length 1 with the neck at the origin."""
    pose = np.full((18, 2), np.nan)
    yaw = np.radians(rng.choice([rng.uniform(-35, 35), rng.uniform(-85, 85)], p=[0.75, 0.25]))
    lean = rng.normal(0, 7) if rng.random() < 0.75 else rng.normal(0, 30)
    down, across = direction(lean), direction(lean + 90) * np.cos(yaw)
    pose[K.NECK] = 0
    for side, shoulder, hip in ((-1, K.R_SHOULDER, K.R_HIP), (1, K.L_SHOULDER, K.L_HIP)):
        pose[shoulder] = side * across * rng.uniform(0.33, 0.42) + down * rng.uniform(-0.02, 0.06)
        pose[hip] = side * across * rng.uniform(0.18, 0.25) + down * rng.uniform(0.95, 1.05)
    place_limbs(pose, lean, rng)
    place_face(pose, lean + rng.normal(0, 10), yaw + rng.normal(0, 0.3), rng)
    return pose


def place_limbs(pose: Pose, lean: float, rng: np.random.Generator) -> None:
    """Hang arms and legs on the shoulders and hips of a pose, at angles of a random habit."""
    calm = rng.random() < 0.4
    for side, (shoulder, elbow, wrist) in zip((-1, 1), ARMS, strict=True):
        upper = rng.normal(14, 14) if calm else rng.uniform(-30, 175)
        bend = rng.uniform(-30, 60) if calm else rng.uniform(-120, 130)
        _hang(pose, (shoulder, elbow, wrist), lean + side * upper, side * bend, (0.6, 0.54), rng)
    for side, (hip, knee, ankle) in zip((-1, 1), LEGS, strict=True):
        upper = rng.normal(6, 6) if calm else rng.normal(18, 25)
        bend = rng.normal(-2, 6) if calm else rng.normal(-12, 30)
        _hang(pose, (hip, knee, ankle), lean * 0.3 + side * upper, side * bend, (0.82, 0.8), rng)


def _hang(
    pose: Pose,
    chain: tuple[int, int, int],
    upper_degrees: float,
    bend_degrees: float,
    lengths: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    foreshortened = rng.uniform(0.45, 1, 2) if rng.random() < 0.2 else rng.uniform(0.9, 1.08, 2)
    first, second, third = chain
    pose[second] = pose[first] + direction(upper_degrees) * lengths[0] * foreshortened[0]
    pose[third] = pose[second] + direction(upper_degrees + bend_degrees) * lengths[1] * foreshortened[1]


def place_face(pose: Pose, tilt: float, yaw: float, rng: np.random.Generator) -> None:
    """Set nose, eyes and ears above the neck of a pose; a turned head hides its far ear."""
    up, across = -direction(tilt), direction(tilt + 90)
    turn, nod = np.sin(yaw), rng.uniform(-0.05, 0.06)
    centre = up * rng.uniform(0.46, 0.56)
    pose[K.NOSE] = centre + across * 0.14 * turn - up * (0.02 + nod)
    for side, eye, ear in ((-1, K.R_EYE, K.R_EAR), (1, K.L_EYE, K.L_EAR)):
        pose[eye] = centre + across * (side * 0.085 * np.cos(yaw) + 0.11 * turn) + up * (0.06 - nod)
        pose[ear] = centre + across * (side * 0.17 * np.cos(yaw) - 0.02 * turn) + up * 0.02
        if side * turn > 0.35:
            pose[ear] = np.nan
        if side * turn > 0.85:
            pose[eye] = np.nan


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The picture's size in pixels."""

    width: int
    height: int


def frame_pose(pose: Pose, frame: Frame, shot: str, slot: tuple[float, float], rng: np.random.Generator) -> Pose:
    """Move and scale a pose into a slot (left, right, as fractions) of the picture.

    A `whole` shot fits the person in; `half` and `portrait` come nearer and let the frame cut.
    """
    top, bottom = np.nanmin(pose[:, 1]) - 0.3, np.nanmax(pose[:, 1]) + 0.1
    left, right = np.nanmin(pose[:, 0]) - 0.15, np.nanmax(pose[:, 0]) + 0.15
    room = np.array([(slot[1] - slot[0]) * frame.width, frame.height])
    fit = min(room[0] / (right - left), room[1] / (bottom - top))
    if shot == "whole":
        scale = max(fit * rng.uniform(0.45, 1.0), min(fit, 0.25 * frame.height / (bottom - top)))
        spare = room - scale * np.array([right - left, bottom - top])
        corner = np.array([slot[0] * frame.width, 0]) + np.maximum(spare, 0) * rng.uniform(0, 1, 2)
        return pose * scale + corner - scale * np.array([left, top])
    scale = rng.uniform(0.28, 0.5) * frame.height if shot == "half" else rng.uniform(0.5, 1.0) * frame.height
    scale = min(scale, (1.1 if shot == "half" else 1.6) * room[0])
    head_top = rng.uniform(0.0, 0.22) * frame.height
    x = (slot[0] + slot[1]) / 2 * frame.width + rng.normal(0, 0.12) * room[0]
    head_height = np.nanmin(pose[:, 1]) - 0.25
    return pose * scale + np.array([x, head_top - head_height * scale])


def hide_keypoints(pose: Pose, frame: Frame, rng: np.random.Generator) -> Pose:
    """Forget the keypoints outside the picture, and some of the others as a detector would."""
    pose = pose.copy()
    with np.errstate(invalid="ignore"):
        outside = (pose < 0).any(axis=1) | (pose[:, 0] >= frame.width) | (pose[:, 1] >= frame.height)
    pose[outside] = np.nan
    if rng.random() < 0.2:
        pose[rng.random(18) < 0.12] = np.nan
    if rng.random() < 0.12:
        chain = (*ARMS, *LEGS)[rng.integers(4)]
        pose[list(chain[rng.integers(0, 3) :])] = np.nan
    if rng.random() < 0.12:
        pose[list(rng.permutation(FACE)[: rng.integers(1, 6)])] = np.nan
    return pose


def random_people(frame: Frame, rng: np.random.Generator) -> list[Pose]:
    """Return one to three framed people with the keypoints that a detector would find."""
    count = int(rng.choice([1, 2, 3], p=[0.72, 0.18, 0.10]))
    weights = [0.6, 0.22, 0.18] if count == 1 else [0.75, 0.25, 0.0]
    shot = str(rng.choice(["whole", "half", "portrait"], p=weights))
    people = []
    for i in range(count):
        slot = (i / count, (i + 1) / count)
        framed = frame_pose(random_pose(rng), frame, shot, slot, rng)
        pose = hide_keypoints(framed, frame, rng)
        people.append(pose if (~np.isnan(pose[:, 0])).sum() >= 4 else hide_outside(framed, frame))
    return [pose for pose in people if (~np.isnan(pose[:, 0])).sum() >= 3] or random_people(frame, rng)


def hide_outside(pose: Pose, frame: Frame) -> Pose:
    """Forget only the keypoints outside the picture."""
    with np.errstate(invalid="ignore"):
        inside = (pose >= 0).all(axis=1) & (pose[:, 0] < frame.width) & (pose[:, 1] < frame.height)
    return np.where(inside[:, None], pose, np.nan)

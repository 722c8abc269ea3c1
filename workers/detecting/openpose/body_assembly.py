"""Joins keypoint candidates to people as OpenPose does: limb by limb, the best supported first.

After Cao et al., arXiv:1611.08050; the rules and thresholds are those of controlnet_aux's `Body`, whose output
format this gives as well.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.detecting.openpose.body_maps import KEYPOINTS, Maps, Peaks

LIMBS = (  # keypoints of its two ends, and its maps among the part affinity fields
    ((1, 2), (12, 13)), ((1, 5), (20, 21)), ((2, 3), (14, 15)), ((3, 4), (16, 17)), ((5, 6), (22, 23)),
    ((6, 7), (24, 25)), ((1, 8), (0, 1)), ((8, 9), (2, 3)), ((9, 10), (4, 5)), ((1, 11), (6, 7)),
    ((11, 12), (8, 9)), ((12, 13), (10, 11)), ((1, 0), (28, 29)), ((0, 14), (30, 31)), ((14, 16), (34, 35)),
    ((0, 15), (32, 33)), ((15, 17), (36, 37)), ((2, 16), (18, 19)), ((5, 17), (26, 27)),
)  # fmt: skip
BEGINNERS = 17  # limbs that may begin a new person; the last two only join
SAMPLES = 10  # points along a limb
FIELD_AT_LEAST = 0.05
SHARE_AT_LEAST = 0.8  # of a limb's points, to be exceeded
PARTS_AT_LEAST = 4
MEAN_SCORE_AT_LEAST = 0.4
SCORE, PARTS = KEYPOINTS, KEYPOINTS + 1  # columns of a person
ABSENT = -1.0


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A limb between two candidates, by their numbers among all candidates."""

    a: int
    b: int
    score: float


def assemble(maps: Maps, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return candidates and people as controlnet_aux's `Body` does; `height`: of the picture, in pixels.

    Candidates, shape (count, 4): x, y, score, number. People, shape (count, 20): the number of each keypoint's
    candidate or -1, then total score and number of keypoints.
    """
    peaks = maps.peaks()
    firsts = np.cumsum([0, *(len(each.x) for each in peaks)])
    candidates = np.stack(
        [np.concatenate([getattr(each, name) for each in peaks]) for name in ("x", "y", "score")]
        + [np.arange(firsts[-1])],
        axis=1,
    ).astype(np.float64)
    people: list[NDArray[np.float64]] = []
    for number, ((start, end), fields) in enumerate(LIMBS):
        for found in connect(maps, fields, peaks[start], peaks[end], height):
            connection = Connection(a=int(firsts[start]) + found.a, b=int(firsts[end]) + found.b, score=found.score)
            join(people, candidates[:, 2], (start, end), connection, may_begin=number < BEGINNERS)
    return candidates, np.array([person for person in people if is_kept(person)]).reshape(-1, KEYPOINTS + 2)


def connect(maps: Maps, fields: tuple[int, int], starts: Peaks, ends: Peaks, height: int) -> list[Connection]:
    """Return the limbs between candidates of two kinds, the best first, each candidate in one at most."""
    if not len(starts.x) or not len(ends.x):
        return []
    scores, supported = limb_scores(maps, fields, starts, ends, height)
    pairs = [(i, j) for i, j in np.ndindex(scores.shape) if supported[i, j]]
    found: list[Connection] = []
    for i, j in sorted(pairs, key=lambda pair: -scores[pair]):
        if all(i != each.a and j != each.b for each in found):
            found.append(Connection(a=i, b=j, score=float(scores[i, j])))
    return found


def limb_scores(
    maps: Maps, fields: tuple[int, int], starts: Peaks, ends: Peaks, height: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return each pair's score and whether it is a limb: shape (starts, ends)."""
    across = ends.x[None] - starts.x[:, None]
    down = ends.y[None] - starts.y[:, None]
    length = np.maximum(0.001, np.hypot(across, down))
    way = np.linspace(0, 1, SAMPLES)[:, None, None]
    x = np.rint(starts.x[:, None] + way * across).astype(np.int64)
    y = np.rint(starts.y[:, None] + way * down).astype(np.int64)
    field_x, field_y = maps.field_at(fields, x.ravel(), y.ravel()).reshape(2, *x.shape)
    along = field_x * (across / length) + field_y * (down / length)
    scores = along.mean(axis=0) + np.minimum(0.5 * height / length - 1, 0)
    supported = (along > FIELD_AT_LEAST).sum(axis=0) > SHARE_AT_LEAST * SAMPLES
    return scores, supported & (scores > 0)


def join(
    people: list[NDArray[np.float64]],
    candidate_scores: NDArray[np.float64],
    keypoints: tuple[int, int],
    limb: Connection,
    *,
    may_begin: bool,
) -> None:
    """Add a limb to the person it touches; let it unite two that have nothing in common, or begin a new one."""
    start, end = keypoints
    touched = [person for person in people if person[start] == limb.a or person[end] == limb.b][:2]
    if len(touched) == 2 and not ((touched[0] >= 0) & (touched[1] >= 0))[:KEYPOINTS].any():
        unite(people, touched[0], touched[1], limb)
    elif touched and (len(touched) == 2 or touched[0][end] != limb.b):
        person = touched[0]
        person[end] = limb.b
        person[PARTS] += 1
        person[SCORE] += candidate_scores[limb.b] + limb.score
    elif not touched and may_begin:
        person = np.full(KEYPOINTS + 2, ABSENT)
        person[start], person[end] = limb.a, limb.b
        person[SCORE] = candidate_scores[limb.a] + candidate_scores[limb.b] + limb.score
        person[PARTS] = 2
        people.append(person)


def unite(
    people: list[NDArray[np.float64]], first: NDArray[np.float64], second: NDArray[np.float64], limb: Connection
) -> None:
    """Make one person of two."""
    first[:KEYPOINTS] += second[:KEYPOINTS] + 1  # absent is -1: a number and an absence give the number
    first[SCORE:] += second[SCORE:]
    first[SCORE] += limb.score
    people[:] = [person for person in people if person is not second]


def is_kept(person: NDArray[np.float64]) -> bool:
    """Tell whether enough of a person was seen, and well enough."""
    return bool(person[PARTS] >= PARTS_AT_LEAST and person[SCORE] / person[PARTS] >= MEAN_SCORE_AT_LEAST)

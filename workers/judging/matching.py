"""The people that were wanted and the people that were found, matched one to one, and whether they agree."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec
import numpy as np
from scipy.optimize import linear_sum_assignment

from posemill.pictures.poses import Person
from workers.judging.oks import area, coco_points, oks, within


class PeopleRule(StrEnum):
    """How many people a picture may show."""

    EQUAL = "equal"  # as many as were wanted
    AT_LEAST = "at_least"  # all who were wanted, and whoever came along
    ANY = "any"  # that is not asked; who is not there has no pose, though


class PoseComparison(msgspec.Struct, frozen=True, kw_only=True):
    """How well the people that were found agree with those that were wanted."""

    oks: tuple[float, ...]  # of each person wanted, in their order; 0 for who was not found
    matches: tuple[int | None, ...]  # who of the people found each of them is
    people_found: int

    @property
    def people_wanted(self) -> int:
        """People of the reference that can be judged."""
        return len(self.oks)

    @property
    def mean(self) -> float:
        """Mean OKS of the people wanted; 1 where nobody was."""
        return sum(self.oks) / len(self.oks) if self.oks else 1.0

    @property
    def least(self) -> float:
        """OKS of the person who agrees least; 1 where nobody was wanted."""
        return min(self.oks, default=1.0)


def compare(reference: Sequence[Person], found: Sequence[Person], *, size: tuple[int, int]) -> PoseComparison:
    """Match each person of the reference with at most one of those found, so that the sum of OKS is the largest.

    `size` is the width and height in pixels of the canvas that both were laid on. Of the reference, keypoints outside
    the canvas are not asked for, and people without any of COCO's keypoints on it are left out. The area is that of
    `workers.judging.oks.area`.
    """
    wanted = [points for person in reference if not np.isnan(points := within(coco_points(person, size), size)).all()]
    seen = [coco_points(person, size) for person in found]
    likenesses = np.zeros((len(wanted), len(seen)))
    for row, points in enumerate(wanted):
        judged_by = area(points, size)
        likenesses[row] = [oks(points, other, judged_by) for other in seen]
    rows, columns = linear_sum_assignment(likenesses, maximize=True)
    matched = {int(row): int(column) for row, column in zip(rows, columns, strict=True) if likenesses[row, column] > 0}
    return PoseComparison(
        oks=tuple(float(likenesses[row, matched[row]]) if row in matched else 0.0 for row in range(len(wanted))),
        matches=tuple(matched.get(row) for row in range(len(wanted))),
        people_found=len(seen),
    )


def mismatch(comparison: PoseComparison, *, min_oks: float, people: str = PeopleRule.EQUAL) -> str | None:
    """Why a picture does not show the pose that was wanted, as a stable word; None when it does.

    Every person must agree by `min_oks`; their number is judged first. Raises ValueError for a rule that is none.
    """
    rule, missing = PeopleRule(people), comparison.people_wanted - comparison.people_found
    if (rule is PeopleRule.EQUAL and missing != 0) or (rule is PeopleRule.AT_LEAST and missing > 0):
        return "people_mismatch"
    return "pose_mismatch" if comparison.least < min_oks else None

"""People are matched one to one, and nobody stands in for two."""

from itertools import permutations

import numpy as np
import pytest

from posemill.pictures.poses import BODY_KEYPOINTS, Person
from tests.unit.judging.people import SIZE, moved, only, random_person, without
from workers.judging.matching import PoseComparison, compare, mismatch
from workers.judging.oks import area, coco_points, oks

NOBODY = Person(body=(None,) * len(BODY_KEYPOINTS))


def couple():
    random = np.random.default_rng(5)
    return random_person(random, centre=(0.25, 0.5), spread=0.08), random_person(random, centre=(0.7, 0.5), spread=0.08)


def test_the_same_people_in_another_order_agree_entirely():
    one, other = couple()
    comparison = compare([one, other], [other, one], size=SIZE)
    assert (comparison.oks, comparison.matches) == ((1.0, 1.0), (1, 0))
    assert (comparison.mean, comparison.least) == (1.0, 1.0)


def test_one_person_found_is_not_matched_with_two_who_were_wanted():
    one, _ = couple()
    comparison = compare([one, moved(one, dx=0.01)], [one], size=SIZE)
    assert comparison.oks == (1.0, 0.0)
    assert (comparison.people_wanted, comparison.people_found) == (2, 1)
    assert (comparison.mean, comparison.least) == (0.5, 0.0)


def test_the_matching_is_the_best_of_all():
    random = np.random.default_rng(9)
    for _ in range(60):
        wanted = [random_person(random, centre=random.uniform(0.4, 0.6, 2)) for _ in range(3)]
        found = [moved(person, *random.normal(0, 0.05, 2)) for person in wanted]
        found += [random_person(random, missing=0.3)]
        points = [coco_points(person, SIZE) for person in (*wanted, *found)]
        best = max(
            sum(oks(points[row], points[3 + column], area(points[row], SIZE)) for row, column in enumerate(columns))
            for columns in permutations(range(len(found)), len(wanted))
        )
        assert sum(compare(wanted, found, size=SIZE).oks) == pytest.approx(best)


def test_the_greedy_choice_is_not_taken_where_it_costs_more():
    one, _ = couple()
    near, left = moved(one, dx=0.02), moved(one, dx=-0.03)
    assert compare([one, moved(one, dx=0.04)], [near, left], size=SIZE).matches == (1, 0)


def test_who_is_found_nowhere_near_is_not_matched():
    one, _ = couple()
    comparison = compare([one], [NOBODY], size=SIZE)
    assert (comparison.oks, comparison.matches, comparison.people_found) == ((0.0,), (None,), 1)


def test_nobody_wanted_and_nobody_found_is_agreement():
    comparison = compare([], [], size=SIZE)
    assert (comparison.oks, comparison.mean, comparison.least) == ((), 1.0, 1.0)


def test_people_without_a_keypoint_on_the_canvas_are_not_asked_for():
    one, _ = couple()
    assert compare([one, moved(one, dx=1.5)], [one], size=SIZE).oks == (1.0,)
    assert compare([only(one, "neck"), one], [one], size=SIZE).oks == (1.0,)


def test_joints_outside_the_canvas_are_not_asked_for():
    one, _ = couple()
    cut = Person(body=(*one.body[:10], (0.3, 1.2, 1.0), *one.body[11:]))
    assert compare([cut], [without(one, "right_ankle")], size=SIZE).oks == (1.0,)


def comparison(*likenesses, found):
    return PoseComparison(oks=likenesses, matches=(None,) * len(likenesses), people_found=found)


@pytest.mark.parametrize(
    ("seen", "people", "reason"),
    [
        pytest.param(comparison(0.9, 0.8, found=2), "equal", None, id="as wanted"),
        pytest.param(comparison(0.9, 0.8, found=3), "equal", "people_mismatch", id="one too many"),
        pytest.param(comparison(0.9, 0.0, found=1), "equal", "people_mismatch", id="one too few"),
        pytest.param(comparison(0.9, 0.8, found=3), "at_least", None, id="one came along"),
        pytest.param(comparison(0.9, 0.0, found=1), "at_least", "people_mismatch", id="one did not come"),
        pytest.param(comparison(0.9, 0.0, found=1), "any", "pose_mismatch", id="who is not there has no pose"),
        pytest.param(comparison(0.9, 0.4, found=2), "equal", "pose_mismatch", id="one agrees too little"),
        pytest.param(comparison(0.9, 0.5, found=2), "equal", None, id="just enough"),
        pytest.param(comparison(found=0), "equal", None, id="nobody was wanted"),
        pytest.param(comparison(found=1), "equal", "people_mismatch", id="nobody was wanted, one came"),
    ],
)
def test_a_mismatch_has_a_word(seen, people, reason):
    assert mismatch(seen, min_oks=0.5, people=people) == reason


def test_a_rule_that_is_none_is_refused():
    with pytest.raises(ValueError, match="some"):
        mismatch(comparison(found=0), min_oks=0.5, people="some")

"""OKS is COCO's, and what the judge misses is not forgiven."""

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from tests.unit.judging.people import SIZE, moved, only, random_person, without
from workers.judging.oks import area, coco_points, oks, within


def of_pycocotools(reference, found, area):
    """What COCO's own evaluation computes for one annotation and one detection."""
    numbers = np.column_stack((np.nan_to_num(reference), 2.0 * ~np.isnan(reference[:, 0]))).ravel()
    results = np.column_stack((found, np.ones(17))).ravel()
    evaluation = COCOeval(iouType="keypoints")
    evaluation._gts[1, 1] = [{"keypoints": numbers, "area": area, "bbox": [0, 0, *SIZE], "ignore": 0}]
    evaluation._dts[1, 1] = [{"keypoints": results, "score": 1.0}]
    return float(evaluation.computeOks(1, 1)[0, 0])


@pytest.mark.parametrize("missing", [0.0, 0.4, 0.95])
def test_oks_is_what_pycocotools_computes(missing):
    random = np.random.default_rng(int(100 * missing))
    seen = []
    for _ in range(400):
        reference = coco_points(random_person(random, missing=missing), SIZE)
        found = np.nan_to_num(reference, nan=random.uniform(0, 400)) + random.normal(0, random.uniform(0, 60), (17, 2))
        judged_by = random.uniform(50, 100_000)
        seen.append(oks(reference, found, judged_by))
        assert seen[-1] == pytest.approx(of_pycocotools(reference, found, judged_by), abs=1e-12)
    assert min(seen) < 0.1
    assert max(seen) > 0.9


def test_a_joint_that_is_not_found_counts_as_zero():
    person = random_person(np.random.default_rng(0))
    reference = coco_points(person, SIZE)
    found = coco_points(without(person, "left_wrist", "right_wrist"), SIZE)
    assert oks(reference, found, 1000.0) == pytest.approx(15 / 17)


def test_only_joints_that_the_reference_has_are_judged():
    person = random_person(np.random.default_rng(0))
    half = coco_points(only(person, "left_shoulder", "right_shoulder", "nose"), SIZE)
    assert oks(half, coco_points(person, SIZE), 1000.0) == 1.0


def test_distances_are_judged_by_the_area():
    person = random_person(np.random.default_rng(0))
    reference, found = coco_points(person, SIZE), coco_points(moved(person, dx=0.02), SIZE)
    assert oks(reference, found, 500.0) < oks(reference, found, 5000.0) < oks(reference, found, 50_000.0)


def test_the_area_is_a_share_of_the_box_around_the_points():
    points = np.full((17, 2), np.nan)
    points[3], points[9] = (100, 50), (300, 250)
    assert area(points, SIZE) == pytest.approx(0.53 * 200 * 200)


@pytest.mark.parametrize(
    ("places", "sides"),
    [
        pytest.param([(100, 50), (100, 250)], (50, 200), id="a line is widened to a quarter of its length"),
        pytest.param([(100, 50)], (30, 30), id="a point to a sixteenth of the canvas"),
        pytest.param([(100, 50), (101, 52)], (30, 30), id="a speck as well"),
    ],
)
def test_a_degenerate_box_is_widened(places, sides):
    points = np.full((17, 2), np.nan)
    points[: len(places)] = places
    assert area(points, SIZE) == pytest.approx(0.53 * sides[0] * sides[1])


def test_points_outside_the_canvas_are_nowhere():
    points = np.full((17, 2), np.nan)
    points[0], points[1], points[2] = (10, 10), (-1, 10), (10, SIZE[1] + 1)
    assert np.flatnonzero(~np.isnan(within(points, SIZE)[:, 0])).tolist() == [0]

"""Keypoints keep their names from one order to the other."""

from posemill.pictures.coco_order import from_coco_order, to_coco_order
from posemill.pictures.poses import BODY_KEYPOINTS, COCO_KEYPOINTS, Person, to_coco_keypoints

BODY = tuple((number / 100, 1 - number / 100, 0.5 + number / 100) for number in range(18))


def test_each_keypoint_keeps_its_name():
    named = dict(zip(COCO_KEYPOINTS, to_coco_order(BODY), strict=True))
    assert named == {name: BODY[BODY_KEYPOINTS.index(name)] for name in COCO_KEYPOINTS}


def test_there_and_back_changes_nothing_but_the_neck():
    again = from_coco_order(to_coco_order(BODY))
    assert [point for place, point in enumerate(again) if place != 1] == [
        point for place, point in enumerate(BODY) if place != 1
    ]
    assert again[1] == ((BODY[2][0] + BODY[5][0]) / 2, (BODY[2][1] + BODY[5][1]) / 2, BODY[2][2])


def test_there_is_no_neck_where_a_shoulder_is_missing():
    points = list(to_coco_order(BODY))
    points[COCO_KEYPOINTS.index("left_shoulder")] = None
    assert from_coco_order(points)[1] is None


def test_the_order_is_that_of_the_annotations_written():
    numbers = to_coco_keypoints(Person(body=BODY), 1000, 1000)
    assert [x / 1000 for x in numbers[::3]] == [point[0] for point in to_coco_order(BODY)]

"""Poses travel through OpenPose's and COCO's formats without losing a keypoint, a side or a score."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posemill.errors import PosemillError
from posemill.pictures.coco import poses_from_coco
from posemill.pictures.poses import (
    BODY_KEYPOINTS,
    COCO_KEYPOINTS,
    Person,
    Pose,
    PoseFormatError,
    checked_openpose_json,
    from_openpose_json,
    to_coco_keypoints,
    to_openpose_json,
)

CASES = Path(__file__).parents[1] / "cases"


def body(**found):
    return tuple(found.get(name) for name in BODY_KEYPOINTS)


def named(person):
    return {name: point for name, point in zip(BODY_KEYPOINTS, person.body, strict=True) if point}


def document(numbers, *, width=200, height=100, **parts):
    people = [{"pose_keypoints_2d": numbers, **parts}]
    return {"version": 1.3, "people": people, "canvas_width": width, "canvas_height": height}


def coco_file(**person):
    keypoints = [number for name in COCO_KEYPOINTS for number in person.get(name, (0, 0, 0))]
    return {
        "images": [{"id": 7, "width": 100, "height": 50, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 7, "keypoints": keypoints, "iscrowd": 0, "category_id": 1}],
    }


def test_a_pose_survives_openpose_json():
    hand = ((0.5, 0.25, 1.0), *[None] * 20)
    person = Person(body=body(nose=(0.25, 0.5, 0.75), left_ear=(1.0, 0.0, 0.5)), hand_left=hand, face=hand[:3])
    pose = Pose(width=512, height=768, people=(person,))
    assert from_openpose_json(json.loads(json.dumps(to_openpose_json(pose)))) == pose


def test_openpose_json_is_flat_pixels_with_zeros_for_the_missing():
    pose = Pose(width=200, height=100, people=(Person(body=body(neck=(0.5, 0.25, 0.9))),))
    written = to_openpose_json(pose)
    assert (written["version"], written["canvas_width"], written["canvas_height"]) == (1.3, 200, 100)
    assert written["people"][0]["pose_keypoints_2d"] == [0, 0, 0, 100, 25, 0.9, *[0] * 48]
    assert written["people"][0]["hand_left_keypoints_2d"] == []


@pytest.mark.parametrize("side", [384, 512, 513, 1000, 1023])
def test_every_whole_pixel_reads_back_as_the_same_share(side):
    for pixel in range(side):
        pose = Pose(width=side, height=side, people=(Person(body=body(nose=(pixel / side, 0.5, 1.0))),))
        assert from_openpose_json(to_openpose_json(pose)) == pose


def test_shares_and_pixels_read_alike():
    pixels = document([50, 25, 1, 100, 75, 1] + [0] * 48)
    shares = document([0.25, 0.25, 1, 0.5, 0.75, 1] + [0] * 48)
    assert from_openpose_json(pixels) == from_openpose_json(shares)


def test_body_25_keeps_each_joint_and_drops_middle_hip_and_feet():
    numbers = [number for index in range(25) for number in (index + 10, 50, 1)]
    (person,) = from_openpose_json(document(numbers)).people
    places = {name: round(point[0] * 200) - 10 for name, point in named(person).items()}
    assert places["left_wrist"] == 7
    assert (places["right_hip"], places["left_hip"], places["left_ankle"]) == (9, 12, 14)
    assert (places["right_eye"], places["left_ear"]) == (15, 18)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        pytest.param([], "Expected `object`", id="not an object"),
        pytest.param({"people": []}, "canvas_width", id="no canvas"),
        pytest.param(document([0] * 54, width=0), "canvas_width", id="canvas without pixels"),
        pytest.param(document([0] * 51), r"people\[0\].pose_keypoints_2d holds 51", id="17 keypoints"),
        pytest.param(document([]), "is empty", id="no body"),
        pytest.param(document([float("nan")] * 54), "not finite", id="not a number"),
        pytest.param(document(["1"] * 54), "pose_keypoints_2d", id="text"),
        pytest.param(document([900, 1, 1] + [0] * 51), "200x100", id="far outside the canvas"),
        pytest.param(document([0] * 54, hand_left_keypoints_2d=[1, 1, 1]), "hand_left", id="hand with one keypoint"),
    ],
)
def test_a_wrong_file_is_refused_by_name(wrong, says):
    with pytest.raises(PoseFormatError, match=says) as caught:
        from_openpose_json(wrong)
    assert caught.value.code == "bad_pose"


def test_coco_sides_stay_the_persons_own():
    annotated = coco_file(left_wrist=(90, 5, 2), right_wrist=(10, 45, 2), left_eye=(60, 2, 1), right_knee=(20, 40, 2))
    ((name, pose),) = poses_from_coco(annotated)
    assert (name, pose.width, pose.height) == ("a.jpg", 100, 50)
    assert named(pose.people[0]) == {
        "left_wrist": (0.9, 0.1, 1.0),
        "right_wrist": (0.1, 0.9, 1.0),
        "left_eye": (0.6, 0.04, 1.0),
        "right_knee": (0.2, 0.8, 1.0),
    }


def test_coco_places_match_the_published_orders():
    assert [COCO_KEYPOINTS[index] for index in (0, 5, 6, 16)] == [
        "nose",
        "left_shoulder",
        "right_shoulder",
        "right_ankle",
    ]
    assert [BODY_KEYPOINTS[index] for index in (1, 2, 5, 8, 17)] == [
        "neck",
        "right_shoulder",
        "left_shoulder",
        "right_hip",
        "left_ear",
    ]


def test_the_neck_lies_between_two_visible_shoulders():
    ((_, pose),) = poses_from_coco(coco_file(left_shoulder=(80, 20, 2), right_shoulder=(40, 10, 1)))
    assert named(pose.people[0])["neck"] == (0.6, 0.3, 1.0)


def test_one_shoulder_makes_no_neck():
    ((_, pose),) = poses_from_coco(coco_file(left_shoulder=(80, 20, 2), right_shoulder=(40, 10, 0)))
    assert set(named(pose.people[0])) == {"left_shoulder"}


def test_crowds_and_unlabelled_people_are_left_out_but_their_image_is_not():
    annotated = coco_file(nose=(1, 1, 2))
    annotated["annotations"][0]["iscrowd"] = 1
    annotated["annotations"].append({"image_id": 7, "keypoints": [0] * 51})
    annotated["images"].append({"id": 8, "width": 10, "height": 10})
    assert list(poses_from_coco(annotated)) == [
        ("a.jpg", Pose(width=100, height=50)),
        ("8", Pose(width=10, height=10)),
    ]


def test_a_person_goes_to_coco_and_back():
    annotated = coco_file(nose=(50, 10, 2), left_hip=(60, 40, 2), right_ear=(45, 9, 2))
    ((_, pose),) = poses_from_coco(annotated)
    assert to_coco_keypoints(pose.people[0], 100, 50) == annotated["annotations"][0]["keypoints"]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"images": []}, id="no annotations"),
        pytest.param({"annotations": []}, id="no images"),
        pytest.param({"images": {}, "annotations": []}, id="images by name"),
        pytest.param(coco_file() | {"categories": "person"}, id="categories that are no list"),
        pytest.param([], id="a list"),
        pytest.param(None, id="nothing"),
    ],
)
def test_a_wrong_coco_file_is_refused(wrong):
    with pytest.raises(PoseFormatError):
        list(poses_from_coco(wrong))


def test_a_persons_score_is_the_mean_of_what_was_found():
    assert Person(body=body(nose=(0, 0, 0.5), neck=(0, 0, 1.0))).score == 0.75
    assert Person(body=body()).score == 0.0


GOOD = json.loads((CASES / "good.json").read_text())


@pytest.mark.parametrize("name", ["good.json", "list.json"])
def test_a_frame_is_read_alone_and_as_a_list_of_one(name):
    checked = checked_openpose_json((CASES / name).read_bytes())
    assert from_openpose_json(checked) == from_openpose_json(GOOD)
    assert len(from_openpose_json(checked).people) == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param("null", "not OpenPose JSON", id="null"),
        pytest.param("7", "not OpenPose JSON", id="a number"),
        pytest.param('"a pose"', "not OpenPose JSON", id="a text"),
        pytest.param("[]", "a list of 0 frames", id="an empty list"),
        pytest.param(f"[{json.dumps(GOOD)}, {json.dumps(GOOD)}]", "a list of 2 frames", id="two frames"),
        pytest.param('[{"image_id": 1, "keypoints": []}]', "COCO results", id="COCO results"),
        pytest.param("{", "not JSON", id="cut off"),
        pytest.param(b"\xff", "not JSON", id="not UTF-8"),
        pytest.param("[" * 100_000, "not JSON", id="nested too deeply"),
        pytest.param((CASES / "ribbon.json").read_bytes(), "one side over 8 times the other", id="a ribbon"),
        pytest.param(json.dumps(GOOD | {"canvas_width": 90_000, "canvas_height": 90_000}), "over the limit", id="vast"),
    ],
)
def test_what_is_no_pose_that_can_be_drawn_is_refused_in_one_sentence(content, says):
    with pytest.raises(PoseFormatError, match=says) as caught:
        checked_openpose_json(content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"people": [], "people": []}', '[{"a": {"b": 1, "b": 1}}]'])
def test_a_key_that_stands_twice_is_refused_for_one_of_them_would_win(text):
    with pytest.raises(PoseFormatError, match=r"the key '(people|b)' is given twice"):
        checked_openpose_json(text)


def test_a_person_without_a_single_keypoint_is_no_person():
    nobody = json.loads((CASES / "zero_conf.json").read_text())
    assert from_openpose_json(nobody).people == ()
    both = GOOD | {"people": GOOD["people"] + nobody["people"]}
    assert from_openpose_json(both).people == from_openpose_json(GOOD).people


def test_a_checked_pose_holds_nothing_that_a_plan_cannot_carry():
    person = {**GOOD["people"][0], "comment": "\ud800", "nested": [[[]]]}
    checked = checked_openpose_json(GOOD | {"people": [person], "note": float("nan")})
    assert set(checked) == {"people", "canvas_width", "canvas_height"}
    assert from_openpose_json(msgspec.json.decode(msgspec.json.encode(checked))) == from_openpose_json(GOOD)


NUMBER = st.integers(-(10**20), 10**20) | st.floats() | st.just(10**400)
ODD = st.none() | st.booleans() | NUMBER | st.text(max_size=4) | st.lists(NUMBER, max_size=4) | st.just({})
NUMBERS = st.lists(st.floats(-2, 600) | NUMBER, min_size=54, max_size=54) | st.lists(ODD, max_size=80) | ODD
PERSON = st.fixed_dictionaries(
    {"pose_keypoints_2d": NUMBERS}, optional={"face_keypoints_2d": NUMBERS, "hand_left_keypoints_2d": NUMBERS}
)
FRAME = st.fixed_dictionaries(
    {"people": st.lists(PERSON | ODD, max_size=3) | ODD},
    optional={"canvas_width": st.just(512) | ODD, "canvas_height": st.just(512) | ODD, "x": ODD},
)


@given(FRAME | st.lists(FRAME, max_size=2) | ODD | st.text() | st.binary() | FRAME.map(json.dumps))
@settings(max_examples=400, deadline=None)
def test_any_document_is_a_pose_or_a_posemill_error(document):
    try:
        checked = checked_openpose_json(document)
    except PosemillError as error:
        str(error).encode()
        return
    assert from_openpose_json(msgspec.json.decode(msgspec.json.encode(checked))) == from_openpose_json(checked)

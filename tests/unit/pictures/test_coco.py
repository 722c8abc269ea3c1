"""COCO annotations are read by their keypoints' names, and what cannot be used costs its own image alone."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posemill.errors import PosemillError
from posemill.pictures.coco import body_name, poses_from_coco
from posemill.pictures.poses import BODY_KEYPOINTS, COCO_KEYPOINTS, Pose, PoseFormatError, to_openpose_json

CASES = Path(__file__).parents[1] / "cases"
KEYPOINTS = [number for place in range(17) for number in (20 + 20 * place, 30, 2)]
AP_10K = (
    "left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw",
    "right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw", "right_hip",
    "right_knee", "right_back_paw",
)  # fmt: skip


def coco(*annotations, images=None, **more) -> dict:
    images = images or [{"id": 1, "width": 400, "height": 400, "file_name": "a.jpg"}]
    return {"images": images, "annotations": list(annotations), **more}


def person(**more) -> dict:
    return {"image_id": 1, "category_id": 1, "keypoints": KEYPOINTS, **more}


def only(document) -> Pose | PoseFormatError:
    ((_, pose),) = poses_from_coco(document)
    return pose


def places(pose: Pose) -> dict[str, int]:
    """Which of the annotation's keypoints each of the first person's is."""
    named = zip(BODY_KEYPOINTS, pose.people[0].body, strict=True)
    return {name: round((point[0] * 400 - 20) / 20) for name, point in named if point and name != "neck"}


def test_keypoints_in_another_order_go_by_their_names():
    document = json.loads((CASES / "coco_other_order.json").read_text())
    names = document["categories"][0]["keypoints"]
    document["images"][0] |= {"width": 400, "height": 400}
    assert places(only(document)) == {name: names.index(name) for name in COCO_KEYPOINTS}


@pytest.mark.parametrize("write", [
    lambda name: name.replace("_", " ").title(),
    lambda name: name.replace("left_", "L-").replace("right_", "R-"),
    lambda name: name.replace("left_", "l").replace("right_", "r"),
    lambda name: "_".join(reversed(name.split("_"))),
    lambda name: name.split("_")[0] + "".join(word.title() for word in name.split("_")[1:]),
])  # fmt: skip
def test_names_are_known_however_they_are_written(write):
    assert {name: body_name(write(name)) for name in COCO_KEYPOINTS} == {name: name for name in COCO_KEYPOINTS}


@pytest.mark.parametrize("name", ["left_eye_inner", "left_front_elbow", "left_big_toe", "", "_", "left", "lefty", "1"])
def test_what_no_pose_has_here_has_no_name(name):
    assert body_name(name) is None


def test_keypoints_beyond_ours_are_left_out_and_a_neck_is_taken():
    names = [*COCO_KEYPOINTS, "neck", "left_big_toe"]
    numbers = [*KEYPOINTS, 360, 30, 2, 380, 30, 2]
    pose = only(coco(person(keypoints=numbers), categories=[{"id": 1, "name": "person", "keypoints": names}]))
    assert pose.people[0].body[1] == (0.9, 30 / 400, 1.0)


@pytest.mark.parametrize(
    ("category", "says"),
    [
        pytest.param({"name": "dog", "keypoints": list(AP_10K)}, "no person's", id="an animal"),
        pytest.param({"name": "dog", "keypoints": [*COCO_KEYPOINTS[:-1], "tail"]}, "an animal's", id="with a tail"),
        pytest.param({"name": "dog"}, "does not name its keypoints", id="an animal without names"),
        pytest.param({"name": "person", "keypoints": [f"p{n}" for n in range(17)]}, "no person's", id="numbers"),
        pytest.param({"name": "person", "keypoints": list(range(17))}, "does not name", id="no names"),
        pytest.param({"name": "person", "keypoints": [*COCO_KEYPOINTS[:16], "nose"]}, "nose twice", id="twice"),
        pytest.param({"name": "person", "keypoints": list(COCO_KEYPOINTS[:16])}, "16 keypoints", id="too few names"),
    ],
)
def test_a_skeleton_that_is_no_person_s_is_refused(category, says):
    pose = only(coco(person(), categories=[{"id": 1, **category}]))
    assert says in str(pose)
    assert isinstance(pose, PoseFormatError)


@pytest.mark.parametrize("categories", [[], [{"id": 1, "name": "Person"}]], ids=["none", "a person without names"])
def test_without_names_a_person_s_keypoints_have_coco_s_order(categories):
    assert places(only(coco(person(), categories=categories))) == {name: n for n, name in enumerate(COCO_KEYPOINTS)}


def test_an_annotation_of_an_unknown_category_is_refused_and_of_the_only_one_need_not_say_so():
    categories = [{"id": 1, "name": "person"}]
    assert "no category has the id 2" in str(only(coco(person(category_id=2), categories=categories)))
    assert len(only(coco(person(category_id=None), categories=categories)).people) == 1
    assert "no category" in str(only(coco(person(), categories=["person"])))


def test_a_thing_without_keypoints_stands_beside_a_person():
    categories = [{"id": 1, "name": "person"}, {"id": 2, "name": "car"}]
    pose = only(coco(person(), {"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4]}, categories=categories))
    assert len(pose.people) == 1


def test_one_annotation_that_cannot_be_used_costs_its_image_alone():
    document = json.loads((CASES / "coco_one_bad_person.json").read_text())
    results = dict(poses_from_coco(document))
    assert [name for name, result in results.items() if isinstance(result, PoseFormatError)] == ["2.jpg"]
    assert "annotations[2].keypoints holds 30 numbers" in str(results["2.jpg"])
    assert sum(len(result.people) for result in results.values() if isinstance(result, Pose)) == 4


@pytest.mark.parametrize(
    ("annotation", "people"),
    [
        pytest.param(person(keypoints=None), 0, id="keypoints: null"),
        pytest.param({"image_id": 1}, 0, id="no keypoints"),
        pytest.param(person(keypoints=[0] * 51), 0, id="none labelled"),
        pytest.param(person(keypoints=[float(number) for number in KEYPOINTS]), 1, id="floats"),
        pytest.param(person(keypoints=[KEYPOINTS[n : n + 3] for n in range(0, 51, 3)]), 1, id="threes"),
        pytest.param(person(image_id="1"), 1, id="id as text"),
        pytest.param(person(image_id=1.0), 1, id="id as float"),
        pytest.param(person(iscrowd=False), 1, id="iscrowd: false"),
        pytest.param(person(iscrowd=True), 0, id="iscrowd: true"),
        pytest.param(person(iscrowd=1.0), 0, id="iscrowd: 1.0"),
        pytest.param(person(iscrowd="0"), 1, id="iscrowd as text"),
        pytest.param(person(iscrowd=None), 1, id="iscrowd: null"),
    ],
)
def test_what_is_plainly_meant_is_read(annotation, people):
    assert len(only(coco(annotation)).people) == people


@pytest.mark.parametrize(
    ("annotation", "says"),
    [
        pytest.param(person(keypoints=[1, 1, 2]), "holds 3 numbers", id="too few"),
        pytest.param(person(keypoints="1,1,2"), "no list", id="text"),
        pytest.param(person(keypoints=[None] * 51), "no number", id="nulls"),
        pytest.param(person(keypoints=[float("nan")] * 51), "no number", id="not a number"),
        pytest.param(person(keypoints=[10**400] * 51), "no number", id="a number without end"),
    ],
)
def test_what_cannot_be_used_is_said(annotation, says):
    assert says in str(only(coco(annotation)))


@pytest.mark.parametrize("is_crowd", [1, 1.0, True, "1", "true", "True"])
def test_a_crowd_is_left_out_however_it_says_so(is_crowd):
    assert only(coco(person(iscrowd=is_crowd))).people == ()


@pytest.mark.parametrize("is_crowd", ["yes", 2, [], "crowd", float("nan")])
def test_what_is_neither_a_crowd_nor_none_is_refused(is_crowd):
    assert "annotations[0].iscrowd is" in str(only(coco(person(iscrowd=is_crowd))))


def test_two_skeletons_of_one_category_s_id_are_refused_and_one_given_twice_is_not():
    person_, dog = ({"id": 1, "name": name, "keypoints": list(COCO_KEYPOINTS)} for name in ("person", "dog"))
    assert "two categories have the id 1" in str(only(coco(person(), categories=[person_, dog])))
    assert len(only(coco(person(), categories=[person_, dict(person_)])).people) == 1


def test_an_annotation_that_stands_twice_is_one_person():
    moved = [number + 1 for number in KEYPOINTS]
    assert len(only(coco(person(id=1), person(id=1))).people) == 1
    assert len(only(coco(person(id=1), person(id=1, keypoints=moved))).people) == 2
    assert len(only(coco(person(id=1), person(id=2), person(), person())).people) == 4


@pytest.mark.parametrize("size", [512.0, "512"])
def test_sizes_are_read_as_floats_and_texts(size):
    assert only(coco(images=[{"id": 1, "width": size, "height": size}])) == Pose(width=512, height=512)


@pytest.mark.parametrize("size", [0, -1, 512.5, None, True, "wide", 10**9])
def test_an_image_of_no_size_is_refused_alone(size):
    sound = {"id": 2, "width": 5, "height": 5}
    (_, refused), (_, read) = poses_from_coco(coco(images=[{"id": 1, "width": size, "height": 9}, sound]))
    assert "images[0].width" in str(refused)
    assert read == Pose(width=5, height=5)


def test_annotations_of_no_image_are_said_once_for_each_image():
    lost = [person(image_id=9), person(image_id=9), person(image_id=[]), "nothing"]
    (_, read), *refused = poses_from_coco(coco(*lost))
    assert read.people == ()
    assert [name for name, _ in refused] == ["annotations[0]", "annotations[2]", "annotations[3]"]
    assert "no image has the id 9" in str(refused[0][1])


def test_an_id_given_twice_is_refused_the_second_time():
    image = {"id": 2**60 + 1, "width": 5, "height": 5}
    near = {"id": 2**60 + 2, "width": 5, "height": 5}
    results = [result for _, result in poses_from_coco(coco(images=[image, image, near]))]
    assert [isinstance(result, PoseFormatError) for result in results] == [False, True, False]


ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
ANNOTATION = st.fixed_dictionaries({}, optional={
    "image_id": st.sampled_from([1, 2, "1", 1.0]) | ODD, "category_id": st.sampled_from([1, 2]) | ODD, "iscrowd": ODD,
    "keypoints": st.just(KEYPOINTS) | ODD | st.lists(ODD, max_size=60),
})  # fmt: skip
IMAGE = st.fixed_dictionaries({}, optional={
    "id": st.sampled_from([1, 2]) | ODD, "width": st.just(400) | ODD, "height": st.just(400) | ODD, "file_name": ODD,
})  # fmt: skip
CATEGORY = st.fixed_dictionaries({}, optional={
    "id": st.sampled_from([1, 2]) | ODD, "name": st.just("person") | ODD,
    "keypoints": st.just(list(COCO_KEYPOINTS)) | ODD | st.lists(ODD, max_size=20),
})  # fmt: skip
DOCUMENT = st.fixed_dictionaries(
    {"images": st.lists(IMAGE | ODD, max_size=4) | ODD, "annotations": st.lists(ANNOTATION | ODD, max_size=4) | ODD},
    optional={"categories": st.lists(CATEGORY | ODD, max_size=2) | ODD},
)


@given(DOCUMENT | ODD)
@settings(max_examples=400, deadline=None)
def test_any_document_gives_poses_and_reasons_and_ends_in_nothing_but_a_posemill_error(document):
    try:
        results = list(poses_from_coco(document))
    except PosemillError:
        return
    assert len(results) >= len(document["images"]), "every image is accounted for"
    for name, result in results:
        name.encode()
        if isinstance(result, Pose):
            json.dumps(to_openpose_json(result), allow_nan=False)
        else:
            str(result).encode()

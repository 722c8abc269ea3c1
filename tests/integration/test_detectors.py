"""The real OpenposeDetector finds the people in real photographs, and our control images are its own."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from controlnet_aux.open_pose import OpenposeDetector
from controlnet_aux.util import resize_image
from PIL import Image

from posemill.contract.specs import DetectSpec
from posemill.errors import RecipeError, RunFault
from posemill.pictures.decoding import PictureError
from posemill.pictures.poses import BODY_KEYPOINTS, Person, Pose, PoseFormatError, to_openpose_json
from tests.drawn_weights import write_openpose
from workers.detecting.annotators import openpose, posing
from workers.detecting.annotators.posing import without_faint_people
from workers.detecting.detectors import load_detector, reject_reason
from workers.detecting.openpose import mapped_weights
from workers.detecting.openpose.body_network import prepare
from workers.images.content import Content

CASES = Path(__file__).parents[1] / "unit" / "cases"

THIN = DetectSpec(detector="openpose-thin")
QUICK = DetectSpec(detector="openpose-thin", detect_resolution=256)  # a third of the time, the same network
KEYPOINTS = DetectSpec(detector="keypoints")

# Pixels in the 512 px photographs, drawn on them and looked at once. Keypoints that the network only
# guesses (score under 0.25: a hidden elbow, an eye behind the camera) are not listed.
ASTRONAUT = {
    "nose": (228, 121), "neck": (204, 275), "right_shoulder": (99, 280), "right_elbow": (69, 436),
    "left_shoulder": (317, 280), "right_eye": (208, 100), "left_eye": (249, 101), "right_ear": (178, 111),
    "left_ear": (278, 114),
}  # fmt: skip
CAMERAMAN = {
    "nose": (247, 165), "neck": (164, 190), "right_shoulder": (103, 171), "right_elbow": (88, 296),
    "right_wrist": (192, 245), "left_shoulder": (213, 213), "left_elbow": (255, 297),
    "left_wrist": (283, 234), "right_hip": (48, 362), "left_hip": (118, 371), "right_eye": (236, 149),
    "right_ear": (189, 138),
}  # fmt: skip
TOLERANCE = 6


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """As detect workers run; two threads only wait for each other on a machine that is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.detecting.openpose.mapped_weights.CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def thin():
    return load_detector(THIN)


@pytest.fixture(scope="module")
def quick():
    return load_detector(QUICK)


@pytest.fixture(scope="module")
def seen(thin):
    """What the thin detector makes of the two photographs, looked at once."""
    return dict(
        zip(
            ("astronaut", "cameraman"), thin.detect([Content(png(astronaut())), Content(png(cameraman()))]), strict=True
        )
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder with the library's own file names and weights drawn from a seed."""
    return write_openpose(tmp_path_factory.mktemp("openpose"))


@pytest.fixture(scope="module")
def full(weights):
    return openpose.load_openpose(str(weights), None, device="cpu")


def astronaut():
    return Image.fromarray(skimage.data.astronaut())


def cameraman():
    return Image.fromarray(skimage.data.camera()).convert("RGB")


def png(picture):
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def one(detector, source):
    """What a detector makes of one source."""
    (found,) = detector.detect([Content(source)])
    if isinstance(found, Exception):
        raise found
    return found


def pixels(person, pose):
    named = zip(BODY_KEYPOINTS, person.body, strict=True)
    return {name: (point[0] * pose.width, point[1] * pose.height) for name, point in named if point}


def assert_lies_at(found, expected):
    for name, place in expected.items():
        assert found[name] == pytest.approx(place, abs=TOLERANCE), name


def test_the_astronaut_is_found_where_she_is(seen):
    pose = seen["astronaut"].pose
    (person,) = pose.people
    assert len(pixels(person, pose)) == 10
    assert_lies_at(pixels(person, pose), ASTRONAUT)
    assert person.score == pytest.approx(0.66, abs=0.03)


def test_the_cameraman_is_found_where_he_is(seen):
    pose = seen["cameraman"].pose
    (person,) = pose.people
    assert len(pixels(person, pose)) == 15
    assert_lies_at(pixels(person, pose), CAMERAMAN)
    assert person.score == pytest.approx(0.58, abs=0.03)


def test_two_people_side_by_side_are_two_people(quick):
    both = Image.new("RGB", (1024, 512))
    both.paste(astronaut(), (0, 0))
    both.paste(astronaut(), (512, 0))
    people = one(quick, png(both)).pose.people
    left, right = sorted(person.body[0][0] * 1024 for person in people)
    x, _ = ASTRONAUT["nose"]
    assert (left, right) == pytest.approx((x, x + 512), abs=TOLERANCE)


def test_a_small_person_is_found_at_twice_the_librarys_height(quick):
    far = Image.new("RGB", (512, 512), (150, 150, 150))
    far.paste(cameraman().resize((128, 128)), (192, 192))
    (person,) = one(quick, png(far)).pose.people
    x, y = CAMERAMAN["nose"]
    assert person.body[0][0] * 512 == pytest.approx(192 + x / 4, abs=TOLERANCE)
    assert person.body[0][1] * 512 == pytest.approx(192 + y / 4, abs=TOLERANCE)


@pytest.mark.parametrize("photograph", ["coffee", "cat"])
def test_nobody_is_found_where_nobody_is(quick, photograph):
    detection = one(quick, png(Image.fromarray(getattr(skimage.data, photograph)())))
    assert detection.pose.people == ()
    assert detection.control_image.getbbox() is None  # black
    assert reject_reason(detection.pose, min_people=1, max_people=None) == "no_person"


@pytest.mark.parametrize("image_resolution", [512, 384])
def test_the_control_image_is_the_librarys_own(thin, seen, image_resolution):
    ours = posing.draw(seen["astronaut"].pose, resolution=image_resolution)
    theirs = thin.finder.detector(astronaut(), image_resolution=image_resolution)
    assert ours.getbbox() is not None
    assert (ours.size, ours.tobytes()) == (theirs.size, theirs.tobytes())


def test_an_upright_pictures_control_image_is_the_librarys_own(quick):
    picture = astronaut().crop((0, 0, 400, 512))
    ours = posing.draw(quick.finder.detect([picture], QUICK)[0], resolution=448)
    theirs = quick.finder.detector(picture, detect_resolution=256, image_resolution=448)
    assert ours.getbbox() is not None
    assert (ours.size, ours.tobytes()) == (theirs.size, theirs.tobytes())


def test_the_full_detectors_control_image_is_the_librarys_own(full):
    spec = DetectSpec(detector="openpose", include_hand=True, include_face=True)
    ours = posing.draw(full.detect([astronaut()], spec)[0], resolution=384)
    theirs = full.detector(astronaut(), image_resolution=384, include_hand=True, include_face=True)
    assert (ours.size, ours.tobytes()) == (theirs.size, theirs.tobytes())


def test_hands_and_face_are_found_and_drawn_as_the_library_draws_them(full, thin):
    """Random weights see no body, so the thin network finds it; the hand network is too slow for a test."""
    torch.manual_seed(0)
    hand = full.detector.hand_estimation
    hand.model = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Conv2d(3, 22, 1)).eval()
    detector = OpenposeDetector(thin.finder.detector.body_estimation, hand, full.detector.face_estimation)
    both = {"include_hand": True, "include_face": True}
    spec = DetectSpec(detector="openpose", **both)
    (pose,) = openpose.Openpose(detector).detect([cameraman()], spec)
    (person,) = pose.people
    assert len(person.hand_left) == len(person.hand_right) == 21
    assert len(person.face) == 71
    assert posing.draw(pose, resolution=384, **both).tobytes() == (
        detector(cameraman(), image_resolution=384, **both).tobytes()
    )


def test_a_detected_pose_drawn_again_from_its_json_is_the_same_picture(seen):
    detection = seen["cameraman"]
    again = one(load_detector(KEYPOINTS), json.dumps(to_openpose_json(detection.pose)).encode())
    assert again.control_image.tobytes() == detection.control_image.tobytes()
    assert again.source_size == (512, 512)


def test_ready_made_poses_are_drawn_at_the_canvas_proportions():
    body = [(0.5, 0.2, 1.0), (0.5, 0.4, 1.0), *[None] * 16]
    pose = Pose(width=1920, height=1080, people=(Person(body=tuple(body)),))
    detection = one(load_detector(KEYPOINTS), json.dumps(to_openpose_json(pose)).encode())
    assert detection.control_image.size == (896, 512)
    left, top, right, bottom = detection.control_image.getbbox()
    assert (left + right) / 2 == pytest.approx(448, abs=2)
    assert (top, bottom) == pytest.approx((512 * 0.2 - 4, 512 * 0.4 + 5), abs=2)


@pytest.mark.parametrize("source", [b"", b"{", b"\xff\xfe", b"[]", b'{"people": []}'])
def test_a_wrong_pose_file_is_refused(source):
    with pytest.raises(PoseFormatError):
        one(load_detector(KEYPOINTS), source)


def test_a_source_that_is_no_picture_is_refused(quick):
    with pytest.raises(PictureError):
        one(quick, b"no picture")


def test_a_source_that_is_no_picture_takes_no_neighbour_along(quick, seen):
    first, wrong, last = quick.detect(
        [Content(source) for source in (png(astronaut()), b"no picture", png(cameraman()))]
    )
    assert isinstance(wrong, PictureError)
    assert [len(detection.pose.people) for detection in (first, last)] == [1, 1]


def test_a_picture_s_pose_is_the_same_in_any_company(thin, seen):
    assert one(thin, png(astronaut())).pose == seen["astronaut"].pose


def test_the_full_detector_s_three_networks_lie_in_files_that_processes_share(full):
    assert len(list(mapped_weights.CACHE.glob("*.safetensors"))) == 3


def test_the_full_network_s_maps_are_the_same_in_any_company(full):
    """Random weights see nobody, so the maps are compared, in the number format that this processor is quick at."""
    body = full.detector.body_estimation.estimation
    values = np.stack([prepare(np.asarray(picture), 184).values for picture in (astronaut(), cameraman())])
    for alone, together in zip(body.run(values[:1]), body.run(values), strict=True):
        assert alone.std() > 0
        assert np.array_equal(alone[0], together[0])


@pytest.mark.parametrize("size", [(512, 512), (640, 512), (384, 512)])
def test_the_quick_path_finds_what_the_library_finds(size):
    """The library's own code over the same network: the same people, keypoints within a pixel."""
    group = Image.new("RGB", size, (90, 120, 150))
    group.paste(astronaut().resize((320, 320)), (0, 100))
    group.paste(cameraman().resize((200, 200)), (size[0] - 220, 20))
    quick, exact = (
        openpose.load_openpose_thin(device="cpu", exact=exact).detect([group], THIN)[0] for exact in (False, True)
    )
    assert len(quick.people) == len(exact.people) > 0
    for ours, theirs in zip(quick.people, exact.people, strict=True):
        assert [point is None for point in ours.body] == [point is None for point in theirs.body]
        for mine, other in zip(ours.body, theirs.body, strict=True):
            if mine and other:
                assert mine == pytest.approx(other, abs=1.01 / 512)


@pytest.mark.parametrize("width", [1, 31, 500, 512, 1000, 3000])
@pytest.mark.parametrize("height", [33, 300, 512])
def test_control_sizes_are_the_librarys(width, height):
    scaled = resize_image(np.zeros((height, width, 3), np.uint8), 128)
    assert posing.control_size(width, height, 128) == scaled.shape[1::-1]


def test_faint_people_are_left_out():
    faint, clear = (Person(body=((0.5, 0.5, score), *[None] * 17)) for score in (0.2, 0.4))
    pose = Pose(width=8, height=8, people=(faint, clear))
    assert without_faint_people(pose, 0.4).people == (clear,)
    assert without_faint_people(pose, 0.0) == pose


@pytest.mark.parametrize(
    ("people", "least", "most", "reason"),
    [
        (0, 1, None, "no_person"),
        (0, 0, None, "no_person"),
        (1, 2, None, "too_few_people"),
        (3, 1, 2, "too_many_people"),
        (2, 2, 2, None),
        (9, 1, None, None),
    ],
)
def test_a_pose_is_rejected_by_its_number_of_people(people, least, most, reason):
    pose = Pose(width=8, height=8, people=(Person(body=(None,) * 18),) * people)
    assert reject_reason(pose, min_people=least, max_people=most) == reason


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (DetectSpec(detector="pidinet"), "there are openpose, openpose-thin, movenet, figures"),
        (DetectSpec(detector="openpose-thin", include_hand=True), "bodies only"),
        (DetectSpec(detector="openpose-thin", include_face=True), "bodies only"),
        (DetectSpec(detector="openpose-thin", weights="a/b"), "takes no weights"),
        (DetectSpec(detector="keypoints", weights="a/b"), "takes no weights"),
    ],
)
def test_a_spec_that_cannot_be_met_is_refused(spec, says):
    with pytest.raises(RecipeError, match=says):
        load_detector(spec)


def test_a_device_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RunFault, match="cuda"):
        load_detector(THIN, device="cuda")


def test_a_folder_without_weights_names_the_files_it_lacks(tmp_path):
    with pytest.raises(RunFault, match=r"body_pose_model\.pth, hand_pose_model\.pth and facenet\.pth"):
        load_detector(DetectSpec(detector="openpose", weights=str(tmp_path)))


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_weights_cannot_run_code(tmp_path):
    torch.save({"conv": Payload(str(tmp_path / "ran"))}, tmp_path / "body_pose_model.pth")
    with pytest.raises(RunFault, match="cannot be loaded"):
        load_detector(DetectSpec(detector="openpose", weights=str(tmp_path)))
    assert not (tmp_path / "ran").exists()


def test_a_revision_of_the_model_cards_weights_is_asked_of_the_hub(monkeypatch, weights):
    asked = []

    def download(repository, name, revision=None):
        asked.append((repository, name, revision))
        return weights / name.rsplit("/", maxsplit=1)[-1]

    monkeypatch.setattr("workers.detecting.weights.fetched_file", download)
    load_detector(DetectSpec(detector="openpose", revision="abc123", face_revision="def456"))
    assert asked == [
        ("lllyasviel/ControlNet", "annotator/ckpts/body_pose_model.pth", "abc123"),
        ("lllyasviel/ControlNet", "annotator/ckpts/hand_pose_model.pth", "abc123"),
        ("lllyasviel/Annotators", "facenet.pth", "def456"),
    ]


def test_the_table_of_detectors_is_read_without_torch():
    heavy = "{'torch', 'controlnet_aux', 'cv2'} & set(sys.modules)"
    code = f"import sys, workers.detecting.detectors; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_poses_are_read_without_numpy_or_pillow():
    heavy = "{'torch', 'numpy', 'PIL'} & set(sys.modules)"
    code = f"import sys, posemill.pictures.poses; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("file", ["zero_conf.json", "outside"])
def test_a_pose_of_which_nothing_is_drawn_has_no_person(file):
    if file == "outside":
        points = tuple((1.5, 1.5, 1.0) for _ in BODY_KEYPOINTS)
        content = json.dumps(to_openpose_json(Pose(width=512, height=512, people=(Person(body=points),)))).encode()
    else:
        content = (CASES / file).read_bytes()
    detection = one(load_detector(KEYPOINTS), content)
    assert detection.pose.people == ()
    assert reject_reason(detection.pose, min_people=1, max_people=None) == "no_person"


@pytest.mark.parametrize("file", ["ribbon.json", "null.json", "coco_bool_crowd.json"])
def test_a_worker_refuses_what_the_door_refuses(file):
    with pytest.raises(PoseFormatError):
        one(load_detector(KEYPOINTS), (CASES / file).read_bytes())


def test_a_list_of_one_frame_is_drawn_as_the_frame():
    frame, listed = (one(load_detector(KEYPOINTS), (CASES / name).read_bytes()) for name in ("good.json", "list.json"))
    assert frame.control_image.tobytes() == listed.control_image.tobytes()
    assert len(frame.pose.people) == 1

"""The detect stage with several controls, in real storage: read once, made once, rejected by name."""

import io

import msgspec
import pytest
from PIL import Image

from posemill.contract.identity import control_digest, sha256
from posemill.contract.keys import RunKeys, Stage, control_key, pose_key
from posemill.contract.records import Outcome, Rules, ShardHeader, Source, encode, encode_shard
from posemill.contract.specs import DetectSpec
from posemill.pictures.poses import Person, Pose
from tests.planned import make_run
from workers.batches.plan_reader import Slices
from workers.detecting.detect_work import DetectWork
from workers.detecting.detectors import Detection, EachPicture, each_alone
from workers.generating.control_images import ControlImages
from workers.images import content as content_module

SPECS = {"openpose": DetectSpec(detector="openpose-thin"), "canny": DetectSpec(detector="canny"),
         "depth": DetectSpec(detector="depth")}  # fmt: skip


class People:
    """Finds one person in pictures that are not black."""

    def detect(self, sources):
        return each_alone(self._detect, sources)

    def _detect(self, source):
        person = Person(body=((0.5, 0.5, 0.9), *(None for _ in range(17))))
        people = (person,) if source.picture.getbbox() else ()
        pose = Pose(width=64, height=64, people=people)
        return Detection(control_image=Image.new("RGB", (64, 64), "navy"), source_size=(64, 64), pose=pose)


class Detectors:
    """Stands in for the table: counts what is looked at, and finds depth where the picture has red."""

    def __init__(self) -> None:
        self.looked: dict[str, int] = dict.fromkeys(("openpose-thin", "canny", "depth"), 0)

    def load(self, spec):
        return _Counted(self, spec.detector)

    def made(self, detector):
        if detector == "openpose-thin":
            return People()

        def make(picture):
            control = Image.new("RGB", (64, 64))
            if detector == "canny" or picture.getpixel((0, 0))[0]:
                control.putpixel((1, 1), (255, 255, 255))
            return control

        return EachPicture(make, reason={"canny": "no_edges", "depth": "flat_depth"}[detector])


class _Counted:
    def __init__(self, detectors, detector) -> None:
        self._detectors = detectors
        self._detector = detector

    def detect(self, sources):
        self._detectors.looked[self._detector] += len(sources)
        return self._detectors.made(self._detector).detect(sources)


def picture(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def stage(store, settings, monkeypatch):
    """A run of three controls over a red, a blue, a black and a broken source, and its detectors."""
    decoded = []
    whole = getattr(content_module, "decode_picture")  # noqa: B009
    monkeypatch.setattr(
        content_module, "decode_picture", lambda source, **more: decoded.append(source) or whole(source, **more)
    )
    kinds = tuple(SPECS)
    run = msgspec.structs.replace(make_run("r"), kinds=kinds, detects=tuple(SPECS[kind] for kind in kinds))
    contents = [picture("red"), picture("blue"), picture("black"), b"no picture"]
    slicing = msgspec.structs.replace(run.slicing[Stage.DETECT], batch_size=4)
    run = msgspec.structs.replace(run, slicing=dict.fromkeys(Stage, slicing), rules=Rules())
    sources = [Source(name=f"{n}.png", identity=sha256(each), key=f"s/{n}") for n, each in enumerate(contents)]
    for source, each in zip(sources, contents, strict=True):
        store.put(source.key, each)
    store.put(RunKeys("r").run, encode(run))
    store.put(RunKeys("r").shard(Stage.DETECT, 0), encode_shard(ShardHeader(first=0, rows=4, needs=[]), sources))
    detectors = Detectors()
    work = DetectWork(store, Slices(store), settings, load_detector=detectors.load)
    return run, work, detectors, decoded


def results(run, work):
    return work.save(run, work.compute(run, work.load(run, 0, None)))


def test_each_source_has_its_outcome_with_the_reason_of_the_control_that_rejects_it(stage):
    run, work, _, _ = stage
    red, blue, black, broken = results(run, work)
    assert [made.outcome for made in (red, blue, black, broken)] == [
        Outcome.DONE, Outcome.REJECTED, Outcome.REJECTED, Outcome.FAILED
    ]  # fmt: skip
    assert [made.reason for made in (red, blue, black, broken)] == ["", "flat_depth", "no_person", "bad_picture"]
    assert blue.message == "its depth control: flat_depth"
    assert (red.people, red.pose.key[-5:]) == (1, ".json")


def test_all_control_images_of_a_source_are_recorded_and_stored_under_their_digests(stage, store):
    run, work, _, _ = stage
    red, blue, *_ = results(run, work)
    assert [made.kind for made in red.controls] == ["openpose", "canny", "depth"]
    for spec, made in zip(SPECS.values(), red.controls, strict=True):
        assert made.image.key == control_key(control_digest(red.source_sha256, spec))
        assert store.head(made.image.key) is not None
    assert [(made.reason, made.image is None) for made in blue.controls] == [
        ("", False), ("", False), ("flat_depth", True)
    ]  # fmt: skip
    named = ControlImages(store, (), limit_pixels=10**6).of(None, red)
    assert [name for name, _ in named] == [made.image.key for made in red.controls]


def test_a_source_with_three_controls_is_decoded_once(stage):
    run, work, _, decoded = stage
    results(run, work)
    assert len(decoded) == len(set(decoded)) == 4


def test_a_source_that_one_control_rejects_is_not_looked_at_by_the_next(stage):
    run, work, detectors, _ = stage
    results(run, work)
    assert detectors.looked == {"openpose-thin": 4, "canny": 2, "depth": 2}


def test_what_another_run_made_is_not_made_again(stage, store, settings):
    run, work, _, _ = stage
    made = results(run, work)
    again = Detectors()
    other = DetectWork(store, Slices(store), settings, load_detector=again.load)
    known = results(run, other)
    assert again.looked == {"openpose-thin": 1, "canny": 0, "depth": 0}  # the broken one
    assert [one.controls for one in known] == [one.controls for one in made]
    assert [one.reason for one in known] == [one.reason for one in made]


def test_a_rejected_control_leaves_a_note_and_no_black_picture(stage, store):
    run, work, _, _ = stage
    _, blue, *_ = results(run, work)
    control = control_digest(blue.source_sha256, SPECS["depth"])
    assert msgspec.json.decode(store.get(pose_key(control)))["reason"] == "flat_depth"
    assert store.head(control_key(control)) is None


def test_one_control_alone_is_a_tuple_of_one(stage):
    run, work, _, _ = stage
    alone = msgspec.structs.replace(run, kinds=("depth",), detects=(SPECS["depth"],))
    red, blue, *_ = results(alone, work)
    assert ([control.kind for control in red.controls], red.pose, red.people) == (["depth"], None, 0)
    assert (blue.reason, blue.message) == ("flat_depth", "")

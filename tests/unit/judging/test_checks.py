"""Checks judge finished pictures, and others may bring their own."""

import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter

from posemill.catalogue.checks import CHECKS
from posemill.errors import RecipeError
from posemill.pictures.poses import Pose
from tests.unit.judging.people import moved
from workers.judging.check import ItemFacts, Models, load_check
from workers.judging.checks.looking import load_finder

ASTRONAUT = Image.fromarray(skimage.data.astronaut())


@pytest.fixture(scope="module")
def pose():
    finder, spec = load_finder("movenet", Models())
    (found,) = finder.detect([ASTRONAUT], spec)
    return found


def with_people(pose, *people):
    return ItemFacts(pose=Pose(width=pose.width, height=pose.height, people=people))


def test_a_picture_in_its_pose_passes_and_one_in_another_does_not(pose):
    check, (person,) = load_check("pose", {}, Models()), pose.people
    same = check.judge(ASTRONAUT, ItemFacts(pose=pose))
    assert (same.passed, same.reason, same.found_keypoints) == (True, None, pose.people)
    assert same.figures["oks_least"] == pytest.approx(1.0)
    other = check.judge(ASTRONAUT, with_people(pose, moved(person, dx=0.2)))
    assert (other.passed, other.reason) == (False, "pose_mismatch")


@pytest.mark.parametrize("name", ["pose", "people"])
def test_somebody_who_is_missing_is_a_mismatch_of_people(pose, name):
    (person,) = pose.people
    facts = with_people(pose, person, moved(person, dx=0.1))
    judged = load_check(name, {}, Models()).judge(ASTRONAUT, facts)
    assert (judged.reason, judged.figures["people_wanted"], judged.figures["people_found"]) == ("people_mismatch", 2, 1)


@pytest.mark.parametrize("name", ["pose", "people"])
def test_where_no_pose_was_asked_for_none_is_judged(name):
    assert load_check(name, {}, Models()).judge(ASTRONAUT, ItemFacts()).passed


def test_a_blurred_picture_is_not_sharp():
    check = load_check("sharpness", {"min": 50.0}, Models())
    blurred = check.judge(ASTRONAUT.filter(ImageFilter.GaussianBlur(6)), ItemFacts())
    assert check.judge(ASTRONAUT, ItemFacts()).passed
    assert (blurred.passed, blurred.reason) == (False, "not_sharp")
    assert check.judge(Image.new("RGB", (64, 64), "grey"), ItemFacts()).figures == {"sharpness": 0.0}


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        pytest.param("sharpnes", {}, "no check is called 'sharpnes'", id="unknown check"),
        pytest.param("sharpness", {"most": 1}, "has no most", id="unknown option"),
        pytest.param("pose", {"people": "some"}, "people is equal, at_least, any", id="unknown rule"),
        pytest.param("pose", {"detector": "canny"}, "finds no people", id="detector of edges"),
        pytest.param("pose", {"detector": "nobody"}, "no detector is called 'nobody'", id="unknown detector"),
    ],
)
def test_what_is_not_there_is_refused(name, options, said):
    with pytest.raises(RecipeError, match=said):
        load_check(name, options, Models())


def test_every_reason_given_stands_in_the_table(pose):
    assert {"people_mismatch", "pose_mismatch", "prompt_mismatch", "not_aesthetic", "not_safe", "not_sharp"} == {
        why for row in CHECKS.values() for why in row.reasons
    }


def test_another_distribution_brings_a_check(tmp_path, monkeypatch):
    (tmp_path / "brightly.py").write_text(
        "from workers.judging.check import Judgement\n"
        "class Bright:\n"
        "    def __init__(self, least): self.least = least\n"
        "    @classmethod\n"
        "    def load(cls, options, models): return cls(options['least'])\n"
        "    def judge(self, picture, facts):\n"
        "        passed = picture.convert('L').getpixel((0, 0)) >= self.least\n"
        "        return Judgement(passed=passed, reason=None if passed else 'dark')\n"
    )
    metadata = tmp_path / "brightly-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: brightly\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[posemill.checks]\nbright = brightly:Bright\n")
    with pytest.raises(RecipeError):
        load_check("bright", {"least": 100}, Models())
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "brightly", raising=False)
    check = load_check("bright", {"least": 100}, Models())
    assert check.judge(Image.new("RGB", (8, 8), "white"), ItemFacts()).passed
    assert check.judge(Image.fromarray(np.zeros((8, 8, 3), np.uint8)), ItemFacts()).reason == "dark"

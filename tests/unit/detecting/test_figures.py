"""The judge of the embedded model's world: it finds the people of drawings that no training saw, and no others."""

import hashlib
import json

import numpy as np
import pytest
import safetensors.torch
from PIL import Image

from posemill.catalogue.checks import options_of
from posemill.contract.specs import DetectSpec
from posemill.errors import RunFault
from tools.embedded.background import draw_background
from tools.embedded.palette import BACKGROUNDS
from tools.figures.evaluating import another, held_out_scenes, judge
from workers.detecting.detectors import load_detector
from workers.detecting.movenet.figures_network import WEIGHTS, FiguresNet, load_figures_net
from workers.judging.check import Check, Models, load_check

SCENES = held_out_scenes(40, first=2000)  # not those of the card


@pytest.fixture(scope="module")
def check() -> Check:
    return load_check("pose", options_of("pose", {"detector": "figures"}), Models())


def test_a_drawing_passes_with_its_own_pose_and_not_with_another(check: Check) -> None:
    right = [judge(check, scene.picture(scene.people), scene.people, scene.frame).passed for scene in SCENES]
    other = [
        judge(check, scene.picture(scene.people), another(SCENES, number).people, scene.frame).passed
        for number, scene in enumerate(SCENES)
    ]
    assert sum(right) >= 36
    assert sum(other) <= 1


def test_somebody_missing_and_somebody_too_many_are_noticed(check: Check) -> None:
    missing = [judge(check, scene.picture(scene.people[1:]), scene.people, scene.frame) for scene in SCENES]
    assert {one.reason for one in missing} == {"people_mismatch"}
    several = [scene for scene in SCENES if len(scene.people) > 1]
    extra = [judge(check, scene.picture(scene.people), scene.people[1:], scene.frame).passed for scene in several]
    assert len(several) > 5
    assert sum(extra) <= 2


@pytest.mark.parametrize("pattern", ["plain", "checks", "stars", "blades"])
def test_a_background_alone_shows_nobody(pattern: str) -> None:
    finder = load_detector(DetectSpec(detector="figures")).finder  # type: ignore[attr-defined]  # it is a PoseDetector
    pictures = [
        Image.fromarray(draw_background(colour, pattern, 128, 128, np.random.default_rng(3)))
        for colour in BACKGROUNDS.values()
    ]
    found = finder.detect(pictures, DetectSpec(detector="figures"))
    assert [len(pose.people) for pose in found] == [0] * len(pictures)


def test_the_card_tells_of_the_weights_that_ship_and_how_near_they_are_to_their_goals() -> None:
    told = json.loads((WEIGHTS.parent / "evaluation.json").read_text())
    assert told["weights_sha256"] == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    for name, goal in told["goals"].items():
        assert told["drawings"][name] >= goal - 0.02, name
    card = (WEIGHTS.parent / "README.md").read_text()
    assert f"| {told['drawings']['right_pose_accepted']:.1%} | 97 % |" in card
    assert WEIGHTS.stat().st_size < 2_000_000


def test_the_weights_fit_the_network_exactly() -> None:
    shipped = safetensors.torch.load_file(WEIGHTS)
    assert {name: value.shape for name, value in shipped.items()} == {
        name: value.shape for name, value in FiguresNet().state_dict().items()
    }


def test_missing_weights_are_a_fault_of_the_run(tmp_path) -> None:
    with pytest.raises(RunFault, match="posemill-weights"):
        load_figures_net(tmp_path / "none.safetensors")

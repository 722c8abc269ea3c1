"""The measure: the check `pose` with the detector `figures`, on drawings and generated images that no training saw."""

import hashlib
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from posemill.catalogue.checks import options_of
from posemill.pictures import poses
from tools.embedded.evaluate import generate_pairs, held_out_pairs, load_pipeline
from tools.embedded.measure import can_score, limbs_on_figure
from tools.embedded.pose import Frame, random_people
from tools.embedded.pose import Pose as Keypoints
from tools.embedded.words import Request, random_request
from tools.embedded.world import draw_picture
from tools.figures.card import write_card
from tools.figures.scenes import HELD_OUT, SHAPES
from workers.detecting.movenet.figures_network import WEIGHTS
from workers.judging.check import Check, ItemFacts, Judgement, Models, load_check

SCENES, GENERATED = 600, 200
SEED = 0
EMBEDDED = WEIGHTS.parents[1] / "embedded"
GOALS = {"right_pose_accepted": 0.97, "other_pose_rejected": 0.98, "one_too_few_noticed": 0.97,
         "one_too_many_noticed": 0.97}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Scene:
    """People whom a picture shows, and how it can be drawn again with others."""

    people: list[Keypoints]
    request: Request
    frame: Frame
    seed: tuple[int, ...]

    def picture(self, people: list[Keypoints]) -> Image.Image:
        """The scene with these people in it."""
        return Image.fromarray(draw_picture(people, self.request, self.frame, np.random.default_rng(self.seed)))


def held_out_scene(number: int) -> Scene:
    """The scene of a number; one in four is wide or tall."""
    frame = SHAPES[("square", "square", "wide", "square", "square", "tall", "square", "square")[number % 8]][0]
    seed = (SEED, HELD_OUT, frame.width, frame.height, number)
    rng = np.random.default_rng(seed)
    return Scene(people=random_people(frame, rng), request=random_request(rng), frame=frame, seed=seed)


def held_out_scenes(count: int, first: int = 0) -> list[Scene]:
    """Scenes from that number on, without those that nobody can judge: whose clothes have the background's colour."""
    numbered = (held_out_scene(number) for number in itertools.count(first))
    judgeable = (
        scene for scene in numbered if can_score(scene.people, scene.request, scene.frame.width, scene.frame.height)
    )
    return list(itertools.islice(judgeable, count))


def as_pose(people: list[Keypoints], frame: Frame) -> poses.Pose:
    """Keypoints in pixels as posemill keeps them."""
    return poses.Pose(
        width=frame.width,
        height=frame.height,
        people=tuple(
            poses.Person(
                body=tuple(
                    None if np.isnan(x) else (float(x) / frame.width, float(y) / frame.height, 1.0) for x, y in person
                )
            )
            for person in people
        ),
    )


def judge(check: Check, picture: Image.Image, people: list[Keypoints], frame: Frame) -> Judgement:
    """What the check says of a picture that should show these people."""
    return check.judge(picture, ItemFacts(pose=as_pose(people, frame)))


def evaluate(work: Path) -> dict[str, object]:
    """Measure the shipped weights; write `evaluation.json` and the card beside them."""
    check = load_check("pose", options_of("pose", {"detector": "figures"}), Models())
    results = {
        "weights_sha256": hashlib.sha256(WEIGHTS.read_bytes()).hexdigest(),
        "scenes": SCENES,
        "drawings": measure_drawings(check),
        "generated": measure_generated(check, work),
        "goals": GOALS,
        "threads": torch.get_num_threads(),
    }
    (WEIGHTS.parent / "evaluation.json").write_text(json.dumps(results, indent=1) + "\n")
    write_card(WEIGHTS.parent)
    print(json.dumps(results, indent=1))
    return results


def measure_drawings(check: Check) -> dict[str, float]:
    """Shares over the held-out scenes."""
    scenes = held_out_scenes(SCENES)
    right = [judge(check, each.picture(each.people), each.people, each.frame) for each in scenes]
    other = [
        judge(check, each.picture(each.people), another(scenes, number).people, each.frame)
        for number, each in enumerate(scenes)
    ]
    fewer = [judge(check, each.picture(each.people[1:]), each.people, each.frame) for each in scenes]
    several = [each for each in scenes if len(each.people) > 1]
    more = [judge(check, each.picture(each.people), each.people[1:], each.frame) for each in several]
    return {
        "right_pose_accepted": share(right, passed=True),
        "other_pose_rejected": share(other, passed=False),
        "one_too_few_noticed": share(fewer, passed=False),
        "one_too_many_noticed": share(more, passed=False),
        "mean_oks": round(float(np.mean([one.figures["oks_mean"] for one in right])), 4),
    }


def another(scenes: list[Scene], number: int) -> Scene:
    """The next scene of the same size with as many people; where there is none, with others."""
    each = scenes[number]
    following = [one for one in scenes[number + 1 :] + scenes[:number] if one.frame == each.frame]
    return next((one for one in following if len(one.people) == len(each.people)), following[0])


def measure_generated(check: Check, work: Path) -> dict[str, float]:
    """The same of images that the embedded model makes; `on_figure` is what the drawn world's own measure says."""
    pairs = held_out_pairs(GENERATED)
    path = work / "generated.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.stack(generate_pairs(load_pipeline(EMBEDDED), pairs)))
    pictures: NDArray[np.uint8] = np.load(path)
    frame = Frame(width=pictures.shape[2], height=pictures.shape[1])
    images = [Image.fromarray(picture) for picture in pictures]
    right = [judge(check, image, pair.people, frame) for image, pair in zip(images, pairs, strict=True)]
    others = pairs[1:] + pairs[:1]
    other = [judge(check, image, pair.people, frame) for image, pair in zip(images, others, strict=True)]
    on_figure = [
        limbs_on_figure(picture, pair.people, pair.request) for picture, pair in zip(pictures, pairs, strict=True)
    ]
    by_fate = {
        fate: round(float(np.mean([on for on, one in zip(on_figure, right, strict=True) if one.passed is passed])), 4)
        for fate, passed in (("accepted", True), ("rejected", False))
        if any(one.passed is passed for one in right)
    }
    return {
        "images": GENERATED,
        "right_pose_accepted": share(right, passed=True),
        "other_pose_rejected": share(other, passed=False),
        "mean_oks": round(float(np.mean([one.figures["oks_mean"] for one in right])), 4),
        **{f"on_figure_of_{fate}": value for fate, value in by_fate.items()},
    }


def share(judgements: list[Judgement], *, passed: bool) -> float:
    """The share of judgements that say so."""
    return round(sum(one.passed is passed for one in judgements) / len(judgements), 4)

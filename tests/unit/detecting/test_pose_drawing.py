"""Poses are drawn as controlnet_aux draws them, to the pixel."""

import matplotlib.colors
import numpy as np
import pytest

from posemill.contract.specs import DetectSpec
from posemill.pictures.poses import Person, Pose
from posemill.pictures.skeleton import BODY_COLOURS, BONE_COLOURS, LIMB_COLOURS
from workers.detecting.annotators import library_drawing, posing
from workers.detecting.annotators.library_drawing import draw_people_exactly
from workers.detecting.pose_drawing import draw_people

SIZES = [(512, 512), (512, 768), (704, 512), (64, 64), (128, 192), (1024, 576)]


def keypoints(random, number, *, missing, whole_pixels_of):
    """Around the middle, some outside the canvas; on whole pixels in float32, as the networks for hands give them."""
    places = random.normal(0.5, random.uniform(0.05, 0.4), (number, 2))
    if whole_pixels_of:
        places = (np.round(places * whole_pixels_of) / whole_pixels_of).astype(np.float32)
    return tuple((float(x), float(y), 1.0) if random.random() >= missing else None for x, y in places)


def random_pose(random, size):
    kinds = {"missing": random.choice([0.0, 0.3]), "whole_pixels_of": size if random.random() < 0.5 else None}
    people = tuple(
        Person(
            body=keypoints(random, 18, **kinds),
            hand_left=keypoints(random, 21, **kinds) if random.random() < 0.7 else None,
            hand_right=keypoints(random, 21, **kinds) if random.random() < 0.7 else None,
            face=keypoints(random, random.choice([68, 70, 71]), **kinds) if random.random() < 0.7 else None,
        )
        for _ in range(random.integers(1, 4))
    )
    return Pose(width=size[0], height=size[1], people=people)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_pose_is_drawn_as_the_library_draws_it_to_the_pixel(size):
    random = np.random.default_rng(size[0])
    for number in range(250):
        pose, parts = random_pose(random, size), {"include_hand": number % 2 == 0, "include_face": number % 3 > 0}
        ours = draw_people(pose, **parts)
        assert ours.any()
        assert np.array_equal(ours, draw_people_exactly(pose, **parts)), (number, pose)


def test_each_direction_of_a_limb_is_drawn_as_the_library_draws_it():
    for degrees in range(0, 3600, 7):
        x, y = np.cos(np.radians(degrees / 10)), np.sin(np.radians(degrees / 10))
        body = [None] * 18
        body[1], body[2] = (0.5, 0.5, 1.0), (0.5 + 0.3 * float(x), 0.5 + 0.3 * float(y), 1.0)
        pose = Pose(width=256, height=256, people=(Person(body=tuple(body)),))
        both = {"include_hand": False, "include_face": False}
        assert np.array_equal(draw_people(pose, **both), draw_people_exactly(pose, **both)), degrees


def test_hands_and_faces_are_drawn_on_wish_alone():
    pose = random_pose(np.random.default_rng(1), (256, 256))
    pictures = {
        draw_people(pose, include_hand=hand, include_face=face).tobytes()
        for hand in (True, False)
        for face in (True, False)
    }
    assert len(pictures) == 4


def test_colours_go_around_the_wheel():
    assert BODY_COLOURS[:4] == ((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0))
    assert BODY_COLOURS[17] == (255, 0, 85)
    assert LIMB_COLOURS[1] == (153, 51, 0)
    wheel = matplotlib.colors.hsv_to_rgb([(step / 20, 1.0, 1.0) for step in range(20)]) * 255
    assert np.rint(wheel).astype(int).tolist() == [list(colour) for colour in BONE_COLOURS]


@pytest.mark.parametrize("exact", [False, True])
def test_the_library_draws_when_it_is_asked_to_and_only_then(exact, monkeypatch):
    called = []
    monkeypatch.setattr(
        library_drawing, "draw_poses", lambda *given, **more: called.append(given) or np.zeros((64, 64, 3))
    )
    pose = random_pose(np.random.default_rng(1), (64, 64))
    drawn = posing.draw_as(pose, DetectSpec(detector="keypoints", image_resolution=64, exact=exact))
    assert (len(called), drawn.getbbox() is None) == (int(exact), exact)

"""The drawn world: its pictures, its words, and the measure that judges them."""

import numpy as np
import pytest

from tools.embedded import background, evaluate, measure, palette, pose, words, world
from tools.embedded.data import SQUARE

PAIRS = 24


@pytest.fixture(scope="module")
def pairs() -> list[evaluate.Pair]:
    return evaluate.held_out_pairs(PAIRS)


def test_drawn_originals_score_near_full_marks(pairs):
    scores = evaluate.validate_measure(pairs)["originals"]
    assert scores["both_colours_right"] == 1
    assert scores["limbs_on_figure"] > 0.99
    assert scores["far_on_background"] > 0.99


def test_shuffled_pairs_score_badly(pairs):
    scores = evaluate.validate_measure(pairs)["originals_shuffled"]
    assert scores["both_colours_right"] < 0.1
    assert scores["far_on_background"] < 0.5


def test_a_right_request_in_a_wrong_pose_scores_badly(pairs):
    scores = evaluate.validate_measure(pairs)["originals_with_poses_shuffled"]
    assert scores["limbs_on_figure"] < 0.5


def test_a_pair_is_the_same_whenever_it_is_drawn():
    first, again = evaluate.held_out_pair(3, 5), evaluate.held_out_pair(3, 5)
    assert first.prompt == again.prompt
    assert (first.original == again.original).all()


def test_held_out_pairs_differ_from_training_samples():
    drawn = world.draw_sample(SQUARE, (evaluate.SEED, 0, SQUARE.width, SQUARE.height, 0))
    held_out = evaluate.held_out_pair(evaluate.SEED, 0)
    assert not np.array_equal(drawn.picture, held_out.original)


@pytest.mark.parametrize("name", palette.BACKGROUNDS)
def test_every_colour_is_nearest_to_itself_even_a_little_darker(name):
    colour = np.array(palette.BACKGROUNDS[name]) * 0.95
    assert palette.nearest_name(colour.astype(np.uint8), palette.BACKGROUNDS) == name


def test_the_world_has_ten_colours_and_ten_backgrounds_with_synonyms():
    assert len(words.CLOTHES_WORDS) >= 10
    assert len(words.SCENES) >= 10
    assert all(len(set(synonyms)) >= 3 for synonyms in words.COLOUR_WORDS.values())
    assert all(len(place.phrases) >= 3 for place in words.SCENES.values())


def test_every_place_has_a_colour_and_a_pattern_that_can_be_drawn():
    for place in words.PLACES.values():
        assert place.colour in palette.BACKGROUNDS
        assert place.pattern in background.PATTERNS


def test_no_phrase_means_two_places():
    phrases = [phrase for place in words.SCENES.values() for phrase in place.phrases]
    assert len(phrases) == len(set(phrases))


def test_no_word_means_two_colours():
    synonyms = [word for choices in words.COLOUR_WORDS.values() for word in set(choices)]
    assert len(synonyms) == len(set(synonyms))


def test_a_prompt_names_the_clothes_and_the_place():
    rng = np.random.default_rng(0)
    request = words.Request(clothes="green", place="desert")
    for _ in range(50):
        prompt = words.write_prompt(request, rng)
        assert any(word in prompt for word in words.CLOTHES_WORDS["green"])
        assert any(phrase in prompt for phrase in words.SCENES["desert"].phrases)


def test_one_request_is_worded_in_many_ways():
    rng = np.random.default_rng(0)
    request = words.Request(clothes="red", place="blue plain")
    assert len({words.write_prompt(request, rng) for _ in range(100)}) > 90


def test_a_control_image_is_as_large_as_the_detector_draws_it(pairs):
    assert min(pairs[0].control.size) == world.CONTROL_SHORT_SIDE


def test_nobody_is_drawn_where_no_keypoint_is_known():
    nobody = [np.full((18, 2), np.nan)]
    request = words.Request(clothes="red", place="blue plain")
    picture = world.draw_picture(nobody, request, SQUARE, np.random.default_rng(0))
    assert (picture == palette.BACKGROUNDS["blue"]).all()


def test_a_limb_without_its_keypoints_is_not_drawn():
    rng = np.random.default_rng(4)
    person = pose.frame_pose(pose.random_pose(rng), SQUARE, "whole", (0, 1), rng)
    wrist = person[pose.K.R_WRIST].astype(int)
    person[[pose.K.R_ELBOW, pose.K.R_WRIST]] = np.nan
    request = words.Request(clothes="red", place="blue plain")
    picture = world.draw_picture([person], request, SQUARE, rng)
    assert tuple(picture[wrist[1], wrist[0]]) == palette.BACKGROUNDS["blue"]


def test_people_keep_inside_the_picture():
    rng = np.random.default_rng(0)
    for _ in range(100):
        people = np.stack(pose.random_people(SQUARE, rng)[:1])
        assert np.nanmin(people) >= 0
        assert np.nanmax(people) < SQUARE.width


def test_pictures_full_of_people_cannot_be_scored():
    crowd = [np.full((18, 2), 64.0) + np.arange(18)[:, None] * [0.0, 20.0]]
    request = words.Request(clothes="red", place="blue plain")
    assert not measure.can_score(crowd, request, 128, 128)

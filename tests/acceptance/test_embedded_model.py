"""The shipped model, through diffusers: it obeys the control image and the prompt."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from safetensors import safe_open

from tools.embedded import evaluate
from tools.embedded.card import GOALS, compose_card

FOLDER = Path(__file__).resolve().parents[2] / "workers" / "weights" / "embedded"
PAIRS = 16


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusionControlNetPipeline:
    controlnet = ControlNetModel.from_pretrained(FOLDER / "controlnet", torch_dtype=torch.float32)
    loaded = StableDiffusionControlNetPipeline.from_pretrained(
        FOLDER, controlnet=controlnet, torch_dtype=torch.float32, safety_checker=None
    )
    loaded.set_progress_bar_config(disable=True)
    return loaded


@pytest.fixture(scope="module")
def pairs() -> list[evaluate.Pair]:
    return evaluate.held_out_pairs(PAIRS)


@pytest.fixture(scope="module")
def pictures(pipeline, pairs) -> list[np.ndarray]:
    return evaluate.generate_pairs(pipeline, pairs)


def test_colours_and_pose_are_followed(pictures, pairs):
    scores = evaluate.summarise(evaluate.score_all(pictures, pairs))
    assert scores["both_colours_right"] >= 0.9  # one pair is six per cent
    assert scores["limbs_on_figure"] >= 0.9
    assert scores["far_on_background"] >= 0.95


def test_the_card_s_scores_are_of_these_weights_and_reach_the_goals():
    results = json.loads((FOLDER / "evaluation.json").read_text())
    assert results["weights_sha256"] == evaluate.weights_digest(FOLDER)
    assert results["pairs"] == 200
    assert {name: results["generated"][name] >= goal for name, goal in GOALS.items()} == dict.fromkeys(GOALS, True)
    assert results["seconds_an_image"] < results["seconds_a_pose"]


def test_the_same_seed_and_prompt_with_another_pose_moves_the_figure(pipeline, pairs):
    assert evaluate.share_moved(pipeline, pairs[:4]) == 1


def test_the_same_pose_with_another_prompt_changes_the_colours(pipeline, pairs):
    assert evaluate.share_recoloured(pipeline, pairs[:4]) >= 0.75


def test_a_seed_gives_the_same_picture_in_any_company(pipeline, pairs, pictures):
    pair = pairs[3]
    alone = evaluate.generate(pipeline, [pair.prompt], [pair.control], [3])[0]
    assert np.abs(alone.astype(int) - pictures[3]).mean() < 2


def test_the_folder_is_under_20_megabytes():
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 20_000_000


def test_weights_are_safetensors_in_half_precision():
    weights = sorted(FOLDER.rglob("*.safetensors"))
    assert len(weights) == 4
    assert not [*FOLDER.rglob("*.bin"), *FOLDER.rglob("*.pt")]
    for path in weights:
        with safe_open(path, "pt") as tensors:
            names = tensors.keys()
            assert {tensors.get_slice(name).get_dtype() for name in names} <= {"F16", "I64"}


def test_the_tokenizer_spells_words_that_it_does_not_know(pipeline):
    tokens = pipeline.tokenizer("a Zyzzyva in crêpe, 漢字!").input_ids
    assert pipeline.tokenizer.unk_token_id not in tokens[1:-1]


def test_the_model_card_states_the_scores_of_the_evaluation():
    results, history = (json.loads((FOLDER / f"{name}.json").read_text()) for name in ("evaluation", "training"))
    size = sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file() and path.name != "README.md")
    assert (FOLDER / "README.md").read_text() == compose_card(results, history, size)

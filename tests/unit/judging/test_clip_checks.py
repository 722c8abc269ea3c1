"""The checks that look with CLIP say what the libraries say, load only what they are given, and read no code."""

from pathlib import Path
from typing import Any

import pytest
import skimage.data
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from posemill.catalogue.checks import options_of
from posemill.contract.records import CheckSpec, VerifySpec
from posemill.errors import RunFault
from posemill.hub.needs import needs_of_verify, verify_at_commits
from tests.loopback_hub import LoopbackHub
from tests.tiny_clip import write_tiny_aesthetic, write_tiny_clip, write_tiny_safety_checker
from workers.judging.check import Check, ItemFacts, Models, load_check
from workers.models.model_folders import ModelFolders

ASTRONAUT = Image.fromarray(skimage.data.astronaut()).resize((64, 64))
COFFEE = Image.fromarray(skimage.data.coffee()).resize((96, 64))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_clip(tmp_path_factory.mktemp("clip"))


def loaded(name: str, **options: Any) -> Check:
    return load_check(name, options_of(name, options), Models())


def test_similarity_is_clip_s_own_cosine(clip: Path) -> None:
    found = loaded("prompt", model=str(clip)).judge(ASTRONAUT, ItemFacts(prompt="a dancer in red"))
    network, tokenizer = CLIPModel.from_pretrained(clip), CLIPTokenizer.from_pretrained(clip)
    pixels = CLIPImageProcessor.from_pretrained(clip)(ASTRONAUT, return_tensors="pt").pixel_values
    with torch.inference_mode():
        whole = network(**tokenizer("a dancer in red", return_tensors="pt"), pixel_values=pixels)
        cosine = whole.logits_per_image / network.logit_scale.exp()
    assert found.figures["similarity"] == pytest.approx(float(cosine), abs=1e-5)


def test_a_prompt_passes_from_its_threshold_on_and_its_picture_counts(clip: Path) -> None:
    facts = ItemFacts(prompt="a dancer in red")
    least = loaded("prompt", model=str(clip), min_similarity=0).judge(ASTRONAUT, facts).figures["similarity"]
    other = loaded("prompt", model=str(clip), min_similarity=0).judge(COFFEE, facts).figures["similarity"]
    assert least != other
    bounds = [max(0.0, least - 0.01), max(0.0, least + 0.01)]
    said = [loaded("prompt", model=str(clip), min_similarity=bound).judge(ASTRONAUT, facts) for bound in bounds]
    assert [one.reason for one in said] == [None if least >= 0 else "prompt_mismatch", "prompt_mismatch"]


def test_a_prompt_that_is_longer_than_clip_reads_is_judged_by_its_beginning(clip: Path) -> None:
    check = loaded("prompt", model=str(clip), min_similarity=0)
    long = "red " * 300
    whole, more = (check.judge(ASTRONAUT, ItemFacts(prompt=text)).figures for text in (long, long + "blue"))
    assert whole == more


def test_without_a_prompt_nothing_is_asked(clip: Path) -> None:
    said = loaded("prompt", model=str(clip), min_similarity=1).judge(ASTRONAUT, ItemFacts())
    assert (said.passed, said.figures) == (True, {})


def test_the_mark_is_the_head_s_over_the_normalised_embedding(tmp_path: Path) -> None:
    folder = write_tiny_aesthetic(tmp_path)
    marks = [loaded("aesthetic", model=str(folder), min=0).judge(one, ItemFacts()).figures["mark"]
             for one in (ASTRONAUT, COFFEE)]  # fmt: skip
    assert marks[0] != marks[1]
    assert all(abs(mark - 5.0) <= 16 for mark in marks), "a bias of five, and a unit vector"
    assert loaded("aesthetic", model=str(folder), min=marks[0] - 0.01).judge(ASTRONAUT, ItemFacts()).passed
    assert loaded("aesthetic", model=str(folder), min=marks[0] + 0.01).judge(ASTRONAUT, ItemFacts()).reason == (
        "not_aesthetic"
    )


@pytest.mark.parametrize(("strict", "reason"), [(False, None), (True, "not_safe")])
def test_safety_is_what_the_library_s_checker_says(tmp_path: Path, strict: bool, reason: str | None) -> None:
    folder = write_tiny_safety_checker(tmp_path, strict=strict)
    picture = ASTRONAUT.copy()
    said = loaded("safety", model=str(folder)).judge(picture, ItemFacts())
    assert (said.reason, said.figures) == (reason, {"unsafe": float(strict)})
    assert picture.tobytes() == ASTRONAUT.tobytes(), "the library blackens what it is given"


def test_a_network_outside_the_allowed_folders_is_not_read(clip: Path, tmp_path: Path) -> None:
    models = Models(folders=ModelFolders.of(str(tmp_path / "allowed")))
    with pytest.raises(RunFault, match="POSEMILL_MODEL_FOLDERS"):
        load_check("prompt", options_of("prompt", {"model": str(clip)}), models)


def test_a_folder_without_a_network_is_the_run_s_fault(tmp_path: Path) -> None:
    with pytest.raises(RunFault, match="check 'prompt' cannot be loaded"):
        load_check("prompt", options_of("prompt", {"model": str(tmp_path)}), Models())


def test_a_check_s_network_is_fetched_at_the_run_s_commit(hub: LoopbackHub, clip: Path, tmp_path: Path) -> None:
    model = "openai/clip-vit-base-patch32"
    first = hub.add(model, clip)
    hub.add(model, {"config.json": b"{}"})
    check = load_check("prompt", options_of("prompt", {"min_similarity": 0}), Models(commits={model: first}))
    assert check.judge(ASTRONAUT, ItemFacts(prompt="red")).figures
    assert "model.safetensors" in hub.downloads(model)


def test_every_model_that_checks_look_with_has_its_commit() -> None:
    verify = VerifySpec(
        checks=tuple(
            CheckSpec(check=name, options=options_of(name, options))
            for name, options in (("pose", {"detector": "openpose"}), ("prompt", {"revision": "v1"}), ("sharpness", {}))
        )
    )
    asked = []

    def commit_of(model: str, revision: str | None) -> str:
        asked.append((model, revision))
        return f"commit of {model}"

    pinned = verify_at_commits(verify, commit_of)
    assert asked == [
        ("lllyasviel/ControlNet", None), ("lllyasviel/Annotators", None), ("openai/clip-vit-base-patch32", "v1"),
    ]  # fmt: skip
    assert {need.revision for need in needs_of_verify(pinned)} == {f"commit of {model}" for model, _ in asked}

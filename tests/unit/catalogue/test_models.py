"""The table of named models."""

from pathlib import Path

import pytest

from posemill.catalogue.models import MODELS, SchedulerName, local_path


def test_sd15_openpose_is_the_model_card_s_own_example() -> None:
    card = MODELS["sd15-openpose"]
    assert (card.base, card.controlnet) == (
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "lllyasviel/sd-controlnet-openpose",
    )
    assert (card.scheduler, card.num_inference_steps, card.detector) == (SchedulerName.UNIPC, 20, "openpose")


def test_what_is_not_embedded_is_left_as_it_is_written() -> None:
    assert local_path("owner/name") == "owner/name"
    assert local_path("/models/base") == "/models/base"


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.base.startswith("embedded:")])
def test_an_embedded_model_lies_in_the_package_in_diffusers_layout(name: str) -> None:
    base, controlnet = Path(local_path(MODELS[name].base)), Path(local_path(MODELS[name].controlnet))
    assert (base / "model_index.json").is_file()
    assert (controlnet / "config.json").is_file()
    assert sum(file.stat().st_size for file in base.rglob("*")) < 20_000_000

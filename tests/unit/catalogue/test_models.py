"""The table of named models."""

from pathlib import Path

import pytest

from posemill.catalogue.models import MODELS, SchedulerName, local_path
from producer.recipes.recipe import parse_recipe
from producer.recipes.resolving import resolve


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


@pytest.mark.parametrize(
    ("name", "adapter", "scheduler", "guidance"),
    [
        ("sd15-openpose-lcm", ("latent-consistency/lcm-lora-sdv1-5", None), "lcm", 1.5),
        ("sd15-openpose-hyper", ("ByteDance/Hyper-SD", "Hyper-SD15-8steps-CFG-lora.safetensors"), "ddim_trailing", 5.0),
        ("sdxl-openpose-lcm", ("latent-consistency/lcm-lora-sdxl", None), "lcm", 1.5),
        ("sdxl-openpose-hyper", ("ByteDance/Hyper-SD", "Hyper-SDXL-8steps-CFG-lora.safetensors"), "ddim_trailing", 5.0),
        (
            "sdxl-openpose-lightning",
            ("ByteDance/SDXL-Lightning", "sdxl_lightning_8step_lora.safetensors"),
            "euler_trailing",
            0.0,
        ),
    ],
)
def test_a_model_for_few_steps_brings_its_adapter_and_the_settings_that_this_was_trained_for(
    name: str, adapter: tuple[str, str | None], scheduler: str, guidance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("producer.recipes.resolving.pinned", lambda model, revision: revision or f"of {model}")
    values = {"sources": "a", "prompts": ["p"], "generate": {"model": name, "loras": ["own/style"]}}
    spec = resolve(parse_recipe(values), values, "r").generate
    plain = name.rsplit("-", 1)[0]
    assert (spec.base, spec.controlnets[0].controlnet) == (MODELS[plain].base, MODELS[plain].controlnet)
    assert [(lora.lora, lora.file, lora.revision) for lora in spec.loras] == [
        (*adapter, f"of {adapter[0]}"), ("own/style", None, "of own/style"),
    ]  # fmt: skip
    assert (spec.scheduler, spec.guidance_scale, spec.num_inference_steps) == (scheduler, guidance, 8)
    more = {**values, "generate": {"model": name, "num_inference_steps": 4}}
    assert resolve(parse_recipe(more), more, "r").generate.num_inference_steps == 4

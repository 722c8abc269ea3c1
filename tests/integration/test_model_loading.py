"""Several ControlNets, Stable Diffusion XL, adapters and VAEs of choice: each as a direct call of diffusers has it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    MultiControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLControlNetPipeline,
    UniPCMultistepScheduler,
)
from PIL import Image
from safetensors.torch import load_file

from posemill.contract.specs import ControlNetSpec, GenerateSpec, LoraSpec
from posemill.errors import RunFault
from tests.single_file import write_single_file, write_single_sdxl_file
from tests.tiny_model import (
    write_tiny_controlnet,
    write_tiny_lora,
    write_tiny_model,
    write_tiny_sd2,
    write_tiny_sdxl,
    write_tiny_vae,
)
from workers.generating.pipeline_calls import Call
from workers.generating.pipelines import Loader, load_pipeline
from workers.models.placement import Placement

CPU = Placement(device="cpu", dtype="float32", attention="sdpa", cpu_offload=False)
COLOURS = ("red", "white", "black", "green", "blue", "yellow")
PROMPTS, SEEDS = ["a dancer", "a cook"], [3, 4]
SETTINGS = {"width": 64, "height": 64, "num_inference_steps": 2, "guidance_scale": 7.5, "output_type": "np"}


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> list[Path]:
    return [write_tiny_controlnet(tmp_path_factory.mktemp("net"), seed) for seed in (21, 22)]


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory) -> Path:
    return write_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


def spec(model: Path, **changes: object) -> GenerateSpec:
    values = {
        "model": "tiny",
        "base": str(model),
        "controlnets": (ControlNetSpec(controlnet=str(model / "controlnet")),),
        "num_inference_steps": 2,
    }
    return GenerateSpec(**{**values, **changes})


def pictures(first: int) -> list[Image.Image]:
    return [Image.new("RGB", (64, 64), COLOURS[(first + n) % 6]) for n in range(len(PROMPTS))]


def call(*, controls: int = 1, negative: str = "") -> Call:
    return Call(
        prompts=PROMPTS,
        negative_prompts=[negative] * len(PROMPTS),
        controls=[pictures(2 * n) for n in range(controls)],
        seeds=SEEDS,
        size=(64, 64),
    )


def generators() -> list[torch.Generator]:
    return [torch.Generator("cpu").manual_seed(seed) for seed in SEEDS]


def three(model: Path, nets: list[Path], *, scales: tuple[float, float, float] = (1.0, 0.5, 0.7)) -> GenerateSpec:
    own = ControlNetSpec(controlnet=str(model / "controlnet"), controlnet_conditioning_scale=scales[0])
    others = tuple(
        ControlNetSpec(controlnet=str(net), controlnet_conditioning_scale=scale, control_guidance_end=0.9)
        for net, scale in zip(nets, scales[1:], strict=True)
    )
    return spec(model, controlnets=(own, *others))


def test_three_controls_give_what_the_library_gives_for_three(tiny_model, nets):
    wanted = three(tiny_model, nets)
    made = load_pipeline(wanted, CPU)(call(controls=3), wanted).pixels
    networks = [ControlNetModel.from_pretrained(net) for net in (tiny_model / "controlnet", *nets)]
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        tiny_model, controlnet=MultiControlNetModel(networks), safety_checker=None
    )
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    controls = [list(each) for each in zip(pictures(0), pictures(2), pictures(4), strict=True)]
    library = pipe(
        PROMPTS, image=controls, negative_prompt=["", ""], generator=generators(),
        controlnet_conditioning_scale=[1.0, 0.5, 0.7], control_guidance_start=[0.0] * 3,
        control_guidance_end=[1.0, 0.9, 0.9], **SETTINGS,
    ).images  # fmt: skip
    np.testing.assert_allclose(made, library, atol=1e-4)


def test_a_control_of_no_strength_is_as_if_it_were_not_there(tiny_model, nets):
    wanted = three(tiny_model, nets, scales=(1.0, 0.0, 0.0))
    alone = load_pipeline(spec(tiny_model), CPU)(call(), spec(tiny_model)).pixels
    together = load_pipeline(wanted, CPU)(call(controls=3), wanted).pixels
    np.testing.assert_allclose(together, alone, atol=1e-4)
    strong = load_pipeline(three(tiny_model, nets), CPU)(call(controls=3), three(tiny_model, nets)).pixels
    assert np.abs(strong - alone).max() > 1e-2


def test_stable_diffusion_2_gives_what_the_library_gives(tmp_path):
    """Its networks predict velocities: a scheduler that forgot it would make other pictures."""
    sd2 = write_tiny_sd2(tmp_path)
    made = load_pipeline(spec(sd2), CPU)(call(), spec(sd2)).pixels
    network = ControlNetModel.from_pretrained(sd2 / "controlnet")
    pipe = StableDiffusionControlNetPipeline.from_pretrained(sd2, controlnet=network, safety_checker=None)
    pictured = {}
    for prediction in ("v_prediction", "epsilon"):
        pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config, prediction_type=prediction)
        pictured[prediction] = pipe(
            PROMPTS, image=pictures(0), negative_prompt=["", ""], generator=generators(), **SETTINGS
        ).images
    np.testing.assert_allclose(made, pictured["v_prediction"], atol=1e-4)
    assert np.abs(made - pictured["epsilon"]).max() > 1e-2


@pytest.mark.parametrize("negative", ["", "blurry"])
def test_stable_diffusion_xl_gives_what_the_library_gives(sdxl, negative):
    made = load_pipeline(spec(sdxl), CPU)(call(negative=negative), spec(sdxl)).pixels
    network = ControlNetModel.from_pretrained(sdxl / "controlnet")
    pipe = StableDiffusionXLControlNetPipeline.from_pretrained(sdxl, controlnet=network)
    pipe.scheduler = UniPCMultistepScheduler.from_config(pipe.scheduler.config)
    library = pipe(
        PROMPTS, image=pictures(0), negative_prompt=[negative] * 2 if negative else None, generator=generators(),
        controlnet_conditioning_scale=1.0, **SETTINGS,
    ).images  # fmt: skip
    np.testing.assert_allclose(made, library, atol=1e-4)


def test_two_controls_on_stable_diffusion_xl(sdxl):
    second = ControlNetSpec(controlnet=str(sdxl / "controlnet"), controlnet_conditioning_scale=0.5)
    wanted = spec(sdxl, controlnets=(*spec(sdxl).controlnets, second))
    made = load_pipeline(wanted, CPU)(call(controls=2), wanted).pixels
    alone = load_pipeline(spec(sdxl), CPU)(call(), spec(sdxl)).pixels
    assert np.isfinite(made).all()
    assert np.abs(made - alone).max() > 1e-3


def test_prompts_of_two_text_encoders_cannot_be_chunked(sdxl):
    with pytest.raises(RunFault, match="two text encoders"):
        load_pipeline(spec(sdxl, long_prompts="chunk"), CPU)


@pytest.mark.parametrize("place", ["the ControlNet", "the base"])
def test_a_controlnet_of_another_family_is_a_fault_with_its_reason(tiny_model, sdxl, place):
    base, net = (tiny_model, sdxl) if place == "the ControlNet" else (sdxl, tiny_model)
    with pytest.raises(RunFault, match=r"cannot be used with .* text embeddings are (32|80) wide"):
        load_pipeline(spec(base, controlnets=(ControlNetSpec(controlnet=str(net / "controlnet")),)), CPU)


def test_a_base_without_a_controlnet_of_its_own_will_do(tiny_model, tmp_path):
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    shutil.rmtree(base / "controlnet")
    index = json.loads((base / "model_index.json").read_text())
    del index["controlnet"]
    (base / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableDiffusionPipeline"}))
    wanted = spec(tiny_model, base=str(base))
    plain = load_pipeline(spec(tiny_model), CPU)(call(), spec(tiny_model)).pixels
    np.testing.assert_array_equal(load_pipeline(wanted, CPU)(call(), wanted).pixels, plain)


@pytest.mark.parametrize("at", ["folder", "file"])
def test_an_adapter_changes_the_picture_by_its_weight(tiny_model, tmp_path, at):
    folder = write_tiny_lora(tmp_path, tiny_model)
    where = str(folder if at == "folder" else folder / "pytorch_lora_weights.safetensors")
    plain = load_pipeline(spec(tiny_model), CPU)(call(), spec(tiny_model)).pixels
    made = {}
    for weight in (0.0, 1.0):
        wanted = spec(tiny_model, loras=(LoraSpec(lora=where, weight=weight),))
        made[weight] = load_pipeline(wanted, CPU)(call(), wanted).pixels
    np.testing.assert_allclose(made[0.0], plain, atol=1e-4)
    assert np.abs(made[1.0] - plain).max() > 1e-2


def test_a_vae_of_choice_decodes_the_picture(tiny_model, tmp_path):
    wanted = spec(tiny_model, vae=str(write_tiny_vae(tmp_path)))
    made = load_pipeline(wanted, CPU)(call(), wanted).pixels
    plain = load_pipeline(spec(tiny_model), CPU)(call(), spec(tiny_model)).pixels
    assert np.abs(made - plain).max() > 1e-3


def test_pipelines_of_one_base_share_its_modules_in_memory(tiny_model, nets, tmp_path):
    loader = Loader(CPU)
    first = loader.load(spec(tiny_model))
    second = loader.load(spec(tiny_model, controlnets=(ControlNetSpec(controlnet=str(nets[0])),), scheduler="ddim"))
    third = loader.load(spec(tiny_model, guidance_scale=3.0))
    for name in ("unet", "vae", "text_encoder"):
        assert getattr(first._pipe, name) is getattr(second._pipe, name) is getattr(third._pipe, name)
    assert first._pipe.controlnet is third._pipe.controlnet is not second._pipe.controlnet
    assert first._pipe.scheduler is not third._pipe.scheduler
    adapted = loader.load(spec(tiny_model, loras=(LoraSpec(lora=str(write_tiny_lora(tmp_path, tiny_model))),)))
    assert adapted._pipe.unet is not first._pipe.unet
    wanted = spec(tiny_model)
    np.testing.assert_array_equal(first(call(), wanted).pixels, load_pipeline(wanted, CPU)(call(), wanted).pixels)


def test_a_base_leaves_memory_with_its_last_pipeline(tiny_model):
    import gc
    import weakref

    loader = Loader(CPU)
    pipeline = loader.load(spec(tiny_model))
    unet = weakref.ref(pipeline._pipe.unet)
    del pipeline
    gc.collect()
    assert unet() is None


def test_pickled_adapters_are_not_loaded(tiny_model, tmp_path):
    folder = write_tiny_lora(tmp_path / "lora", tiny_model)
    weights = folder / "pytorch_lora_weights.safetensors"
    torch.save({"a": torch.zeros(1)}, weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(RunFault, match="cannot be loaded"):
        load_pipeline(spec(tiny_model, loras=(LoraSpec(lora=str(folder)),)), CPU)
    shutil.rmtree(folder)


def test_a_base_in_one_file_makes_the_pictures_of_its_folder(tiny_model, tmp_path):
    file = write_single_file(tmp_path / "tiny.safetensors", tiny_model)
    wanted = spec(tiny_model, base=str(file), base_config=str(tiny_model))
    plain = load_pipeline(spec(tiny_model), CPU)(call(), spec(tiny_model)).pixels
    np.testing.assert_allclose(load_pipeline(wanted, CPU)(call(), wanted).pixels, plain, atol=1e-4)


def test_stable_diffusion_xl_in_one_file_makes_the_pictures_of_its_folder(sdxl, tmp_path):
    file = write_single_sdxl_file(tmp_path / "tiny.safetensors", sdxl)
    wanted = spec(sdxl, base=str(file), base_config=str(sdxl))
    plain = load_pipeline(spec(sdxl), CPU)(call(), spec(sdxl)).pixels
    np.testing.assert_allclose(load_pipeline(wanted, CPU)(call(), wanted).pixels, plain, atol=1e-4)


@pytest.mark.parametrize("part", ["text_encoder", "unet", "vae", "controlnet"])
@pytest.mark.parametrize("damage", ["truncated", "emptied", "noise"])
def test_a_damaged_part_of_a_model_is_the_run_s_fault(tiny_model, tmp_path, part, damage):
    """Whatever the library raises, safetensors' own error and a panic included; no item is to blame."""
    copy = Path(shutil.copytree(tiny_model, tmp_path / "damaged"))
    (weights,) = (copy / part).glob("*.safetensors")
    content = weights.read_bytes()
    weights.write_bytes({"truncated": content[: len(content) // 2], "emptied": b"", "noise": b"\xff" * 64}[damage])
    with pytest.raises(RunFault, match="'tiny' cannot be loaded"):
        load_pipeline(spec(copy), CPU)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "tokenizer.json", "config.json", "scheduler_config.json"])
def test_a_damaged_configuration_is_the_run_s_fault(tiny_model, tmp_path, name):
    copy = Path(shutil.copytree(tiny_model, tmp_path / "damaged"))
    for file in copy.rglob(name):
        file.write_bytes(b"\x00\xff{")
    with pytest.raises(RunFault, match="cannot be loaded"):
        load_pipeline(spec(copy), CPU)


def half_and_full(folder: Path, model: Path) -> Path:
    """A copy whose base has files of the variant fp16 that are another model's, so that it is seen which are loaded."""
    other = write_tiny_model(folder / "other", seed=77)
    copy = Path(shutil.copytree(model, folder / "copy"))
    for name in ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model"):
        shutil.copy(other / f"{name}.safetensors", copy / f"{name}.fp16.safetensors")
    return copy


def test_a_variant_that_is_wanted_is_loaded_and_recorded(tiny_model, tmp_path):
    copy = half_and_full(tmp_path, tiny_model)
    plain = load_pipeline(spec(copy), CPU)
    np.testing.assert_array_equal(
        plain(call(), spec(copy)).pixels, load_pipeline(spec(tiny_model), CPU)(call(), spec(tiny_model)).pixels
    )
    assert "variants" not in plain.made_with
    wanted = spec(copy, variant="fp16")
    found = load_pipeline(wanted, CPU)
    assert found.made_with["variants"] == {"base": "fp16", "controlnets": [None]}
    assert not np.array_equal(found(call(), wanted).pixels, plain(call(), wanted).pixels)


def test_half_precision_takes_the_variant_by_itself_unless_full_files_are_wanted(tiny_model, tmp_path):
    copy = half_and_full(tmp_path, tiny_model)
    half = Placement(device="cpu", dtype="bfloat16", attention="sdpa", cpu_offload=False)
    assert load_pipeline(spec(copy), half).made_with["variants"] == {"base": "fp16", "controlnets": [None]}
    assert "variants" not in load_pipeline(spec(copy, variant="full"), half).made_with


def pickled(folder: Path, model: Path) -> Path:
    """A copy with pickles instead of safetensors, as old repositories are."""
    copy = Path(shutil.copytree(model, folder / "pickled"))
    for path in sorted(copy.rglob("*.safetensors")):
        name = "pytorch_model" if path.stem == "model" else path.stem
        torch.save(load_file(path), path.with_name(f"{name}.bin"))
        path.unlink()
    return copy


def test_pickles_are_refused_with_the_mend_and_loaded_where_they_are_allowed(tiny_model, tmp_path, caplog):
    copy = pickled(tmp_path, tiny_model)
    with pytest.raises(RunFault, match=r"has no safetensors weights, but a pickle .*generate\.allow_pickle: true"):
        load_pipeline(spec(copy), CPU)
    allowed = spec(copy, allow_pickle=True)
    made = load_pipeline(allowed, CPU)(call(), allowed).pixels
    np.testing.assert_array_equal(made, load_pipeline(spec(tiny_model), CPU)(call(), spec(tiny_model)).pixels)
    assert "loaded from pickles, with weights_only" in caplog.text


class Payload:
    """Writes a file where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("part", ["controlnet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin"])
def test_an_allowed_pickle_runs_no_code(tiny_model, tmp_path, part):
    copy = pickled(tmp_path, tiny_model)
    torch.save({"weight": Payload(str(tmp_path / "ran"))}, copy / part)
    with pytest.raises(RunFault):
        load_pipeline(spec(copy, allow_pickle=True), CPU)
    assert not (tmp_path / "ran").exists()

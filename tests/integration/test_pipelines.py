"""diffusers' ControlNet pipeline, loaded from a folder in its own layout."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image

from posemill.catalogue.models import SchedulerName
from posemill.contract.specs import ControlNetSpec, GenerateSpec
from posemill.errors import OutOfMemory, RunFault
from posemill.settings import Settings
from workers.generating.compiling import compile_networks, filled
from workers.generating.model_loading import SCHEDULERS
from workers.generating.pipeline_calls import Call
from workers.generating.pipelines import DiffusersPipeline, load_pipeline
from workers.models.placement import Placement, choose_placement

CPU = Placement(device="cpu", dtype="float32", attention="auto", cpu_offload=False)
CONTROLS = [Image.new("RGB", (64, 64), colour) for colour in ("red", "white", "black")]


def spec(model: Path, **changes: object) -> GenerateSpec:
    values = {
        "model": "tiny",
        "base": str(model),
        "controlnets": (ControlNetSpec(controlnet=str(model / "controlnet")),),
        "num_inference_steps": 2,
    }
    return GenerateSpec(**{**values, **changes})


def call(*numbers: int, size: tuple[int, int] = (64, 64)) -> Call:
    return Call(
        prompts=[f"prompt {n}" for n in numbers],
        negative_prompts=["" for _ in numbers],
        controls=[[CONTROLS[n % 3] for n in numbers]],
        seeds=[100 + n for n in numbers],
        size=size,
    )


@pytest.fixture(scope="module")
def pipeline(tiny_model: Path) -> DiffusersPipeline:
    return load_pipeline(spec(tiny_model), CPU)


def test_an_image_does_not_depend_on_its_neighbours_in_the_batch(pipeline: DiffusersPipeline, tiny_model: Path) -> None:
    together = pipeline(call(0, 1, 2), spec(tiny_model)).pixels
    alone = pipeline(call(1), spec(tiny_model)).pixels
    assert together.shape == (3, 64, 64, 3)
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)


def test_seed_prompt_and_control_image_each_change_the_picture(pipeline: DiffusersPipeline, tiny_model: Path) -> None:
    first = call(0)
    changed = [
        Call(prompts=first.prompts, negative_prompts=[""], controls=first.controls, seeds=[1], size=first.size),
        Call(prompts=["other"], negative_prompts=[""], controls=first.controls, seeds=first.seeds, size=first.size),
        Call(
            prompts=first.prompts, negative_prompts=[""], controls=[CONTROLS[1:2]], seeds=first.seeds, size=first.size
        ),
        Call(
            prompts=first.prompts, negative_prompts=["x"], controls=first.controls, seeds=first.seeds, size=first.size
        ),
    ]
    picture = pipeline(first, spec(tiny_model)).pixels
    for other in changed:
        assert np.abs(pipeline(other, spec(tiny_model)).pixels - picture).max() > 1e-3


def test_pictures_have_the_size_that_was_asked_for(pipeline: DiffusersPipeline, tiny_model: Path) -> None:
    assert pipeline(call(0, size=(96, 64)), spec(tiny_model)).pixels.shape == (1, 64, 96, 3)


@pytest.mark.parametrize("name", list(SchedulerName))
def test_every_scheduler_makes_a_picture_and_the_same_one_twice(name: SchedulerName, tiny_model: Path) -> None:
    wanted = spec(tiny_model, scheduler=name.value, num_inference_steps=3)
    loaded = load_pipeline(wanted, CPU)
    assert type(loaded._pipe.scheduler) is SCHEDULERS[name]
    scheduler: Any = loaded._pipe.scheduler
    scheduler.set_timesteps(8)
    begins_at_pure_noise = float(scheduler.timesteps[0]) == 999
    assert begins_at_pure_noise >= name.endswith("_trailing"), "few steps must begin where the adapter was trained to"
    first, second = (loaded(call(0), wanted).pixels for _ in range(2))
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


def test_a_model_that_is_not_there_is_a_fault_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(RunFault, match="cannot be loaded"):
        load_pipeline(spec(tmp_path), CPU)


def test_pickled_weights_are_not_loaded(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    import torch
    from safetensors.torch import load_file

    copy = Path(shutil.copytree(tiny_model, tmp_path / "pickled"))
    weights = copy / "controlnet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(RunFault):
        load_pipeline(spec(copy), CPU)


def test_a_safety_checker_that_is_asked_for_and_missing_is_a_fault(tiny_model: Path) -> None:
    with pytest.raises(RunFault, match="safety checker"):
        load_pipeline(spec(tiny_model, safety_checker=True), CPU)


def test_a_device_that_is_not_there_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RunFault, match="CUDA"):
        choose_placement(Settings(device="cuda:0"))


def test_on_a_gpu_the_card_s_number_type_is_chosen_and_short_memory_offloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (4 << 30, 8 << 30))
    t4 = SimpleNamespace(name="Tesla T4", total_memory=15 << 30)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: t4)
    placement = choose_placement(Settings())
    assert (placement.device, placement.dtype, placement.cpu_offload) == ("cuda", "float16", True)
    assert (placement.channels_last, placement.vae_slicing, placement.card) == (True, True, "Tesla T4, 15 GiB")
    assert not choose_placement(Settings(cpu_offload="off")).cpu_offload


def test_compiling_takes_pytorch_s_own_attention() -> None:
    placement = choose_placement(Settings(device="cpu", compile="on", attention="xformers"))
    assert (placement.compiled, placement.attention) == (True, "sdpa")


def test_a_prompt_is_encoded_once_for_all_batches(tiny_model: Path) -> None:
    loaded = load_pipeline(spec(tiny_model), CPU)
    encoded: list[int] = []
    loaded._pipe.text_encoder.register_forward_hook(lambda module, given, output: encoded.append(1))
    for _ in range(2):
        loaded(prompted("one", "two", "one", "one"), spec(tiny_model))
    assert len(encoded) == 3  # one, two and the empty negative prompt


def test_embeddings_kept_give_the_picture_that_the_library_makes_of_the_text(tiny_model: Path) -> None:
    loaded = load_pipeline(spec(tiny_model), CPU)
    made = loaded(call(0), spec(tiny_model)).pixels
    library = loaded._pipe(
        ["prompt 0"], image=[CONTROLS[0]], negative_prompt=[""], num_inference_steps=2, guidance_scale=7.5,
        width=64, height=64, generator=[torch.Generator("cpu").manual_seed(100)], output_type="np",
    ).images  # fmt: skip
    np.testing.assert_array_equal(made, library)


def test_short_memory_is_met_by_decoding_one_by_one_before_the_batch_is_halved(tiny_model: Path, monkeypatch) -> None:
    loaded = load_pipeline(spec(tiny_model), CPU)
    whole = type(loaded._pipe.vae).decode

    def tight(vae, latents, **options):
        if not vae.use_slicing:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(vae, latents, **options)

    monkeypatch.setattr(type(loaded._pipe.vae), "decode", tight)
    assert loaded(call(0, 1), spec(tiny_model)).pixels.shape == (2, 64, 64, 3)


def test_a_device_that_holds_nothing_is_out_of_memory(tiny_model: Path, monkeypatch) -> None:
    loaded = load_pipeline(spec(tiny_model), CPU)

    def full(vae, latents, **options):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(loaded._pipe.vae), "decode", full)
    with pytest.raises(OutOfMemory):
        loaded(call(0), spec(tiny_model))


def test_a_short_batch_is_filled_up_so_that_one_shape_is_compiled(tiny_model: Path) -> None:
    loaded = load_pipeline(spec(tiny_model), CPU)
    shapes: list[torch.Size] = []
    compile_networks(loaded._pipe, backend=_noting(shapes))
    loaded._compiled = True
    plain = load_pipeline(spec(tiny_model), CPU)(call(0, 1), spec(tiny_model)).pixels
    for numbers in ((0, 1, 2), (0, 1)):
        made = loaded(msgspec.structs.replace(call(*numbers), fill_to=3), spec(tiny_model))
        assert len(made.pixels) == len(made.unsafe) == len(made.truncated) == len(numbers)
    np.testing.assert_allclose(made.pixels, plain, atol=1e-4)
    assert len(shapes) == len(set(shapes))  # nothing was compiled twice


def test_filling_up_repeats_the_last_image() -> None:
    full = filled(msgspec.structs.replace(call(0, 1), fill_to=4))
    assert (list(full.prompts), list(full.seeds)) == (["prompt 0", *["prompt 1"] * 3], [100, 101, 101, 101])


def _noting(shapes: list[torch.Size]):
    """A compiler that compiles nothing and notes the shapes of each graph's inputs."""

    def compiler(graph, inputs):
        shapes.append((graph.code, *(tuple(each.shape) for each in inputs if isinstance(each, torch.Tensor))))
        return graph.forward

    return compiler


LONG = " ".join(f"word{n}" for n in range(40))


def test_a_prompt_over_clip_s_window_is_recorded_as_truncated(pipeline: DiffusersPipeline, tiny_model: Path) -> None:
    made = pipeline(prompted(LONG, "short"), spec(tiny_model))
    assert made.truncated == [True, False]
    ends = pipeline(prompted(LONG + " end", "short"), spec(tiny_model)).pixels
    np.testing.assert_array_equal(made.pixels[0], ends[0])


def test_a_chunked_prompt_is_seen_to_its_end(pipeline: DiffusersPipeline, tiny_model: Path) -> None:
    chunked = spec(tiny_model, long_prompts="chunk")
    made, ends = (pipeline(prompted(prompt, "short"), chunked) for prompt in (LONG, LONG + " end"))
    assert made.truncated == [False, False]
    assert np.abs(made.pixels[0] - ends.pixels[0]).max() > 1e-4


def test_chunking_leaves_short_prompts_as_they_are(pipeline: DiffusersPipeline, tiny_model: Path) -> None:
    plain, chunked = (
        pipeline(prompted("short"), spec(tiny_model, long_prompts=how)).pixels for how in ("truncate", "chunk")
    )
    np.testing.assert_array_equal(plain, chunked)


def prompted(*prompts: str) -> Call:
    count = len(prompts)
    return Call(
        prompts=prompts,
        negative_prompts=[""] * count,
        controls=[CONTROLS[:1] * count],
        seeds=[5] * count,
        size=(64, 64),
    )

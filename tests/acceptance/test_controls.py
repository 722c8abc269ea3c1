"""A whole run with several controls: real photographs, real workers, real storage."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, Outcome, RunState, decode
from posemill.settings import Settings
from producer.exports.dataset import export_run
from producer.exports.samples.options import Form, Options
from producer.runs.checking import check
from producer.submitting.submission import submit
from tests.conftest import PHOTOS
from tests.single_file import write_single_file
from tests.tiny_model import (
    write_tiny_controlnet,
    write_tiny_lora,
    write_tiny_sd2,
    write_tiny_sdxl,
    write_tiny_vae,
)

KINDS = ("three controls", "Stable Diffusion 2.1", "Stable Diffusion XL", "an adapter", "a single file", "a VAE")


def draw_square(folder: Path) -> None:
    square = Image.new("RGB", (256, 256), "white")
    square.paste("black", (64, 64, 128, 128))
    square.save(folder / "square.png")


@pytest.fixture(scope="module")
def handle(fleet: Settings, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory):
    """A finished run: a pose and edges of a person, and of a picture where there are edges and nobody."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "astronaut.png").write_bytes((PHOTOS / "astronaut.png").read_bytes())
    draw_square(folder)
    recipe = {
        "sources": str(folder),
        "prompts": ["a figure"],
        "seeds": 2,
        "controls": [
            {"kind": "canny", "controlnet": str(tiny_model / "controlnet")},
            {
                "kind": "openpose",
                "detector": "openpose-thin",
                "controlnet": str(write_tiny_controlnet(tmp_path_factory.mktemp("net"), 31)),
                "controlnet_conditioning_scale": 0.5,
            },
        ],
        "generate": {"base": str(tiny_model), "resolution": 64, "num_inference_steps": 2},
    }
    run = submit(recipe, run_id="controls", settings=fleet)
    assert run.wait(timeout_seconds=150).snapshot.state is RunState.COMPLETE
    return run


def test_each_image_was_drawn_from_both_controls_and_says_so(handle):
    record = decode(handle.store.get(RunKeys("controls").record(Stage.GENERATE, 0)), BatchRecord)
    done = [item for item in record.items if item.outcome is Outcome.DONE]
    rejected = [item for item in record.items if item.outcome is Outcome.REJECTED]
    assert (len(done), len(rejected)) == (2, 2)
    assert {item.reason for item in rejected} == {"no_person"}
    for item in done:
        assert len(set(item.control_keys)) == 2
        assert all(handle.store.head(key) for key in item.control_keys)


def test_the_run_is_proven_with_all_its_control_images(handle):
    proof = check(handle.store, "controls", deep=True)
    assert proof.complete
    record = decode(handle.store.get(RunKeys("controls").record(Stage.DETECT, 0)), BatchRecord)
    second = next(source for source in record.sources if source.outcome is Outcome.DONE).controls[1].image
    content = handle.store.get(second.key)
    handle.store.put(second.key, b"changed")
    try:
        faults = check(handle.store, "controls", deep=True).faults
    finally:
        handle.store.put(second.key, content)
    assert [fault.key for fault in faults] == [second.key]


@pytest.mark.parametrize("form", [Form.IMAGEFOLDER, Form.PARQUET], ids=str)
def test_the_run_can_be_exported_and_its_rows_name_all_control_images(handle, form, tmp_path):
    options = Options(form=form, with_provenance=True)
    assert export_run(handle.store, "controls", tmp_path, options).samples == 2
    page = (tmp_path / "contact_sheet.html").read_text()
    assert (page.count("<small>canny"), page.count("<small>pose")) == (1, 1)
    assert "rejected: no person" in page, "the photograph without anybody is shown with its reason"
    if form is Form.IMAGEFOLDER:
        rows = pq.read_table(tmp_path / "train" / "metadata.parquet").to_pylist()
        assert [len(json.loads(row["control_keys"])) for row in rows] == [2, 2]


def pipeline_of(kind: str, tiny_model: Path, folder: Path) -> tuple[list[Path], dict[str, object]]:
    """The ControlNets, and what a recipe says of all else."""
    folder.mkdir()
    own = [tiny_model / "controlnet"]
    match kind:
        case "three controls":
            return [*own, *(write_tiny_controlnet(folder / str(n), n) for n in (1, 2))], {"base": str(tiny_model)}
        case "Stable Diffusion 2.1":
            return [write_tiny_sd2(folder) / "controlnet"], {"base": str(folder)}
        case "Stable Diffusion XL":
            return [write_tiny_sdxl(folder) / "controlnet"], {"base": str(folder)}
        case "an adapter":
            lora = {"lora": str(write_tiny_lora(folder, tiny_model)), "weight": 0.7}
            return own, {"base": str(tiny_model), "loras": [lora]}
        case "a single file":
            file = write_single_file(folder / "tiny.safetensors", tiny_model)
            return own, {"base": str(file), "base_config": str(tiny_model)}
        case _:
            return own, {"base": str(tiny_model), "vae": str(write_tiny_vae(folder))}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_of_every_kind_makes_a_whole_run(kind, fleet, tiny_model, tmp_path):
    nets, models = pipeline_of(kind, tiny_model, tmp_path / "models")
    (tmp_path / "photos").mkdir()
    draw_square(tmp_path / "photos")
    made_by = ({"kind": "canny"}, {"kind": "scribble", "detector": "as-is"}, {"kind": "seg", "detector": "as-is"})
    recipe = {
        "sources": str(tmp_path / "photos"),
        "prompts": ["a figure"],
        "controls": [{**control, "controlnet": str(net)} for control, net in zip(made_by, nets, strict=False)],
        "generate": {**models, "resolution": 64, "num_inference_steps": 2},
    }
    run_id = kind.replace(" ", "-").replace(".", "-")
    run = submit(recipe, run_id=run_id, settings=fleet)
    assert run.wait(timeout_seconds=150).snapshot.state is RunState.COMPLETE
    record = decode(run.store.get(RunKeys(run_id).record(Stage.GENERATE, 0)), BatchRecord)
    (item,) = record.items
    assert (item.outcome, len(item.control_keys)) == (Outcome.DONE, len(nets))
    assert record.made_with["generate"]["base"] == models["base"]
    assert check(run.store, run_id, deep=True).complete

"""The README's first run, `model: sd15-openpose`, against a hub on loopback: true names, nothing overridden."""

import json
from pathlib import Path

import pytest

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, RunState, decode
from posemill.storage.store import Store
from producer.submitting.submission import submit
from tests.loopback_hub import LoopbackHub

BASE, NET = "stable-diffusion-v1-5/stable-diffusion-v1-5", "lllyasviel/sd-controlnet-openpose"
CARD, ANNOTATORS = "lllyasviel/ControlNet", "lllyasviel/Annotators"
UNUSED = {"v1-5-pruned.ckpt": b"0" * 1000, "v1-5-pruned-emaonly.safetensors": b"0" * 1000, "README.md": b"read me"}
TIMEOUT_SECONDS = 150


@pytest.fixture(scope="module")
def openpose(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    from tests.drawn_weights import write_openpose

    folder = write_openpose(tmp_path_factory.mktemp("openpose"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def with_second_copies(folder: Path) -> dict[str, bytes]:
    """The folder as repositories of Stable Diffusion are: each network in four forms, checkpoints in the root."""
    from safetensors.torch import load, save

    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    files = {name: content for name, content in files.items() if not name.startswith(("controlnet/", "words/"))}
    index = json.loads(files["model_index.json"])
    index = {"_class_name": "StableDiffusionPipeline"} | {
        name: value for name, value in index.items() if name not in ("_class_name", "controlnet")
    }
    files["model_index.json"] = json.dumps(index).encode()
    for name in [name for name in files if name.endswith(".safetensors")]:
        stem = name.removesuffix(".safetensors")
        half = save({key: value.half() for key, value in load(files[name]).items()}, {"format": "pt"})
        files |= {f"{stem}.fp16.safetensors": half, f"{stem}.bin": b"a pickle", f"{stem}.fp16.bin": b"another"}
    return files | UNUSED


@pytest.fixture
def commits(hub: LoopbackHub, tiny_model: Path, openpose: dict[str, bytes]) -> dict[str, str]:
    """The hub's models under their true names; the newest commit of each."""
    card = {f"annotator/ckpts/{name}": content for name, content in openpose.items() if name != "facenet.pth"}
    return {
        BASE: hub.add(BASE, with_second_copies(tiny_model)),
        NET: hub.add(NET, tiny_model / "controlnet"),
        CARD: hub.add(CARD, card | {"models/control_sd15_openpose.pth": b"0" * 1000}),
        ANNOTATORS: hub.add(ANNOTATORS, {"facenet.pth": openpose["facenet.pth"], "ControlNetHED.pth": b"0" * 1000}),
    }


@pytest.fixture
def recipe(tmp_path: Path, photos: Path) -> dict:
    """A photograph, in which drawn weights find nobody, and a control image as it is."""
    from PIL import Image

    photograph = next(path for path in sorted(photos.iterdir()) if path.suffix in (".jpg", ".png"))
    Image.open(photograph).convert("RGB").resize((96, 96)).save(tmp_path / "photograph.png")
    Image.new("RGB", (64, 64), (200, 30, 90)).save(tmp_path / "control.png")
    rows = [{"source": "photograph.png", "prompt": "a chef"}, {"control_image": "control.png", "prompt": "a chef"}]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    settings = {"model": "sd15-openpose", "num_inference_steps": 2, "resolution": 64}
    return {"sources": str(tmp_path / "rows.jsonl"), "generate": settings}


def records(store: Store, run_id: str, stage: Stage) -> list[BatchRecord]:
    keys = sorted(info.key for info in store.list(RunKeys(run_id).records(stage)))
    return [decode(store.get(key), BatchRecord) for key in keys]


def test_a_named_model_runs_from_the_hub_with_every_commit_pinned_and_nothing_fetched_in_vain(
    hub, commits, recipe, settings, store, start_workers
):
    handle = submit(recipe, run_id="first", settings=settings)
    pinned = (handle.run.generate.base_revision, handle.run.generate.controlnets[0].controlnet_revision,
              handle.run.detects[0].revision, handle.run.detects[0].face_revision)  # fmt: skip
    assert (handle.run.generate.base, pinned) == (BASE, tuple(commits[name] for name in (BASE, NET, CARD, ANNOTATORS)))
    for name in list(commits):  # newer commits, which this run must not take
        hub.add(name, {"config.json": b"broken", "model_index.json": b"broken"})
    start_workers(detect=1, generate=1)
    status = handle.wait(timeout_seconds=TIMEOUT_SECONDS).snapshot
    assert status.state is RunState.COMPLETE, status.reason
    outcomes = [item.outcome for record in records(store, "first", Stage.GENERATE) for item in record.items]
    assert sorted(outcomes) == ["done", "rejected"]
    revisions = records(store, "first", Stage.GENERATE)[0].made_with["revisions"]
    assert revisions == {"base": commits[BASE], "controlnets": [commits[NET]]}
    assert hub.downloads(NET) == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert [name for name in hub.downloads(BASE) if not name.endswith((".json", ".txt"))] == [
        "text_encoder/model.safetensors", "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip
    assert hub.downloads(CARD) == [f"annotator/ckpts/{part}_pose_model.pth" for part in ("body", "hand")]
    assert hub.downloads(ANNOTATORS) == ["facenet.pth"]

"""The README's first run, `model: sd15-openpose`, against a hub on loopback: true names, nothing overridden."""

import json
from pathlib import Path

import pytest

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, RunState, decode
from posemill.hub.fetching import fetch
from posemill.hub.needs import needs_of_generate
from posemill.storage.pins import read_pin, write_pin
from posemill.storage.store import Store
from producer.submitting.submission import submit
from tests.conftest import wait_until
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


@pytest.fixture
def images_alone(recipe: dict, tmp_path: Path) -> dict:
    """Four images of one ready-made control image, each a batch: no detector is needed."""
    rows = [{"control_image": "control.png", "prompt": f"a chef with {count} spoons"} for count in range(4)]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    recipe["generate"] |= {"batch_size": 1}
    return recipe


@pytest.fixture
def diffusion(hub: LoopbackHub, tiny_model: Path) -> dict[str, str]:
    """The base and the ControlNet alone, and what a submission asks for beside them."""
    hub.add(CARD, {"README.md": b"read me"})
    hub.add(ANNOTATORS, {"README.md": b"read me"})
    return {BASE: hub.add(BASE, with_second_copies(tiny_model)), NET: hub.add(NET, tiny_model / "controlnet")}


def done(handle, store: Store) -> list[BatchRecord]:
    """The records of a run that ends with all of its images."""
    status = handle.wait(timeout_seconds=TIMEOUT_SECONDS).snapshot
    assert status.state is RunState.COMPLETE, status.reason
    found = records(store, handle.id, Stage.GENERATE)
    assert {item.outcome for record in found for item in record.items} == {"done"}
    return found


def large_files(hub: LoopbackHub) -> list[str]:
    return [name for model in (BASE, NET) for name in hub.downloads(model) if name.endswith(".safetensors")]


def logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in folder.rglob("logs-*/*.log"))


@pytest.mark.long
def test_workers_that_start_together_on_a_slow_hub_fetch_once_and_none_is_taken_for_stuck(
    hub, diffusion, images_alone, settings, store, start_workers, tmp_path, monkeypatch
):
    size = sum(len(content) for name, content in hub.repositories[BASE].commits[diffusion[BASE]].items()
               if name.endswith("model.safetensors"))  # fmt: skip
    hub.bytes_a_second = size / 25
    monkeypatch.setenv("POSEMILL_STUCK_SECONDS", "10")
    handle = submit(images_alone, run_id="slow", settings=settings)
    start_workers(generate=2)
    found = done(handle, store)
    assert "ends itself" not in logs(tmp_path)
    assert "Fetching stable-diffusion-v1-5/stable-diffusion-v1-5: " in logs(tmp_path)
    assert sorted(large_files(hub)) == sorted(set(large_files(hub)))
    assert {record.attempt for record in found} == {1}


@pytest.mark.long
def test_a_hub_that_breaks_off_again_and_again_is_asked_for_the_rest(
    hub, diffusion, images_alone, settings, store, start_workers
):
    handle = submit(images_alone, run_id="broken", settings=settings)
    hub.break_off_after, hub.break_offs = 100_000, 3
    start_workers(generate=1)
    assert {record.attempt for record in done(handle, store)} == {1}
    assert hub.break_offs == 0
    assert sum(bool(request.range) for request in hub.requests) == 3


def test_a_gated_model_pauses_the_run_with_what_is_wanted_and_goes_on_with_a_token(
    hub, diffusion, images_alone, settings, store, start_workers, monkeypatch
):
    handle = submit(images_alone, run_id="gated", settings=settings)
    hub.repositories[BASE].readers, hub.repositories[BASE].gated = ("hf_reader",), True
    supervisor = start_workers(generate=1)
    wait_until(lambda: handle.status().snapshot.state is RunState.PAUSED, seconds=90)
    assert f"{BASE} is gated: accept its terms on its page, and set HF_TOKEN" in handle.status().snapshot.reason
    supervisor.stop(timeout_seconds=0)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    start_workers(generate=1)
    handle.unpause()
    assert done(handle, store)


def test_offline_submission_and_workers_need_the_cache_alone(
    hub, diffusion, images_alone, settings, store, start_workers, monkeypatch
):
    spec = submit(images_alone, run_id="online", settings=settings).run.generate
    for need in needs_of_generate(spec):
        fetch(need, half=False)
    hub.close()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    handle = submit(images_alone, run_id="offline", settings=settings)
    assert handle.run.generate.base_revision == diffusion[BASE]
    start_workers(generate=1)
    assert done(handle, store)[0].made_with["revisions"]["base"] == diffusion[BASE]


@pytest.mark.long
def test_without_a_hub_at_submission_all_workers_take_the_first_one_s_commit(
    hub, diffusion, images_alone, settings, store, start_workers, monkeypatch
):
    hub.answers_busy = True
    handle = submit(images_alone, run_id="later", settings=settings)
    assert handle.run.generate.base_revision is None
    hub.answers_busy = False
    assert write_pin(store, "later", NET, None, diffusion[NET]) == diffusion[NET]  # another worker was first
    hub.add(NET, {"config.json": b"broken"})
    start_workers(generate=2)
    found = done(handle, store)
    assert read_pin(store, "later", BASE, None) == diffusion[BASE]
    assert [record.made_with["revisions"] for record in found] == [
        {"base": diffusion[BASE], "controlnets": [diffusion[NET]]}
    ] * 4


def test_a_worker_that_cannot_have_the_run_s_commit_pauses_the_run(
    hub, diffusion, images_alone, settings, store, start_workers
):
    hub.answers_busy = True
    handle = submit(images_alone, run_id="other", settings=settings)
    hub.answers_busy = False
    write_pin(store, "other", BASE, None, "f" * 40)
    start_workers(generate=1)
    wait_until(lambda: handle.status().snapshot.state is RunState.PAUSED, seconds=90)
    assert f"{BASE} has no revision {'f' * 40}" in handle.status().snapshot.reason

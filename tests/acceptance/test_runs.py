"""Whole runs: real photographs, real workers as processes of their own, real Redis and S3."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from posemill.catalogue.models import MODELS
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, ItemResult, Outcome, RefusedRow, RunState, SourceResult, decode
from posemill.settings import Settings
from posemill.storage.store import Store, open_store
from producer.cli.main import posemill
from producer.exports.dataset import export_run
from producer.runs.checking import check
from producer.runs.handle import RunHandle
from producer.submitting.submission import submit

TIMEOUT_SECONDS = 150


def make(fleet: Settings, recipe: dict[str, Any], run_id: str) -> RunHandle:
    handle = submit(recipe, run_id=run_id, settings=fleet)
    assert handle.wait(timeout_seconds=TIMEOUT_SECONDS).snapshot.state is RunState.COMPLETE
    return handle


@pytest.fixture(scope="session")
def tiny_recipe(tiny_model: Path) -> dict[str, Any]:
    """Three steps of a tiny random model: quick, and every image is another."""
    return {
        "prompts": ["a figure in {colour}"],
        "matrix": {"colour": ["red", "blue"]},
        "detect": {"detector": "openpose-thin", "batch_size": 1},
        "generate": {
            "base": str(tiny_model),
            "controlnet": str(tiny_model / "controlnet"),
            "resolution": 64,
            "num_inference_steps": 3,
            "batch_size": 2,
        },
    }


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people, nobody, and something that begins as a picture does and is none."""
    import skimage.data

    folder = tmp_path_factory.mktemp("photographs")
    for name in ("astronaut", "camera", "coffee"):
        Image.fromarray(getattr(skimage.data, name)()).save(folder / f"{name}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0this is no picture")
    return folder


@pytest.fixture(scope="session")
def run(fleet: Settings, tiny_recipe: dict[str, Any], photographs: Path) -> RunHandle:
    """A finished run over the photographs: two items each."""
    return make(fleet, {**tiny_recipe, "sources": str(photographs)}, "photographs")


def records(handle: RunHandle, stage: Stage) -> list[BatchRecord]:
    keys = sorted(info.key for info in handle.store.list(RunKeys(handle.id).records(stage)))
    return [decode(handle.store.get(key), BatchRecord) for key in keys]


def sources(handle: RunHandle) -> dict[str, SourceResult]:
    return {source.name: source for record in records(handle, Stage.DETECT) for source in record.sources}


def items(handle: RunHandle) -> list[ItemResult]:
    return [item for record in records(handle, Stage.GENERATE) for item in record.items]


def test_people_are_found_and_each_item_of_theirs_becomes_an_image(run: RunHandle) -> None:
    found = sources(run)
    assert {name for name, source in found.items() if source.outcome is Outcome.DONE} == {"astronaut.png", "camera.png"}
    assert [found["astronaut.png"].people, found["camera.png"].people] == [1, 1]
    done = [item for item in items(run) if item.outcome is Outcome.DONE]
    assert sorted(item.source_name for item in done) == ["astronaut.png"] * 2 + ["camera.png"] * 2
    assert len({item.image.sha256 for item in done}) == 4


def test_a_picture_with_nobody_in_it_is_rejected_and_leaves_no_black_control_image(run: RunHandle) -> None:
    coffee = sources(run)["coffee.png"]
    assert (coffee.outcome, coffee.reason, coffee.controls[0].image) == (Outcome.REJECTED, "no_person", None)
    reasons = {item.reason for item in items(run) if item.source_name == "coffee.png"}
    assert reasons == {"no_person"}


def test_what_is_no_picture_fails_alone_with_a_reason(run: RunHandle) -> None:
    broken = sources(run)["broken.jpg"]
    assert (broken.outcome, broken.reason) == (Outcome.FAILED, "bad_picture")
    status = run.status().snapshot.stages[Stage.GENERATE]
    assert (status.done, status.rejected, status.failed) == (4, 2, 2)


def test_hostile_pictures_end_in_one_record_each_and_the_run_goes_on(
    fleet: Settings, tiny_recipe: dict[str, Any], photographs: Path, tmp_path: Path
) -> None:
    import struct
    import zlib

    camera = Image.open(photographs / "camera.png")
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    whole = (photographs / "camera.png").read_bytes()
    camera.save(tmp_path / "animated.gif", save_all=True, append_images=[Image.new("L", camera.size)])
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    Image.new("RGB", (1, 500)).save(tmp_path / "ribbon.png")
    files = {"bomb.png": bomb, "cut.png": whole[: len(whole) // 2], "empty.png": b"", "mislabelled.jpg": whole}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    names = sorted(path.name for path in tmp_path.iterdir())
    missing = ["s3://posemill/no/such.png", "s3://no-such-bucket/x.png"]
    addresses = [*names, "s3://posemill/../../etc/passwd.png", *missing, "../up.png", "/etc/passwd"]
    lines = "".join(json.dumps({"source": address}) + "\n" for address in addresses)
    (tmp_path / "rows.jsonl").write_text(lines)
    handle = make(
        fleet, {**tiny_recipe, "sources": str(tmp_path / "rows.jsonl"), "matrix": {"colour": ["red"]}}, "hostile"
    )
    found = {name: (source.outcome, source.reason) for name, source in sources(handle).items()}
    bad, done = (Outcome.FAILED, "bad_picture"), (Outcome.DONE, "")
    assert found == {
        "animated.gif": done,
        "mislabelled.jpg": done,
        "dot.png": (Outcome.REJECTED, "no_person"),
        **dict.fromkeys(("bomb.png", "cut.png", "ribbon.png"), bad),
        "s3://posemill/../../etc/passwd.png": (Outcome.FAILED, "bad_input"),
        **dict.fromkeys(missing, (Outcome.FAILED, "not_found")),
    }
    refused = "\n".join(failure.message for failure in handle.failures() if isinstance(failure, RefusedRow))
    assert handle.status().snapshot.refused_rows == 3, "what is no picture at first sight is not even uploaded"
    for words in ("empty.png is empty", "up.png cannot be read", "/etc/passwd lies outside"):
        assert words in refused
    assert check(handle.store, "hostile", deep=True).complete


def test_poses_are_stored_as_openpose_json_with_scores(run: RunHandle) -> None:
    pose = json.loads(run.store.get(sources(run)["astronaut.png"].pose.key))
    keypoints = pose["people"][0]["pose_keypoints_2d"]
    assert pose["version"] == 1.3
    assert len(keypoints) == 54
    assert 0 < keypoints[2] <= 1


def test_an_image_opens_and_tells_how_it_was_made(run: RunHandle) -> None:
    item = next(item for item in items(run) if item.outcome is Outcome.DONE)
    picture = PngImageFile(io.BytesIO(run.store.get(item.image.key)))
    assert picture.size == (64, 64)
    assert f"Seed: {item.seed}" in picture.text["parameters"]
    assert item.detector.startswith("openpose-thin, controlnet_aux 0.")
    assert item.detector in picture.text["posemill"]
    made_with = records(run, Stage.GENERATE)[0].made_with
    assert made_with["generate"]["base_revision"]
    assert made_with["versions"]["diffusers"]


def test_check_proves_a_whole_run(run: RunHandle) -> None:
    proof = check(run.store, run.id, deep=True)
    assert proof.complete
    assert proof.counts[Stage.GENERATE] == {Outcome.DONE: 4, Outcome.REJECTED: 2, Outcome.FAILED: 2, Outcome.AGAIN: 0}


@pytest.mark.parametrize("deep", [False, True])
def test_check_notices_an_image_that_was_deleted_or_changed_by_hand(run: RunHandle, deep: bool) -> None:
    first, second = [item.image.key for item in items(run) if item.image][:2]
    kept = {key: run.store.get(key) for key in (first, second)}
    run.store.delete(first)
    run.store.put(second, b"x" * len(kept[second]))
    faults = {fault.key: fault.kind for fault in check(run.store, run.id, deep=deep).faults}
    for key, content in kept.items():
        run.store.put(key, content, content_type="image/png")
    assert faults == {first: "missing_object", second: "changed_object"}
    assert check(run.store, run.id, deep=deep).complete


def test_check_notices_a_missing_and_a_forged_record(run: RunHandle) -> None:
    missing, forged = (RunKeys(run.id).record(stage, 0) for stage in (Stage.DETECT, Stage.GENERATE))
    kept = {key: run.store.get(key) for key in (missing, forged)}
    run.store.delete(missing)
    run.store.put(forged, kept[forged].replace(b'"id":"', b'"id":"0'))
    kinds = {fault.key: fault.kind for fault in check(run.store, run.id).faults}
    for key, content in kept.items():
        run.store.put(key, content)
    assert (kinds[missing], kinds[forged]) == ("missing_record", "wrong_record")


def test_the_same_submission_again_makes_nothing_new(
    run: RunHandle, fleet: Settings, tiny_recipe: dict[str, Any], photographs: Path
) -> None:
    before = {info.key: info.etag for info in run.store.list("")}
    make(fleet, {**tiny_recipe, "sources": str(photographs)}, run.id)
    assert {info.key: info.etag for info in run.store.list("")} == before


def test_another_run_shares_the_control_images(
    run: RunHandle, fleet: Settings, tiny_recipe: dict[str, Any], photographs: Path
) -> None:
    before = {info.key for info in run.store.list("controls/")}
    other = make(fleet, {**tiny_recipe, "sources": str(photographs / "astronaut.png"), "seed": 9}, "other")
    assert {info.key for info in run.store.list("controls/")} == before
    assert {item.image.sha256 for item in items(other)}.isdisjoint(
        item.image.sha256 for item in items(run) if item.image
    )


def test_people_can_be_required_and_limited(fleet: Settings, tiny_recipe: dict[str, Any], photographs: Path) -> None:
    detect = tiny_recipe["detect"] | {"min_people": 2}
    handle = make(fleet, tiny_recipe | {"sources": str(photographs / "camera.png"), "detect": detect}, "crowd")
    assert sources(handle)["camera.png"].reason == "too_few_people"


def test_ready_made_poses_are_drawn_and_used(fleet: Settings, tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    keypoints = [value for n in range(17) for value in (40 + 9 * n, 30 + 9 * n, 2)]
    coco = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 320, "height": 240}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "keypoints": keypoints}
        ],
    }  # fmt: skip
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    handle = make(
        fleet, tiny_recipe | {"sources": str(tmp_path / "coco.json"), "detect": {"detector": "keypoints"}}, "ready"
    )
    control = sources(handle)["a.jpg"].controls[0].image
    assert Image.open(io.BytesIO(handle.store.get(control.key))).convert("L").getextrema()[1] > 0
    assert [item.outcome for item in items(handle)] == [Outcome.DONE] * 2


def test_a_row_may_bring_its_own_pose_among_photographs(
    fleet: Settings, tiny_recipe: dict[str, Any], run: RunHandle, photographs: Path, tmp_path: Path
) -> None:
    pose = json.loads(run.store.get(sources(run)["astronaut.png"].pose.key))
    rows = [{"source": str(photographs / "astronaut.png")}, {"pose": pose}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    handle = make(fleet, tiny_recipe | {"sources": str(tmp_path / "rows.jsonl")}, "mixed")
    found, drawn = sources(handle).values()
    assert (drawn.outcome, drawn.people) == (Outcome.DONE, 1)
    assert handle.store.get(drawn.controls[0].image.key) == handle.store.get(found.controls[0].image.key)


def test_a_ready_made_control_image_is_used_as_it_is(
    fleet: Settings, tiny_recipe: dict[str, Any], photographs: Path, tmp_path: Path
) -> None:
    row = {"control_image": str(photographs / "astronaut.png"), "prompt": "as it is", "seed": 3}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    handle = make(fleet, tiny_recipe | {"sources": str(tmp_path / "rows.jsonl")}, "control")
    (item,) = items(handle)
    assert (item.outcome, item.prompt, item.seed) == (Outcome.DONE, "as it is", 3)
    export_run(handle.store, handle.id, tmp_path / "out")
    (control,) = (tmp_path / "out/train/control_images").glob("*/*.png")
    assert Image.open(control).size == (512, 512)


def test_a_model_that_is_missing_on_the_worker_pauses_the_run_with_the_reason(
    fleet: Settings, tiny_recipe: dict[str, Any], photographs: Path, tiny_model: Path, tmp_path: Path
) -> None:
    import shutil

    gone = Path(shutil.copytree(tiny_model, tmp_path / "gone"))
    generate = tiny_recipe["generate"] | {"base": str(gone), "controlnet": str(gone / "controlnet")}
    recipe = tiny_recipe | {"sources": str(photographs / "astronaut.png"), "generate": generate}
    handle = submit(recipe | {"detect": {"detector": "openpose-thin"}}, run_id="gone", settings=fleet)
    handle.pause()
    shutil.rmtree(gone)
    handle.unpause()
    from posemill.errors import RunFault

    with pytest.raises(RunFault, match="cannot be loaded"):
        handle.wait(timeout_seconds=TIMEOUT_SECONDS)
    shutil.copytree(tiny_model, gone)
    handle.unpause()
    assert handle.wait(timeout_seconds=TIMEOUT_SECONDS).failed == 0


def test_retry_makes_only_what_failed_and_check_names_it(
    fleet: Settings, tiny_recipe: dict[str, Any], photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"source": str(photographs / "camera.png"), "prompt": "good", "seed": 1}]
    (tmp_path / "lost.png").write_bytes((photographs / "astronaut.png").read_bytes() + b"!")
    rows.append({"source": str(tmp_path / "lost.png"), "prompt": "lost", "seed": 1})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    handle = submit(tiny_recipe | {"sources": str(tmp_path / "rows.jsonl")}, run_id="retried", settings=fleet)
    store: Store = open_store(fleet.store)
    if handle.status().snapshot.stages[Stage.DETECT].finished == 0:
        handle.pause()
    handle.resume()
    handle.wait(timeout_seconds=TIMEOUT_SECONDS)
    first = {item.prompt: item for item in items(handle)}
    # what a lost object would have led to: one item failed, its record and flag say so
    keys = RunKeys("retried")
    record = store.get(keys.record(Stage.GENERATE, 0))
    (batch,) = records(handle, Stage.GENERATE)
    failed = record.replace(b'"outcome":"done","prompt":"lost"', b'"outcome":"failed","prompt":"lost"')
    assert failed != record
    store.put(keys.record(Stage.GENERATE, 0), failed)
    store.put(keys.flag(Stage.GENERATE, batch.batch), b"")
    monkeypatch.setenv("POSEMILL_STORE", fleet.store)
    checked = CliRunner().invoke(posemill, ["check", "retried"])
    assert (checked.exit_code, "complete" in checked.output) == (1, False)
    assert f"failed: item {first['lost'].id} ({tmp_path / 'lost.png'})" in checked.output
    assert handle.retry() == 1
    assert handle.wait(timeout_seconds=TIMEOUT_SECONDS).failed == 0
    again = {item.prompt: item for item in items(handle)}
    assert again["good"] == first["good"], "the done item was kept as it was"
    assert again["lost"].image.sha256 == first["lost"].image.sha256
    assert records(handle, Stage.GENERATE)[0].finished_at != batch.finished_at


def test_an_export_has_every_done_item_with_its_files(run: RunHandle, tmp_path: Path) -> None:
    exported = export_run(run.store, run.id, tmp_path / "out")
    lines = pq.read_table(tmp_path / "out/train/metadata.parquet").to_pylist()
    assert (exported.samples, exported.skipped, len(lines)) == (4, 4, 4)
    for line in lines:
        for column in ("file_name", "conditioning_image_file_name", "pose"):
            assert (tmp_path / "out/train" / line[column]).stat().st_size > 0
    assert {line["text"] for line in lines} == {"a figure in red", "a figure in blue"}
    assert export_run(run.store, run.id, tmp_path / "out") == exported


def test_an_export_never_writes_into_a_foreign_folder(run: RunHandle, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    result = CliRunner().invoke(posemill, ["export", run.id, str(tmp_path)])
    assert "choose an empty folder" in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [(["status"], 0), (["failures"], 0), (["check"], 1), (["cancel"], 0), (["resume"], 0), (["pause"], 0),
     (["unpause"], 0)],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_the_commands_answer_in_words_and_in_json(
    run: RunHandle, monkeypatch: pytest.MonkeyPatch, fleet: Settings, arguments: list[str], exit_code: int
) -> None:
    monkeypatch.setenv("POSEMILL_STORE", fleet.store)
    words = CliRunner().invoke(posemill, [*arguments, run.id])
    machine = CliRunner().invoke(posemill, [*arguments, run.id, "--json"])
    assert (words.exit_code, machine.exit_code) == (exit_code, exit_code)
    for line in machine.output.splitlines() if arguments == ["failures"] else [machine.output]:
        json.loads(line)


def test_the_embedded_model_is_in_the_table() -> None:
    assert MODELS["embedded"].detector == "openpose-thin"

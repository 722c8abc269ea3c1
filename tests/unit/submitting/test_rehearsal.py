"""A dry run counts and shows exactly what a submission would make, and writes nothing."""

import itertools
import json
from pathlib import Path

import msgspec
import pytest

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import Item, Plan, RefusedRow, decode, decode_lines, decode_rows
from posemill.errors import RecipeError, RowError
from posemill.settings import Settings
from posemill.storage.store import ObjectInfo
from producer.recipes.recipe import parse_recipe
from producer.recipes.resolving import resolve
from producer.sources.finding import find_rows
from producer.sources.intake import Intake
from producer.sources.scanning import SkippedTally
from producer.submitting import rehearsal, submission
from producer.submitting.planning import Expander, Planner
from producer.submitting.rehearsal import Rehearsal, rehearse
from tests.small_pictures import picture
from tests.unit.submitting.test_plan_writing import MemoryStore

POSE = {"people": [], "canvas_width": 64, "canvas_height": 64}
MODEL = {"base": "model", "controlnet": "model"}  # a folder: nothing is asked of the hub


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder, with a model and three pictures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "photos").mkdir()
    for name, content in (("a.png", picture(1)), ("b.png", picture(2)), ("c.png", picture(3))):
        (tmp_path / "photos" / name).write_bytes(content)
    return tmp_path


def recipe(**more) -> dict:
    detect = {"detector": "openpose-thin", "batch_size": 2}
    return {"sources": "photos", "prompts": ["p"], "generate": MODEL, "detect": detect, **more}


def rehearsed(**more) -> Rehearsal:
    return rehearse(recipe(**more), settings=Settings())


def manifest(folder: Path, *rows: dict) -> str:
    (folder / "m.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return "m.jsonl"


def test_sources_items_batches_and_messages_are_counted():
    found = rehearsed(prompts=["p", "in {room}"], matrix={"room": ["a", "b"]}, seeds=5)
    assert (found.sources, found.items, found.refused_rows) == (3, 45, 0)
    assert (list(found.batches.values()), found.messages) == ([2, 6], 8)


def test_the_first_five_items_are_shown():
    found = rehearsed(seeds=3)
    assert [item.source_number for item in found.first_items] == [0, 0, 0, 1, 1]


def test_bad_rows_are_counted_and_the_first_are_shown(folder):
    bad = [{"source": f"no{n}.png"} for n in range(7)]
    found = rehearsed(sources=manifest(folder, *bad, {"source": "photos/a.png"}))
    assert (found.items, found.refused_rows, len(found.first_refused)) == (1, 7, 5)
    assert found.first_refused[0].place == "m.jsonl:1"
    assert "no0.png cannot be read (No such file" in found.first_refused[0].message


def test_a_strict_rehearsal_ends_as_the_strict_submission_would(folder):
    with pytest.raises(RowError, match=r"m\.jsonl:2"):
        rehearse(recipe(sources=manifest(folder, {"source": "photos/a.png"}, {"source": "no.png"})), strict=True)


@pytest.mark.parametrize("source", ["photos", "x" * 5000], ids=["a folder", "a name too long"])
def test_a_source_that_no_submission_could_read_is_refused(folder, source):
    found = rehearsed(sources=manifest(folder, {"source": source}))
    assert (found.items, found.refused_rows) == (0, 1)


def test_what_a_folder_s_scan_skipped_is_shown(folder):
    (folder / "photos" / "._a.png").write_bytes(b"")
    assert [(one.reason, one.count, one.first) for one in rehearsed().skipped] == [("apple_double", 1, "._a.png")]


def test_rows_that_name_a_source_again_share_its_number(folder):
    names = ("b", "a", "b")
    found = rehearsed(sources=manifest(folder, *({"source": f"photos/{name}.png"} for name in names)))
    assert (found.sources, found.items, found.repeated_rows) == (2, 2, 1)
    assert [item.source_number for item in found.first_items] == [0, 1]
    assert found.first_sources == {0: "photos/b.png", 1: "photos/a.png"}


def test_overrides_reach_the_rehearsal():
    assert rehearse(recipe(), overrides=("seeds=4",)).items == 12


def test_an_empty_folder_is_refused(folder):
    (folder / "empty").mkdir()
    with pytest.raises(RecipeError, match="nothing to read in 'empty'"):
        rehearsed(sources="empty")


def test_a_broken_prompt_is_refused_before_sources_are_read():
    with pytest.raises(RecipeError, match="braces"):
        rehearsed(prompts=["in {room"], sources="nowhere")


MANIFESTS = {
    "folder": None,
    "rows": [
        {"source": "photos/a.png", "room": "attic"}, {"source": "photos/a.png", "room": "attic"}, {"source": "no.png"},
        {"source": "photos/b.png", "prompt": "q", "seed": 3.0}, {"control_image": "photos/c.png"}, {"prompt": "lost"},
        {"pose": {"people": []}}, {"source": "photos/copy.png", "caption": ["no", "text"]},
        {"source": "photos/copy.png"},
        {"source": "s3://other/x.png"}, {"source": "photos"}, {"source": "photos/a.png", "seed": "x"},
    ],
}  # fmt: skip


@pytest.mark.parametrize("rows", MANIFESTS.values(), ids=MANIFESTS)
def test_a_dry_run_counts_what_the_submission_then_makes(folder, rows):
    """Copies by content, refused rows and repeated items too."""
    (folder / "photos/copy.png").write_bytes((folder / "photos/a.png").read_bytes())
    sources = manifest(folder, *rows) if rows else "photos"
    values = recipe(sources=sources, prompts=["in {room}", "in a"], matrix={"room": ["a", "b", "b"]}, seeds=2)
    found, checked = rehearse(values), parse_recipe(values)
    run, store = resolve(checked, values, "r"), MemoryStore()
    skipped = SkippedTally()
    asked = submission.asked_rows(checked, folder, store, Settings(), skipped)
    submission._write_plan(store, checked, run, asked, skipped, strict=False, progress=None)
    plan = decode(store.objects[RunKeys("r").sealed], Plan)
    counts = msgspec.structs.asdict(plan)
    assert counts.pop("rows") == {Stage.DETECT: found.sources, Stage.GENERATE: found.items}
    assert {name: getattr(found, name) for name in counts} == counts
    assert plan.repeated_items
    assert found.upload_bytes == sum(
        len(content) for key, content in store.objects.items() if key.startswith("sources/")
    )
    planned = [
        row for key in sorted(store.objects) if "/generate/" in key for row in decode_rows(store.objects[key], Item)
    ]
    assert found.first_items == planned[:5]
    refused = decode_lines(store.objects.get(RunKeys("r").refused(0), b""), RefusedRow)
    assert found.first_refused == list(refused)[:5]


def test_a_copy_within_a_folder_is_a_note_and_refuses_nothing(folder):
    (folder / "photos/copy.png").write_bytes((folder / "photos/a.png").read_bytes())
    found = rehearsed(seeds=3)
    assert (found.sources, found.items, found.refused_rows) == (3, 9, 0)
    assert (found.repeated_rows, found.repeated_items, found.first_repeated) == (1, 3, ["copy.png"])


def test_a_base_that_the_hub_deleted_is_taken_under_the_name_of_its_copy_and_said(folder):
    pins = {"base_revision": "0" * 40, "controlnet_revision": "0" * 40}  # so that nothing is looked up
    found = rehearsed(generate={"base": "runwayml/stable-diffusion-v1-5", "controlnet": "a/b", **pins})
    assert found.notes == [
        "generate.base: runwayml/stable-diffusion-v1-5 was deleted from the Hub; "
        "stable-diffusion-v1-5/stable-diffusion-v1-5 is taken, its maintained copy"
    ]


def test_what_counts_once_and_what_has_no_effect_is_said(folder):
    found = rehearsed(prompts=["in {room}"], matrix={"room": ["a", "a"], "rom": ["x"]}, seeds=[1, 1])
    assert found.notes == [
        "seeds: '1' stands 2 times and counts once", "matrix.room: 'a' stands 2 times and counts once",
        "matrix.rom: no prompt names {rom}; did you mean {room}?",
    ]  # fmt: skip
    assert (found.items, found.repeated_items) == (3, 9)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param({"prompts": []}, "no prompt: give the recipe `prompts`", id="no prompt"),
        pytest.param({"prompts": ["in {room}"]}, r"\{room\}, which neither .*; there is no matrix", id="no column"),
        pytest.param(
            {"prompts": ["in {rooom}"], "matrix": {"room": ["a"]}}, r"did you mean \{room\}\?; there are r", id="typo"
        ),
        pytest.param({"sources": "list.txt"}, "list.txt is a text, neither a picture nor a manifest", id="text"),
        pytest.param({"sources": "pose.json"}, "for pose files give detect.detector: keypoints", id="pose file"),
        pytest.param({"sources": "x" * 300}, "x", id="name too long"),
        pytest.param(
            {"prompts": ["{a}{b}{c}{d}{e}{f}{g}{h}"], "matrix": {name: list(range(1000)) for name in "abcdefgh"}},
            r"matrix: about 10\^24 prompts with 1 seeds each for every source; the limit is 1000000", id="matrix",
        ),
        pytest.param({"prompts": ["p"] * 11, "seeds": 100_000}, "the limit is 1000000", id="seeds"),
    ],
)  # fmt: skip
def test_a_mistake_of_the_recipe_is_one_error(folder, more, message):
    (folder / "list.txt").write_text("a.png\nb.png\n")
    (folder / "pose.json").write_text("{}")
    with pytest.raises(RecipeError, match=message):
        rehearsed(**more)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"rom": "x"}] * 3, r"\{room\}, which neither the matrix nor any row has; did you mean \{rom\}\?"),
        ([{"rom": "x"}, {"room": "y"}], None),
        ([{"rom": "x"}, {"prompt": "own"}], None),
    ],
    ids=["no row has it", "one row has it", "one row needs none"],
)
def test_a_column_that_no_row_has_is_the_recipes_mistake_and_one_that_some_lack_is_theirs(folder, rows, message):
    sources = manifest(folder, *({"source": "photos/a.png", **row} for row in rows))
    if message:
        with pytest.raises(RecipeError, match=message):
            rehearsed(sources=sources, prompts=["in {room}"])
    else:
        assert rehearsed(sources=sources, prompts=["in {room}"]).refused_rows == 1


def test_models_beside_the_recipe_are_folders_and_a_tilde_is_the_home(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "else/nets/net").mkdir(parents=True)
    (folder / "else/adapter.safetensors").write_bytes(b"x")
    generate = {"base": "~/model", "controlnet": "nets/net", "loras": ["adapter.safetensors"], "vae": "./nets/net"}
    checked = parse_recipe({"sources": "a", "generate": generate, "detect": {"weights": "nets/net"}})
    run = resolve(checked, {}, "r", folder / "else")
    net = f"{folder}/else/nets/net"
    assert (run.generate.base, run.generate.controlnets[0].controlnet, run.generate.vae) == (
        f"{folder}/model",
        net,
        net,
    )
    assert (run.generate.loras[0].lora, run.detects[0].weights) == (f"{folder}/else/adapter.safetensors", net)
    assert resolve(parse_recipe({"sources": "a"}), {}, "r", folder / "else").generate.base.count("/") == 1


class OtherStorage:
    """Lists two pictures and takes what it is given."""

    def list_uri(self, uri):
        return iter([ObjectInfo(key=f"{uri}{name}", size=1, etag=f"tag {name}") for name in ("x.png", "y.png")])

    def head(self, key):
        return None

    def put_if_absent(self, key, content):
        return None, True


@pytest.mark.parametrize("sources", ["photos", "s3://other/", "m.jsonl"])
def test_the_items_shown_are_those_that_a_submission_makes(folder, monkeypatch, sources):
    manifest(folder, {"source": "photos/b.png", "seed": 3}, {"control_image": "photos/a.png"}, {"pose": POSE})
    monkeypatch.setattr(rehearsal, "open_store", lambda url: OtherStorage())
    values = recipe(sources=sources)
    checked = parse_recipe(values)
    run = resolve(checked, values, "r")
    expander, planner = Expander(checked, run), Planner(run)
    rows = find_rows(sources, folder, Settings(), poses=False, store=OtherStorage(), skipped=SkippedTally())
    taken = Intake(OtherStorage()).take(rows)
    made = [
        expander.items(one.row, one.source, None if one.row.control_image else planner.add_source(one.source))
        for one in taken
    ]
    shown = rehearse(values).first_items
    assert [(item.id, item.seed, item.source_number) for item in shown] == [
        (item.id, item.seed, item.source_number) for item in itertools.chain(*made)
    ]

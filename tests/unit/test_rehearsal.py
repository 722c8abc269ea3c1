"""A dry run counts and shows exactly what a submission would make, and writes nothing."""

import itertools
import json
from pathlib import Path

import pytest

from posemill.errors import RecipeError
from posemill.settings import Settings
from posemill.storage import ObjectInfo
from producer import rehearsal
from producer.intake import Intake
from producer.planning import Expander, Planner
from producer.recipe import parse_recipe
from producer.rehearsal import Rehearsal, rehearse
from producer.resolving import resolve
from producer.scanning import SkippedTally
from producer.sources import find_rows
from tests.small_pictures import picture

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
    assert (found.detect_batches, found.generate_batches, found.messages) == (2, 6, 8)


def test_the_first_five_items_are_shown():
    found = rehearsed(seeds=3)
    assert [item.source for item in found.first_items] == [0, 0, 0, 1, 1]


def test_bad_rows_are_counted_and_the_first_are_shown(folder):
    bad = [{"source": f"no{n}.png"} for n in range(7)]
    found = rehearsed(sources=manifest(folder, *bad, {"source": "photos/a.png"}))
    assert (found.items, found.refused_rows, len(found.first_refused)) == (1, 7, 5)
    assert found.first_refused[0].place == "m.jsonl:1"
    assert "no0.png cannot be read (No such file" in found.first_refused[0].message


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
    assert (found.sources, found.items) == (2, 3)
    assert [item.source for item in found.first_items] == [0, 1, 0]


def test_overrides_reach_the_rehearsal():
    assert rehearse(recipe(), overrides=("seeds=4",)).items == 12


def test_an_empty_folder_is_refused(folder):
    (folder / "empty").mkdir()
    with pytest.raises(RecipeError, match="nothing to read in 'empty'"):
        rehearsed(sources="empty")


def test_a_broken_prompt_is_refused_before_sources_are_read():
    with pytest.raises(RecipeError, match="braces"):
        rehearsed(prompts=["in {room"], sources="nowhere")


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
        expander.items(one.row, one.source, None if one.row.control else planner.add_source(one.source))
        for one in taken
    ]
    shown = rehearse(values).first_items
    assert [(item.id, item.seed, item.source) for item in shown] == [
        (item.id, item.seed, item.source) for item in itertools.chain(*made)
    ]

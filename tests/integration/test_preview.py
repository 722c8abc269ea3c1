"""A preview shows what the detectors make of a few sources, and why not; it needs no services."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from controlnet_aux import CannyDetector
from PIL import Image

from posemill.errors import RecipeError, RunFault
from posemill.settings import Settings
from producer.cli.main import posemill
from producer.local.preview import preview
from tests.conftest import PHOTOS

SETTINGS = Settings(store="")
CASES = Path(__file__).parents[1] / "unit" / "cases"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes((PHOTOS / "astronaut.png").read_bytes())
    Image.new("RGB", (200, 300), "grey").save(folder / "b.png")
    (folder / "c.png").write_bytes(b"no picture")
    (folder / "d.png").write_bytes((PHOTOS / "cameraman.png").read_bytes())
    return folder


def recipe(folder: Path, *detectors: dict) -> dict:
    (folder.parent / "net").mkdir(exist_ok=True)
    net = str(folder.parent / "net")
    controls = [{"controlnet": net, **detector} for detector in detectors]
    return {"sources": str(folder), "prompts": ["p"], "controls": controls, "generate": {"base": net}}


def test_a_preview_has_each_control_image_or_its_reason_beside_each_source(sources, tmp_path):
    out = tmp_path / "out"
    values = recipe(sources, {"kind": "canny"}, {"kind": "scribble", "detector": "as-is"})
    (tmp_path / "r.yaml").write_text(json.dumps(values))
    arguments = ["preview", str(tmp_path / "r.yaml"), "-n", "4", "--out", str(out), "--json"]
    done = CliRunner().invoke(posemill, arguments, catch_exceptions=False)
    made = json.loads(done.stdout)
    assert made["sources"] == ["a.png", "b.png", "c.png", "d.png"]
    assert [(one["source_number"], one["kind"], one["reason"]) for one in made["controls"]] == [
        (0, "canny", ""), (1, "canny", "no_edges"), (2, "canny", "bad_picture"), (3, "canny", ""),
        (0, "scribble", ""), (1, "scribble", "blank"), (2, "scribble", "bad_picture"), (3, "scribble", ""),
    ]  # fmt: skip
    edges = Image.open(out / "0000-0-canny.png")
    assert edges.tobytes() == CannyDetector()(Image.open(sources / "a.png").convert("RGB")).tobytes()
    assert not (out / "0001-0-canny.png").exists()
    with Image.open(made["contact_sheet"]) as sheet:
        assert sheet.height > 3 * 256


def test_a_preview_looks_at_an_even_sample_and_not_at_the_first_of_the_alphabet(sources, tmp_path):
    values = recipe(sources, {"kind": "scribble", "detector": "as-is"})
    assert preview(values, tmp_path / "out", count=2, settings=SETTINGS).sources == ["a.png", "d.png"]


def test_a_preview_clears_what_an_earlier_one_left_and_nothing_else(sources, tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    values = recipe(sources, {"kind": "scribble", "detector": "as-is"})
    for count in (2, 1):
        preview(values, ours, count=count, settings=SETTINGS)
    assert len(list(ours.glob("*-source.png"))) == 1
    theirs.mkdir()
    (theirs / "precious.txt").write_text("x")
    with pytest.raises(RecipeError, match="choose another folder"):
        preview(values, theirs, settings=SETTINGS)


def test_a_preview_that_cannot_be_made_says_why(sources, tmp_path):
    values = recipe(sources, {"kind": "hed", "weights": str(sources), "revision": "x"})
    with pytest.raises(RunFault, match=r"ControlNetHED\.pth"):
        preview(values, tmp_path / "out", count=1, settings=SETTINGS)


@pytest.mark.timeout(120)
def test_whatever_a_source_is_a_preview_shows_it_or_says_why_not(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("neg_rational.jpg", "ztxt_big.png", "alpha.jp2"):
        (folder / name).write_bytes((CASES / name).read_bytes())
    (folder / "cut.png").write_bytes((PHOTOS / "astronaut.png").read_bytes()[:5000])
    Image.new("RGB", (10, 400), "red").save(folder / "ribbon.png")
    os.mkfifo(folder / "pipe.png")
    (tmp_path / "passwd.png").symlink_to("/etc/passwd")
    named = ["neg_rational.jpg", "ztxt_big.png", "alpha.jp2", "cut.png", "ribbon.png", "pipe.png", "gone.png",
             "../passwd.png", "http://example.invalid/a.png"]  # fmt: skip
    rows = [{"source": name} for name in named] + [{"source": "alpha.jp2", "seed": "x"}]
    (folder / "m.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    values = recipe(folder, {"kind": "canny"}) | {"sources": str(folder / "m.jsonl")}
    made = preview(values, tmp_path / "out", count=20, settings=Settings(store="", source_folders=""))
    said = [control.message for control in made.controls]
    assert said[:2] == ["", ""], "broken metadata costs no picture"
    assert [control.reason for control in made.controls][3:5] == ["bad_picture", "bad_picture"]
    expected = ("broken", "one side over 8 times", "not a regular file", "cannot be read", "lies outside of",
                "ALLOWED", "not a whole number")  # fmt: skip
    assert [(words in message) for words, message in zip(expected, said[3:], strict=True)] == [True] * 7
    with Image.open(made.contact_sheet) as sheet:
        assert sheet.height > 10 * 256

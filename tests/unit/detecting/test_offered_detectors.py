"""Another distribution brings a detector by an entry point, without a change of ours; a broken one harms nobody."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DETECTOR = """
from PIL import Image, ImageOps

from posemill.catalogue.detectors import DetectorRow

ROW = DetectorRow(kind="negative", family="negatives.detector", settings=("low_threshold",), licence="MIT")


def build(spec, device):
    from workers.detecting.detectors import EachPicture

    return EachPicture(ImageOps.invert, reason="flat")
"""
RECIPE = {"sources": "a", "prompts": ["p"], "detect": {"detector": "negative", "low_threshold": 3},
          "generate": {"base": "embedded:embedded", "controlnet": "embedded:embedded/controlnet"}}  # fmt: skip
CODE = f"""
import io, json, sys
from PIL import Image
from posemill.catalogue.detectors import DETECTORS, KINDS
from producer.recipes.recipe import parse_recipe
from workers.detecting.detectors import load_detector
from posemill.contract.specs import DetectSpec
from workers.images.content import Content

recipe = parse_recipe({RECIPE!r})
stream = io.BytesIO()
Image.linear_gradient("L").convert("RGB").save(stream, "PNG")
(found,) = load_detector(DetectSpec(detector="negative")).detect([Content(stream.getvalue())])
print(json.dumps({{"kinds": KINDS, "detectors": list(DETECTORS), "corner": found.control_image.getpixel((0, 0)),
                  "recipe": recipe.detect.detector}}))
"""


def offer(folder: Path, name: str, value: str) -> None:
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[posemill.detectors]\n{name} = {value}\n")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    (tmp_path / "negatives").mkdir()
    (tmp_path / "negatives" / "__init__.py").touch()
    (tmp_path / "negatives" / "detector.py").write_text(DETECTOR)
    offer(tmp_path, "negative", "negatives.detector:ROW")
    return tmp_path


def run_with(folder: Path) -> "subprocess.CompletedProcess[str]":
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{CODE}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_detector_of_another_distribution_is_one_of_the_table(installed: Path) -> None:
    done = run_with(installed)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "negative" in found["kinds"]
    assert (found["recipe"], found["detectors"][-1], found["corner"]) == ("negative", "negative", [255, 255, 255])


def test_one_that_cannot_be_read_or_takes_a_name_is_left_out_with_a_warning(installed: Path) -> None:
    offer(installed, "canny", "negatives.detector:ROW")
    offer(installed, "broken", "negatives.nowhere:ROW")
    offer(installed, "wrong", "negatives.detector:build")
    done = run_with(installed)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["detectors"][-1] == "negative"
    for name, why in (("canny", "of that name"), ("broken", "negatives.nowhere"), ("wrong", "not to a DetectorRow")):
        (line,) = [line for line in done.stderr.splitlines() if repr(name) in line]
        assert why in line

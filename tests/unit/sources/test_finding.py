"""Whatever a recipe calls its sources becomes rows in a fixed order; a wrong row says where it is."""

import json
import os
from pathlib import Path

import pytest

from posemill.errors import RecipeError
from posemill.settings import Settings
from posemill.storage.store import ObjectInfo
from producer.sources.finding import find_rows
from producer.sources.rows import Row
from producer.sources.scanning import SkippedTally

POSE = {"people": [], "canvas_width": 64, "canvas_height": 64}
COCO = {
    "images": [{"id": 1, "width": 64, "height": 64, "file_name": "a.jpg"}, {"id": 2, "width": 64, "height": 64}],
    "annotations": [],
}


class Listing:
    """The one method of a store that finding sources needs."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def list_uri(self, uri):
        found = (key for key in self.keys if key.startswith(uri))
        return (ObjectInfo(key=key, size=1, etag=f"tag of {key}") for key in found)


def rows_of(folder: Path, sources: str, *, poses: bool = False, store=None, skipped=None, **settings) -> list[Row]:
    tally = skipped or SkippedTally()
    return list(find_rows(sources, folder, Settings(**settings), poses=poses, store=store, skipped=tally))


def names_of(rows: list[Row]) -> list[str]:
    return [(row.source or row.control_image).name for row in rows]


def with_files(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")
    return folder


def row_of(folder: Path, **values) -> Row:
    """The row that a manifest with one line gives."""
    (folder / "m.jsonl").write_text(json.dumps(values))
    (row,) = rows_of(folder, "m.jsonl")
    return row


def test_a_folder_gives_its_pictures_in_order_and_nothing_else(tmp_path):
    with_files(tmp_path, "p/b.JPG", "p/a.png", "p/deep/c.webp", "p/notes.txt", "other.png")
    rows = rows_of(tmp_path, "p")
    assert names_of(rows) == ["a.png", "b.JPG", "deep/c.webp"]
    assert rows[0].source.path == tmp_path / "p" / "a.png"


def test_a_glob_gives_matching_files_by_their_path_from_the_recipe(tmp_path):
    with_files(tmp_path, "p/b.jpg", "p/a.jpg", "p/c.png", "q/d.jpg")
    assert names_of(rows_of(tmp_path, "*/*.jpg")) == ["p/a.jpg", "p/b.jpg", "q/d.jpg"]
    assert names_of(rows_of(tmp_path / "q", "../p/[ab].jpg")) == ["../p/a.jpg", "../p/b.jpg"]
    assert names_of(rows_of(tmp_path, f"{tmp_path}/**/c.png")) == ["p/c.png"]


def test_marks_in_folder_names_are_not_taken_for_globs(tmp_path):
    folder = with_files(tmp_path / "photos [1]", "a.png")
    assert names_of(rows_of(folder, "*.png")) == ["a.png"]
    assert names_of(rows_of(tmp_path, "photos [1]/")) == ["a.png"]


def test_one_file_is_a_source(tmp_path):
    assert names_of(rows_of(with_files(tmp_path, "~mine.tiff"), "~mine.tiff")) == ["~mine.tiff"]


def test_a_file_name_that_is_not_utf8_can_be_written_down(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.png")).write_bytes(b"picture")
    (row,) = rows_of(tmp_path, ".")
    assert row.source.name == row.place == "caf�.png"
    assert row.source.path.read_bytes() == b"picture"


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        pytest.param("nowhere", "nowhere does not exist", id="missing"),
        pytest.param("nowhere.jsonl", "does not exist", id="missing manifest"),
        pytest.param("https://example.org/a.png", "only local paths and s3://", id="other scheme"),
        pytest.param("s3://bucket/p/", "set POSEMILL_STORE", id="s3 without storage"),
        pytest.param("*/../a.png", "'..' may only stand before", id="upwards behind a mark"),
    ],
)
def test_sources_that_cannot_be_found_are_a_recipe_error(tmp_path, sources, message):
    with pytest.raises(RecipeError, match=message):
        rows_of(tmp_path, sources)


def test_an_s3_prefix_gives_its_pictures_with_their_etags():
    store = Listing("s3://b/p/a.png", "s3://b/p/notes.txt", "s3://b/p/c.JPEG", "s3://b/q/d.png")
    rows = rows_of(Path(), "s3://b/p/", store=store)
    assert [row.source.uri for row in rows] == ["s3://b/p/a.png", "s3://b/p/c.JPEG"]
    assert rows[0].source.etag == "tag of s3://b/p/a.png"


def test_an_s3_manifest_is_asked_to_be_copied():
    with pytest.raises(RecipeError, match="copy the manifest"):
        rows_of(Path(), "s3://b/rows.csv", store=Listing())


def test_a_manifest_row_carries_all_that_it_says(tmp_path):
    row = row_of(tmp_path, source="p/a.png", prompt="a chef", negative_prompt="", seed=7, room="attic")
    assert (row.prompt, row.negative_prompt, row.seed, row.columns) == ("a chef", "", 7, {"room": "attic"})
    assert row.source.path == tmp_path / "p" / "a.png"
    assert row.place == "m.jsonl:1"


def test_a_control_image_stands_in_for_a_source(tmp_path):
    row = row_of(tmp_path, control_image="s3://b/pose.png")
    assert (row.source, row.control_image.uri) == (None, "s3://b/pose.png")


def test_a_pose_may_stand_in_the_row_or_in_a_file(tmp_path):
    (tmp_path / "pose.json").write_text(json.dumps(POSE))
    assert row_of(tmp_path, pose=POSE).source.pose == POSE
    assert row_of(tmp_path, pose="pose.json").source.pose == POSE


@pytest.mark.parametrize(("value", "text"), [(5, "5"), (7.0, "7"), (0.5, "0.5"), (True, "true")])
def test_a_number_where_a_prompt_is_wanted_is_its_text(tmp_path, value, text):
    assert row_of(tmp_path, source="a", prompt=value, negative_prompt=value).prompt == text


@pytest.mark.parametrize(
    ("values", "place", "message"),
    [
        pytest.param({"prompt": "x"}, "m.jsonl:1", "exactly one of the columns source", id="no source"),
        pytest.param({"source": ""}, "m.jsonl:1", "exactly one of the columns source", id="empty source"),
        pytest.param({"source": "a", "pose": "b"}, "m.jsonl:1", "exactly one of the columns", id="two sources"),
        pytest.param({"source": 5}, "m.jsonl:1, column source", "an address is text", id="source is a number"),
        pytest.param({"source": "a\0b"}, "m.jsonl:1, column source", "without control", id="NUL"),
        pytest.param(
            {"source": "s3://b/" + "é" * 513}, "m.jsonl:1, column source", "longer than 1024 bytes", id="long key"
        ),
        pytest.param({"source": "ftp://x/a"}, "m.jsonl:1, column source", "only http and https", id="other scheme"),
        pytest.param({"source": "a", "prompt": {}}, "m.jsonl:1, column prompt", "{} is not text", id="prompt"),
        pytest.param({"source": "a", "negative_prompt": []}, "m.jsonl:1, column negative_prompt", "not text", id="neg"),
        pytest.param({"source": "a", "seed": -1}, "m.jsonl:1, column seed", "-1 is not a whole", id="negative seed"),
        pytest.param({"source": "a", "seed": 2**63}, "m.jsonl:1, column seed", "not a whole", id="seed too large"),
        pytest.param({"source": "a", "seed": 1.5}, "m.jsonl:1, column seed", "1.5 is not a whole", id="seed broken"),
        pytest.param({"source": "a", "seed": True}, "m.jsonl:1, column seed", "True is not a whole", id="seed true"),
        pytest.param({"source": "a", "seed": "x"}, "m.jsonl:1, column seed", "'x' is not a whole", id="seed text"),
        pytest.param({"pose": "no.json"}, "m.jsonl:1, column pose", "cannot be read", id="pose file missing"),
    ],
)
def test_a_wrong_row_names_file_line_and_column(tmp_path, values, place, message):
    row = row_of(tmp_path, **values)
    assert row.error.place == place
    assert str(row.error).startswith(f"{place}: ")
    assert message in str(row.error)


def test_a_wrong_row_does_not_stop_the_next(tmp_path):
    (tmp_path / "m.csv").write_text("source,seed\na.png,x\n~nobody.png,12\n,3\n")
    first, second, third = rows_of(tmp_path, "m.csv")
    assert (first.error.place, third.error.place) == ("m.csv:2, column seed", "m.csv:4")
    assert (second.error, second.seed, second.source.path) == (None, 12, tmp_path / "~nobody.png")


def test_pose_files_are_sources_of_their_own(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(POSE))
    (tmp_path / "b.json").write_text(json.dumps(COCO))
    with_files(tmp_path, "c.png")
    rows = rows_of(tmp_path, ".", poses=True)
    assert names_of(rows) == ["a.json", "a.jpg", "2"]
    assert [row.source.pose["canvas_width"] for row in rows] == [64, 64, 64]


def test_a_broken_pose_file_is_a_wrong_row_among_others(tmp_path):
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text(json.dumps({"annotations": [{}]}))
    (tmp_path / "c.json").write_text(json.dumps(POSE))
    first, second, third = rows_of(tmp_path, ".", poses=True)
    assert "not JSON" in str(first.error)
    assert "not a COCO keypoints file" in str(second.error)
    assert third.error is None

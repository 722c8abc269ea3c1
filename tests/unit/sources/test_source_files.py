"""What a row names is read where it is a regular file in an allowed folder that begins as a picture does."""

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image

from posemill.pictures.decoding import picture_format
from posemill.settings import Settings
from producer.sources.finding import find_rows
from producer.sources.scanning import SkippedTally
from producer.sources.source_files import UnreadableFile, read_picture, read_pose_file, require_picture
from tests.small_pictures import picture

POSE = {"people": [], "canvas_width": 64, "canvas_height": 64}
READERS = pytest.mark.parametrize("read", [read_picture, require_picture])


@READERS
@pytest.mark.timeout(10)
def test_pipes_devices_and_folders_are_refused_without_waiting(tmp_path, read):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe", "device", "folder"):
        with pytest.raises(UnreadableFile, match=f"{name}.png is not a regular file"):
            read(tmp_path / f"{name}.png")


@READERS
@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"root:x:0:0:root:/root:/bin/bash\n", "not a picture", id="passwd"),
        pytest.param(b"P is a letter\n", "not a picture", id="a text that begins as a PPM"),
        pytest.param(b"BMW makes cars\n", "not a picture", id="a text that begins as a BMP"),
        pytest.param(b"%PDF-1.7", "not a picture", id="a document"),
        pytest.param(b"\0\0\0\x18ftypisom\0\0\0\0mp41isom", "not a picture", id="a film"),
    ],
)
def test_what_does_not_begin_as_a_picture_is_refused(tmp_path, read, content, says):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UnreadableFile, match=says):
        read(tmp_path / "a.png")


@READERS
def test_a_file_without_a_size_and_one_of_a_terabyte_are_refused_unread(tmp_path, read):
    with pytest.raises(UnreadableFile, match="is empty"):
        read(Path("/proc/self/environ"))
    with (tmp_path / "vast.png").open("wb") as vast:
        vast.write(picture())
        vast.truncate(10**12)
    with pytest.raises(UnreadableFile, match="is larger than"):
        read(tmp_path / "vast.png")


@READERS
@pytest.mark.parametrize("name", ["no.png", "x" * 5000, "a\0b", "a\ud800"])
def test_a_name_that_no_file_has_is_refused(tmp_path, read, name):
    with pytest.raises(UnreadableFile, match="cannot be read") as caught:
        read(tmp_path / name)
    str(caught.value).encode(errors="surrogatepass")


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF"])
def test_every_format_is_known_by_how_it_begins(tmp_path, format_):
    content = io.BytesIO()
    Image.new("RGB", (300, 200), "red").save(content, format_)
    assert picture_format(content.getvalue()[:4096]) == format_
    (tmp_path / "a").write_bytes(content.getvalue())
    assert read_picture(tmp_path / "a") == content.getvalue()


def test_a_file_must_lie_below_an_allowed_folder_where_its_links_lead(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.png").write_bytes(picture())
    (inside / "link.png").symlink_to(outside / "a.png")
    (inside / "up").symlink_to(inside)
    assert read_picture(inside / "up" / "a.png", [inside]) == picture()
    for path in (inside / "link.png", inside / ".." / "out" / "a.png", outside / "a.png"):
        with pytest.raises(UnreadableFile, match=r"lies outside of .*POSEMILL_SOURCE_FOLDERS"):
            read_picture(path, [inside])
        assert read_picture(path, [inside, outside]) == picture()


def rows_of(folder: Path, *rows: dict, poses: bool = False, **settings):
    manifest = folder / "m.jsonl"
    manifest.write_text("\n".join(json.dumps(row) for row in rows))
    held = Settings(**{"source_folders": "", **settings})
    found = find_rows("m.jsonl", folder, held, poses=poses, store=None, skipped=SkippedTally())
    return list(found)


def test_a_manifest_s_files_are_held_to_its_folder_and_the_allowed_ones(tmp_path):
    (row, control) = rows_of(tmp_path, {"source": "/etc/passwd"}, {"control_image": "a.png"}, source_folders="/x:~")
    assert row.source.folders == control.control_image.folders == (tmp_path, Path("/x"), Path.home())


def test_a_manifest_s_pose_files_are_held_to_them_too(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "pose.json").write_text(json.dumps(POSE))
    (refused,) = rows_of(folder, {"pose": "../pose.json"})
    assert "lies outside of" in str(refused.error)
    assert refused.error.place == "m.jsonl:1, column pose"
    (row,) = rows_of(folder, {"pose": "../pose.json"}, source_folders=str(tmp_path))
    assert row.source.pose == POSE


@pytest.mark.timeout(10)
def test_a_pipe_for_a_pose_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pose.json")
    (refused,) = rows_of(tmp_path, {"pose": "pose.json"})
    assert "not a regular file" in str(refused.error)
    with pytest.raises(UnreadableFile):
        read_pose_file(tmp_path / "pose.json")


def test_a_pose_is_read_from_json_text(tmp_path):
    (row,) = rows_of(tmp_path, {"pose": json.dumps(POSE, indent=1)})
    assert row.source.pose == POSE


@pytest.mark.parametrize("value", ["{", "[]", "[1]", [POSE, POSE], [1], 7, True, {"people": []}])
def test_a_pose_that_is_none_is_one_refused_row(tmp_path, value):
    refused, read = rows_of(tmp_path, {"pose": value}, {"pose": [POSE]})
    assert refused.error.place.startswith("m.jsonl:1")
    assert read.source.pose == POSE


def test_with_poses_a_manifest_s_sources_are_pose_files(tmp_path):
    (tmp_path / "good.json").write_text(json.dumps(POSE))
    (tmp_path / "bad.json").write_text("null")
    read, refused = rows_of(tmp_path, {"source": "good.json"}, {"source": "bad.json"}, poses=True)
    assert read.source.pose == POSE
    assert refused.error.place == "m.jsonl:2, column source"


def test_a_pose_by_address_is_refused_where_no_worker_would_read_it(tmp_path):
    (refused,) = rows_of(tmp_path, {"pose": "s3://b/pose.json"})
    assert "copy the file" in str(refused.error)
    (row,) = rows_of(tmp_path, {"pose": "s3://b/pose.json"}, poses=True)
    assert row.source.uri == "s3://b/pose.json"

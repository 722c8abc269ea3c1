"""A scan reads every picture once, follows links, and says what it passed over."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pillow_heif
import pytest
from PIL import Image

from posemill.errors import RecipeError
from posemill.pictures.decoding import FORMATS, SUFFIXES
from posemill.settings import Settings
from posemill.storage.store import ObjectInfo
from producer.sources.finding import find_rows
from producer.sources.scanning import SkippedTally, matches


def with_files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"picture")
    return folder


def scanned(folder: Path, sources: str = ".", *, poses: bool = False, store=None) -> tuple[list[str], dict[str, int]]:
    """The names of what was found, and the counts of what was skipped."""
    tally = SkippedTally()
    rows = list(find_rows(sources, folder, Settings(), poses=poses, store=store, skipped=tally))
    return [row.source.name for row in rows], {one.reason: one.count for one in tally.found()}


def test_every_format_that_the_decoder_reads_is_found_by_its_usual_names():
    Image.init()
    pillow_heif.register_heif_opener()
    of_pillow = {suffix for suffix, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO", "HEIF")}
    assert of_pillow - {".pfm"} <= SUFFIXES, "a .pfm holds floating point, which is refused"
    assert SUFFIXES - of_pillow == set()


@pytest.mark.parametrize("name", ["a.jfif", "a.MPO", "a.jpe", "a.avif", "a.jp2", "a.j2k", "a.ppm", "a.pgm", "a.HEIC"])
def test_a_picture_is_found_whatever_its_usual_name(tmp_path, name):
    assert scanned(with_files(tmp_path, name)) == ([name], {})


def test_what_other_programs_keep_beside_pictures_is_skipped_and_counted(tmp_path):
    with_files(tmp_path, "a.jpg", "._a.jpg", "d/._b.jpg", "@eaDir/a.jpg/thumb.jpg", "__MACOSX/a.jpg", "Thumbs.db",
               ".thumbnails/a.jpg", ".hidden.jpg", ".git/x.jpg", "notes.txt", "d/.DS_Store")  # fmt: skip
    found, skipped = scanned(tmp_path)
    assert found == ["a.jpg"]
    assert skipped == {"apple_double": 2, "service_folder": 3, "hidden": 3, "other_name": 2}


def test_a_folder_named_like_a_picture_is_a_folder(tmp_path):
    assert scanned(with_files(tmp_path, "album.jpg/a.png", "z.png")) == (["album.jpg/a.png", "z.png"], {})


def test_a_linked_folder_is_followed_once(tmp_path):
    with_files(tmp_path / "elsewhere", "a.png", "deep/b.png")
    (tmp_path / "photos").mkdir()
    for name in ("first", "second"):
        (tmp_path / "photos" / name).symlink_to(tmp_path / "elsewhere")
    assert scanned(tmp_path, "photos") == (["first/a.png", "first/deep/b.png"], {"linked_again": 1})


def test_links_that_lead_in_circles_end(tmp_path):
    with_files(tmp_path, "photos/d/a.png", "beside.png")
    (tmp_path / "photos/d/up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/self").symlink_to("self")
    (tmp_path / "photos/above").symlink_to(tmp_path)
    found, skipped = scanned(tmp_path, "photos")
    assert found == ["d/a.png"]
    assert skipped == {"linked_again": 2, "broken_link": 1}


def test_a_link_to_what_is_read_anyway_is_skipped_and_one_into_a_hidden_store_is_read(tmp_path):
    with_files(tmp_path, "b/real.png", ".annex/1a2b.png")
    (tmp_path / "a.png").symlink_to("b/real.png")
    (tmp_path / "c.png").symlink_to(".annex/1a2b.png")
    (tmp_path / "d.png").symlink_to(".annex/1a2b.png")
    (tmp_path / "e").symlink_to("b")
    (tmp_path / "f.png").symlink_to("gone.png")
    found, skipped = scanned(tmp_path)
    assert found == ["b/real.png", "c.png"]
    assert skipped == {"broken_link": 1, "hidden": 1, "linked_again": 3}


def test_a_pipe_with_a_picture_s_name_is_skipped(tmp_path):
    os.mkfifo(with_files(tmp_path, "a.png") / "b.png")
    assert scanned(tmp_path) == (["a.png"], {"not_a_file": 1})


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder that nobody but root can list, below one that everybody can, as somebody else than root."""
    with tempfile.TemporaryDirectory() as name:
        folder = with_files(Path(name), "a.png", "locked/b.png")
        folder.chmod(0o755)
        (folder / "locked").chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield folder
        os.seteuid(user)
        (folder / "locked").chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_said(locked):
    assert scanned(locked) == (["a.png"], {"unreadable": 1})
    with pytest.raises(RecipeError, match="locked cannot be read"):
        scanned(locked, "locked")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.jpg", ["a.jpg"]),
        ("**/*.jpg", ["a.jpg", "d/b.jpg", "d/e/c.jpg"]),
        ("d/**", ["d/b.jpg", "d/e/c.jpg", "d/e/notes.txt"]),
        ("*/[ab].jpg", ["d/b.jpg"]),
        ("**/.trash/*.jpg", [".trash/f.jpg"]),
        ("**.jpg", ["a.jpg"]),
        ("@eaDir/*", ["@eaDir/g.jpg"]),
    ],
)
def test_a_pattern_decides_by_its_own_words_and_passes_over_the_rest(tmp_path, pattern, found):
    with_files(tmp_path, "a.jpg", "._a.jpg", "d/b.jpg", "d/e/c.jpg", "d/e/notes.txt", ".trash/f.jpg", "@eaDir/g.jpg")
    assert scanned(tmp_path, pattern)[0] == found


def test_a_pattern_follows_linked_folders_and_says_what_it_passes_over(tmp_path):
    with_files(tmp_path / "elsewhere", "a.png", "._a.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/link").symlink_to(tmp_path / "elsewhere")
    assert scanned(tmp_path, "photos/**/*.png") == (["photos/link/a.png"], {"apple_double": 1})


def test_two_stars_stand_for_any_folders():
    assert matches(("a", "b", "c.png"), ("**", "*.png"))
    assert matches(("c.png",), ("**", "**", "*.png"))
    assert not matches(("a", "c.png"), ("*.png",))


class Bucket:
    """Lists keys."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    def list_uri(self, uri):
        return (ObjectInfo(key=key, size=1, etag="") for key in self.keys if key.startswith(uri))


def test_a_prefix_is_read_by_the_same_rules():
    store = Bucket("s3://b/p/a.jfif", "s3://b/p/._a.jfif", "s3://b/p/@eaDir/x.jpg", "s3://b/p/album.jpg/",
                   "s3://b/p/album.jpg/c.heic", "s3://b/p/.cache/d.png", "s3://b/p/notes.txt")  # fmt: skip
    found, skipped = scanned(Path(), "s3://b/p/", store=store)
    assert found == ["s3://b/p/a.jfif", "s3://b/p/album.jpg/c.heic"]
    assert skipped == {"apple_double": 1, "service_folder": 1, "hidden": 1, "other_name": 1}
    assert scanned(Path(), "s3://b/p/.cache/", store=store)[0] == ["s3://b/p/.cache/d.png"]


def test_with_poses_pose_files_are_what_is_looked_for(tmp_path):
    with_files(tmp_path, "a.png", "._a.json")
    (tmp_path / "a.json").write_text('{"people": [], "canvas_width": 64, "canvas_height": 64}')
    assert scanned(tmp_path, poses=True) == (["a.json"], {"apple_double": 1, "other_name": 1})


def test_the_first_of_each_reason_is_named(tmp_path):
    with_files(tmp_path, "b.txt", "a.txt")
    (tmp_path / os.fsdecode(b"\xff.txt")).write_bytes(b"")
    tally = SkippedTally()
    list(find_rows(".", tmp_path, Settings(), poses=False, store=None, skipped=tally))
    assert [(one.reason, one.count, one.first) for one in tally.found()] == [("other_name", 3, "a.txt")]

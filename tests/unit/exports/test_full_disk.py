"""A disk that fills up under an export: one error, nothing half-written, and the repeat goes on."""

import gc
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from posemill.errors import BadInput, TransientError
from producer.exports.exporting import Exporter
from producer.exports.proof import check_export
from producer.exports.samples.options import Form, Options
from producer.exports.writing.destinations import FolderDestination
from tests.another_user import needs_root
from tests.synthetic_run import RUN_ID, SINGLE_FORMS, SyntheticStore, digests

ITEMS = 40


def export(folder: Path, form: Form) -> None:
    exporter = Exporter(SyntheticStore(ITEMS), RUN_ID, FolderDestination(folder), Options(form=form, shard_size=8))
    exporter.commit(exporter.export())


def partials(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.endswith(".partial")]


@contextmanager
def files_up_to(limit_bytes: int) -> Iterator[None]:
    """No file of this process may be larger: it meets EFBIG as it would meet a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def half_of(whole: Path) -> int:
    """A limit that small files pass and the largest does not."""
    return max(path.stat().st_size for path in whole.rglob("*") if path.is_file()) // 2


@pytest.mark.parametrize("form", SINGLE_FORMS)
def test_a_full_disk_leaves_nothing_half_written_and_the_repeat_gives_the_same_bytes(
    form: Form, tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    export(tmp_path / "calm", form)
    with files_up_to(half_of(tmp_path / "calm")), pytest.raises(TransientError, match="cannot be written") as raised:
        export(tmp_path / "full", form)
    del raised
    gc.collect()
    assert partials(tmp_path / "full") == []
    assert capfd.readouterr().err == "", "no library has its last words"
    assert [str(warning.message) for warning in recwarn if "unraisable" in str(warning.message).lower()] == []
    export(tmp_path / "full", form)
    assert digests(tmp_path / "full") == digests(tmp_path / "calm")
    assert check_export(FolderDestination(tmp_path / "full"), SyntheticStore(ITEMS)).complete


@needs_root
def test_a_small_disk_keeps_the_shards_that_were_whole(tmp_path: Path) -> None:
    export(tmp_path / "calm", Form.WEBDATASET)
    whole = sum(path.stat().st_size for path in (tmp_path / "calm").rglob("*") if path.is_file())
    with small_disk(tmp_path / "disk", f"{whole * 2 // 3}"):
        with pytest.raises(TransientError, match=r"No space left on device.*make room"):
            export(tmp_path / "disk" / "out", Form.WEBDATASET)
        assert partials(tmp_path / "disk") == []
        standing = digests(tmp_path / "disk" / "out")
        subprocess.run(["mount", "-o", "remount,size=100m", str(tmp_path / "disk")], check=True)
        export(tmp_path / "disk" / "out", Form.WEBDATASET)
        finished = digests(tmp_path / "disk" / "out")
        assert finished == digests(tmp_path / "calm")
        assert any(name.endswith(".tar") for name in standing)
        assert standing.items() <= finished.items()


@needs_root
def test_a_full_folder_for_temporary_files_is_said_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path / "tmp", "64k"):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
        with pytest.raises(TransientError, match=f"{tmp_path}/tmp/.* cannot be written"):
            export(tmp_path / "out", Form.PARQUET)
        gc.collect()
        assert os.listdir(tmp_path / "tmp") == []
    assert partials(tmp_path / "out") == []


def test_a_place_where_nothing_may_be_put_is_the_user_s_to_change(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    destination = FolderDestination(tmp_path / "file" / "below")
    with pytest.raises(BadInput, match="choose another place"):
        destination.write("name", b"content")
    with pytest.raises(BadInput, match="choose another place"):
        FolderDestination(tmp_path).write("n" * 300, b"content")

"""What a row names reaches storage where it is a picture, and nothing else does."""

import os
from pathlib import Path

import pytest

from posemill.contract.identity import sha256
from posemill.contract.keys import source_key
from producer.sources.intake import Intake
from producer.sources.rows import Candidate, Row
from tests.small_pictures import picture


class Uploads:
    """Takes what it is given."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    def head(self, key):
        return None

    def put_if_absent(self, key, content):
        self.objects[key] = content


@pytest.mark.timeout(20)
def test_only_pictures_below_the_allowed_folders_are_uploaded(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.png").write_bytes(picture())
    (folder / "secret.png").write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "outside.png").write_bytes(picture(1))
    (folder / "endless.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    names = ("good.png", "secret.png", "link.png", "endless.png", "pipe.png", "../outside.png", "/etc/passwd")
    candidates = [Candidate(name=name, path=folder / name, folders=(folder,)) for name in names]
    store = Uploads()
    taken = list(Intake(store).take(iter([Row(place=one.name, source=one) for one in candidates])))
    assert [one.row.place for one in taken if one.error is None] == ["good.png"]
    assert store.objects == {source_key(sha256(picture())): picture()}

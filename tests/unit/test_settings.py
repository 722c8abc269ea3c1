"""Secrets that are handed over as files."""

import os
from pathlib import Path

import pytest

from posemill.errors import BadInput
from posemill.settings import load_settings, secrets_in_files


def test_a_secret_is_read_from_the_file_that_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "url").write_text("redis://:secret@h:6379/0\n")
    monkeypatch.setattr(os, "environ", {"POSEMILL_REDIS_URL_FILE": str(tmp_path / "url")})
    assert load_settings().redis_url.get_secret_value() == "redis://:secret@h:6379/0"


def test_boto3_s_and_the_hub_s_secrets_come_from_files_as_well(tmp_path: Path) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN")
    for name in names:
        (tmp_path / name).write_text(f"{name}'s")
    found = secrets_in_files({f"{name}_FILE": str(tmp_path / name) for name in names})
    assert found == {name: f"{name}'s" for name in names}


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff"], ids=["missing", "no text"])
def test_a_file_that_cannot_be_read_is_named_and_nothing_of_it_told(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match=r"HF_TOKEN_FILE: .*token cannot be read"):
        secrets_in_files({"HF_TOKEN_FILE": str(path)})


def test_a_secret_given_twice_is_refused_unless_both_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "t").write_text("one")
    given = {"HF_TOKEN_FILE": str(tmp_path / "t")}
    assert secrets_in_files(given | {"HF_TOKEN": "one"}) == {"HF_TOKEN": "one"}
    with pytest.raises(BadInput, match="HF_TOKEN and HF_TOKEN_FILE are both set") as told:
        secrets_in_files(given | {"HF_TOKEN": "two"})
    assert "two" not in str(told.value)

"""Which local folders a worker may load models from."""

from pathlib import Path

import pytest

from posemill.errors import RunFault
from workers.model_folders import require_allowed_folders


def test_a_model_below_an_allowed_folder_a_hub_id_and_a_shipped_model_are_allowed(tmp_path: Path) -> None:
    model = tmp_path / "models" / "mine"
    model.mkdir(parents=True)
    require_allowed_folders([str(model), "owner/name", "embedded:embedded"], f"/nowhere:{tmp_path / 'models'}")


@pytest.mark.parametrize("way_out", ["other", "models/../other", "models/link"])
def test_a_local_model_elsewhere_is_a_fault_of_the_run(tmp_path: Path, way_out: str) -> None:
    for folder in ("models", "other"):
        (tmp_path / folder).mkdir()
    (tmp_path / "models" / "link").symlink_to(tmp_path / "other")
    with pytest.raises(RunFault, match="POSEMILL_MODEL_FOLDERS"):
        require_allowed_folders([str(tmp_path / way_out)], str(tmp_path / "models"))


def test_without_a_setting_any_folder_is_allowed(tmp_path: Path) -> None:
    require_allowed_folders([str(tmp_path)], "")


def test_a_single_file_elsewhere_is_a_fault_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunFault, match="POSEMILL_MODEL_FOLDERS"):
        require_allowed_folders(["base.safetensors"], str(tmp_path / "models"))

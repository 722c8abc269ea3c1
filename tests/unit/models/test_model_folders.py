"""Which local folders a worker may load models from."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posemill.catalogue.models import local_path
from posemill.contract.specs import ControlNetSpec, DetectSpec, GenerateSpec, LoraSpec
from posemill.errors import RecipeError, RunFault
from workers.models.model_folders import ModelFolders

WAYS_OUT = ["other", "models/../other", "models/link", "models/mine/../../other", "models/holds_link", "models/deep",
            "models/circle"]  # fmt: skip
EMBEDDED_WAYS_OUT = ["embedded:/etc", "embedded:../..", "embedded:embedded/../../..", "embedded:", "embedded:."]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An allowed folder with a model, and ways out of it."""
    for folder in ("models/mine", "models/holds_link/unet", "other/nothing"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "other" / "base.safetensors").write_bytes(b"")
    (tmp_path / "models" / "link").symlink_to(tmp_path / "other")
    (tmp_path / "models" / "holds_link" / "unet" / "w").symlink_to(tmp_path / "other" / "base.safetensors")
    (tmp_path / "models" / "circle").symlink_to(tmp_path / "models" / "circle")
    (tmp_path / "models" / "deep").mkdir()
    (tmp_path / "models" / "deep" / "inner").symlink_to(tmp_path / "models" / "holds_link")
    (tmp_path / "models" / "mine" / "round").symlink_to(tmp_path / "models" / "mine")
    return tmp_path / "models"


def generate(model: Path | str, **changes: object) -> GenerateSpec:
    return GenerateSpec(
        **{"model": "m", "base": str(model), "controlnets": (ControlNetSpec(controlnet="owner/net"),), **changes}
    )


def test_a_model_below_an_allowed_folder_a_hub_id_and_a_shipped_model_are_allowed(models: Path) -> None:
    folders = ModelFolders.of(f"/nowhere:{models}")
    assert folders.place(str(models / "mine")) == str(models / "mine")
    assert folders.place("owner/na.me-2") == "owner/na.me-2"
    assert folders.place("embedded:embedded/controlnet") == local_path("embedded:embedded/controlnet")


@pytest.mark.parametrize("way_out", WAYS_OUT)
def test_a_local_model_elsewhere_is_a_fault_of_the_run(tmp_path: Path, models: Path, way_out: str) -> None:
    with pytest.raises(RunFault, match="POSEMILL_MODEL_FOLDERS"):
        ModelFolders.of(str(models)).place(str(tmp_path / way_out))


@pytest.mark.parametrize("model", EMBEDDED_WAYS_OUT)
def test_a_shipped_model_s_name_leads_nowhere_else_with_and_without_a_setting(models: Path, model: str) -> None:
    for setting in ("", str(models)):
        with pytest.raises(RunFault, match="shipped"):
            ModelFolders.of(setting).place(model)
    with pytest.raises(RecipeError, match="shipped"):
        local_path(model)


@pytest.mark.parametrize("field", ["base", "controlnets", "vae", "base_config", "lora"])
@pytest.mark.parametrize("model", ["{}/other", "{}/models/link", "embedded:../..", "../other"])
def test_every_part_of_a_pipeline_is_judged(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, field: str, model: str
) -> None:
    monkeypatch.chdir(models)
    way_out = model.format(tmp_path)
    changes: dict[str, object] = {field: way_out}
    if field == "lora":
        changes = {"loras": (LoraSpec(lora=way_out),)}
    if field == "controlnets":
        changes = {"controlnets": (ControlNetSpec(controlnet=str(models / "mine")), ControlNetSpec(controlnet=way_out))}
    with pytest.raises(RunFault, match=r"POSEMILL_MODEL_FOLDERS|shipped"):
        ModelFolders.of(str(models)).of_generate(generate(models / "mine", **changes))


@pytest.mark.parametrize("file", ["../other/base.safetensors", "/etc/passwd", "a/../../b", "..", "a\\..\\b"])
@pytest.mark.parametrize("lora", ["owner/name", "{}/mine"])
def test_an_adapter_s_file_lies_in_its_folder_or_repository(models: Path, lora: str, file: str) -> None:
    wanted = (LoraSpec(lora=lora.format(models), file=file),)
    for setting in ("", str(models)):
        with pytest.raises(RunFault, match="leads out of"):
            ModelFolders.of(setting).of_generate(generate(models / "mine", loras=wanted))


def test_a_detector_s_weights_are_judged_too(tmp_path: Path, models: Path) -> None:
    with pytest.raises(RunFault, match="POSEMILL_MODEL_FOLDERS"):
        ModelFolders.of(str(models)).of_detect(DetectSpec(detector="openpose", weights=str(tmp_path / "other")))


def test_a_path_that_is_not_there_yet_is_no_hub_id(models: Path) -> None:
    for path in ("./later", "../later", "/later", "~/later", "a/b/c"):
        with pytest.raises(RunFault, match="POSEMILL_MODEL_FOLDERS"):
            ModelFolders.of(str(models)).place(path)


def test_without_a_setting_any_folder_is_allowed(tmp_path: Path) -> None:
    assert ModelFolders.of("").place(str(tmp_path)) == str(tmp_path)


def test_a_single_file_elsewhere_is_a_fault_too(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(RunFault, match="POSEMILL_MODEL_FOLDERS"):
        ModelFolders.of(str(models)).place("base.safetensors")


@given(model=st.text(st.sampled_from("ab./:~\\\0 "), max_size=12) | st.text(max_size=8), embedded=st.booleans())
def test_whatever_a_recipe_names_is_a_hub_id_lies_below_an_allowed_folder_or_is_refused(
    model: str, embedded: bool
) -> None:
    allowed = Path(__file__).parent
    try:
        place = ModelFolders.of(str(allowed)).place(f"embedded:{model}" if embedded else model)
    except RunFault:
        return
    shipped = Path(local_path("embedded:x")).parent
    is_hub_id = not embedded and place == model and not Path(model).exists() and not model.startswith(("/", "."))
    assert is_hub_id or any(Path(place).resolve().is_relative_to(folder) for folder in (allowed, shipped))

"""`posemill models` lists what is here, and `models pull` fetches what a recipe's workers load."""

import json
import sys

import pytest

from producer.cli import main as cli
from tests.small_pictures import picture

FILES = {
    "config.json": b"{}",
    "diffusion_pytorch_model.safetensors": b"1" * 5000,
    "diffusion_pytorch_model.fp16.safetensors": b"2" * 2500,
    "diffusion_pytorch_model.bin": b"3" * 5000,
}
BASE = {"model_index.json": json.dumps({"unet": ["diffusers", "UNet2DConditionModel"]}).encode(),
        **{f"unet/{name}": content + b"." for name, content in FILES.items()}}  # fmt: skip
RECIPE = """
sources: photos
prompts: [p]
detect: {detector: hed, weights: lllyasviel/Annotators}
generate: {base: owner/base, controlnet: owner/net}
"""


@pytest.fixture
def call(monkeypatch, capfd):
    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["posemill", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


@pytest.fixture
def recipe(tmp_path, monkeypatch, hub):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POSEMILL_DTYPE", "float32")
    (tmp_path / "r.yaml").write_text(RECIPE)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.png").write_bytes(picture())
    hub.add("owner/net", FILES)
    hub.add("owner/base", BASE)
    hub.add("lllyasviel/Annotators", {"ControlNetHED.pth": b"4" * 3000, "facenet.pth": b"5" * 3000})
    return "r.yaml"


def test_pull_fetches_what_the_workers_load_and_a_second_time_nothing(hub, recipe, call):
    code, out, _ = call("models", "pull", recipe)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["lllyasviel/Annotators", "owner/base", "owner/net"]
    large = [request for request in hub.requests if request.path.startswith("/blobs/")]
    assert len(large) == 3
    assert hub.downloads("lllyasviel/Annotators") == ["ControlNetHED.pth"]
    assert call("models", "pull", recipe, "--json")[0] == 0
    assert [request for request in hub.requests if request.path.startswith("/blobs/")] == large


def test_for_workers_in_half_precision_the_variant_is_pulled(hub, recipe, call, monkeypatch):
    monkeypatch.setenv("POSEMILL_DTYPE", "float16")
    _, out, _ = call("models", "pull", recipe, "--json")
    assert {each["model"]: each["variant"] for each in json.loads(out)} == {
        "lllyasviel/Annotators": None, "owner/base": "fp16", "owner/net": "fp16",
    }  # fmt: skip
    assert hub.downloads("owner/net") == ["config.json", "diffusion_pytorch_model.fp16.safetensors"]


def test_what_was_pulled_is_listed_with_its_size_and_commit(hub, recipe, call):
    assert "cache on this machine is empty" in call("models")[1]
    call("models", "pull", recipe)
    held = {each["model"]: each for each in json.loads(call("models", "--json")[1])["cached"]}
    assert held["owner/net"]["commits"] == [hub.repositories["owner/net"].newest]
    assert held["owner/net"]["size_bytes"] == 5002
    out = call("models")[1]
    assert "sd15-openpose" in out
    assert "owner/net" in out


def test_a_model_that_is_not_there_ends_a_pull_as_a_mistake_of_the_recipe(hub, recipe, call):
    code, _, err = call("models", "pull", recipe, "--set", "generate.controlnet=owner/nothing")
    assert code == 2
    assert "owner/nothing is not on the Hub" in err

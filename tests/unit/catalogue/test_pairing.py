"""A ControlNet of another family is refused before anything is submitted, where the files are at hand."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from posemill.catalogue.pairing import local_base, local_controlnet, mismatch
from posemill.errors import RecipeError
from posemill.settings import Settings
from producer.submitting.rehearsal import rehearse
from tests.small_pictures import picture

KEY = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"


def folder(path, *, width: int, part: str = ""):
    (path / part).mkdir(parents=True)
    (path / part / "config.json").write_text(json.dumps({"cross_attention_dim": width}))
    return str(path)


def single_file(path, *, width: int):
    save_file({"a": np.zeros(1, np.float32), KEY: np.zeros((2, width), np.float32)}, path)
    return str(path)


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (768, 768, None),
        (768, 2048, "for Stable Diffusion XL, the base is Stable Diffusion 1"),
        (1024, 768, "for Stable Diffusion 1, the base is Stable Diffusion 2"),
        (32, 64, "64 wide"),
        (None, 768, None),
        ([768, 768], 768, None),
    ],
)
def test_families_are_told_apart_by_the_width_of_their_text_embeddings(ours, theirs, says):
    found = mismatch({"cross_attention_dim": ours}, {"cross_attention_dim": theirs})
    assert found is None if says is None else says in found


@pytest.mark.parametrize("make", [lambda path: folder(path, width=768, part="unet"),
                                  lambda path: single_file(path.with_suffix(".safetensors"), width=768)])  # fmt: skip
def test_a_wrong_pairing_is_refused_by_a_dry_run(tmp_path, make):
    (tmp_path / "a.png").write_bytes(picture())
    recipe = {
        "sources": str(tmp_path / "a.png"),
        "prompts": ["p"],
        "generate": {"base": make(tmp_path / "base"), "controlnet": folder(tmp_path / "xl", width=2048)},
        "detect": {"detector": "canny"},
    }
    with pytest.raises(
        RecipeError, match=r"xl cannot be used with .*base.*: the ControlNet is for Stable Diffusion XL"
    ):
        rehearse(recipe, settings=Settings())
    recipe["generate"]["controlnet"] = folder(tmp_path / "sd1", width=768)
    assert rehearse(recipe, settings=Settings()).items == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\x00"])
def test_a_configuration_that_cannot_be_read_speaks_against_nothing(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    (tmp_path / "base.safetensors").write_bytes(content)
    assert local_controlnet(str(tmp_path), None) is None
    assert local_base(str(tmp_path / "base.safetensors"), None) is None
    assert local_base("nobody/has-this", "0" * 40) is None


def test_a_pickled_checkpoint_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    (tmp_path / "model.ckpt").write_bytes(b"pickle")
    generate = {"base": str(tmp_path / "model.ckpt"), "controlnet": folder(tmp_path / "net", width=768)}
    with pytest.raises(RecipeError, match="pickled checkpoints are not loaded"):
        rehearse({"sources": str(tmp_path / "a.png"), "prompts": ["p"], "generate": generate,
                  "detect": {"detector": "canny"}}, settings=Settings())  # fmt: skip

"""Of all that a repository holds, the files that are loaded are chosen: one form of each part, and never two."""

import pytest

from posemill.errors import RunFault
from posemill.hub.choosing import FULL, Wishes, choose_adapter, choose_network, choose_pipeline

SD15_INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.6.0",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
    "image_encoder": [None, None],
}
ROOT = ["README.md", "v1-5-pruned.ckpt", "v1-5-pruned.safetensors", "v1-5-pruned-emaonly.safetensors",
        "v1-inference.yaml", "model_index.json"]  # fmt: skip
SMALL = ["feature_extractor/preprocessor_config.json", "safety_checker/config.json", "scheduler/scheduler_config.json",
         "text_encoder/config.json", "tokenizer/merges.txt", "tokenizer/vocab.json", "tokenizer/tokenizer_config.json",
         "tokenizer/special_tokens_map.json", "unet/config.json", "vae/config.json"]  # fmt: skip
LOADED = sorted({"model_index.json", *SMALL} - {"safety_checker/config.json"})
FORMS = ("fp16.safetensors", "safetensors", "fp16.bin", "bin", "non_ema.safetensors", "non_ema.bin")


def weights(*forms: str) -> list[str]:
    transformers = [f"{part}/{'pytorch_model' if form.endswith('bin') else 'model'}.{form}"
                    for part in ("text_encoder", "safety_checker") for form in forms if "ema" not in form]  # fmt: skip
    diffusers = [f"{part}/diffusion_pytorch_model.{form}" for part in ("unet", "vae") for form in forms
                 if part == "unet" or "ema" not in form]  # fmt: skip
    return [*transformers, *diffusers, "vae/openvino_model.bin", "unet/model.onnx", "unet/flax_model.msgpack"]


SD15 = [*ROOT, *SMALL, *weights(*FORMS)]


def chosen(files: list[str] = SD15, without: tuple[str, ...] = ("safety_checker",), **wishes):
    return choose_pipeline("owner/base", files, SD15_INDEX, Wishes(**wishes), without)


@pytest.mark.parametrize(
    ("wishes", "form", "variant"),
    [
        pytest.param({"half": False}, "safetensors", None, id="float32"),
        pytest.param({"half": True}, "fp16.safetensors", "fp16", id="half precision"),
        pytest.param({"half": True, "variant": FULL}, "safetensors", None, id="half, but full files wanted"),
        pytest.param({"half": False, "variant": "fp16"}, "fp16.safetensors", "fp16", id="float32 from fp16"),
        pytest.param(
            {"half": True, "allow_pickle": True}, "fp16.safetensors", "fp16", id="pickles are the last resort"
        ),
    ],
)
def test_of_stable_diffusion_s_repository_one_file_for_each_part_is_taken(wishes, form, variant):
    choice = chosen(**wishes)
    expected = [
        f"unet/diffusion_pytorch_model.{form}",
        f"vae/diffusion_pytorch_model.{form}",
        f"text_encoder/model.{form}",
    ]
    assert sorted(choice.files) == sorted([*LOADED, *expected])
    assert (choice.variant, choice.pickled) == (variant, ())


def test_the_safety_checker_comes_only_where_it_is_wanted():
    more = set(chosen(without=()).files) - set(chosen().files)
    assert more == {"safety_checker/config.json", "safety_checker/model.safetensors"}


def test_a_part_without_the_variant_is_taken_as_it_is():
    files = [name for name in SD15 if not name.startswith("vae/") or "fp16" not in name]
    choice = chosen(files, half=True)
    assert {"vae/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"} <= set(
        choice.files
    )
    assert choice.variant == "fp16"


def test_a_variant_of_one_part_alone_leaves_the_others_as_they_are():
    choice = chosen(variant="non_ema")
    assert "unet/diffusion_pytorch_model.non_ema.safetensors" in choice.files
    assert "vae/diffusion_pytorch_model.safetensors" in choice.files


def test_a_repository_of_half_precision_alone_serves_float32_too():
    assert chosen([*ROOT, *SMALL, *weights("fp16.safetensors")]).variant == "fp16"


def test_a_variant_that_is_not_there_is_a_fault_that_names_those_that_are():
    with pytest.raises(RunFault, match=r"owner/base has no variant 'bf16' .*\(there are: fp16, non_ema\)"):
        chosen(variant="bf16")


def test_pickles_alone_are_refused_with_the_mend_and_taken_where_the_recipe_allows_them():
    files = [*ROOT, *SMALL, *weights("bin", "fp16.bin")]
    with pytest.raises(RunFault, match=r"owner/base has no safetensors weights in .*/, but .*allow_pickle: true"):
        chosen(files)
    choice = chosen(files, allow_pickle=True)
    assert sorted(choice.pickled) == [
        "text_encoder/pytorch_model.bin", "unet/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.bin",
    ]  # fmt: skip


def test_shards_are_taken_all_with_their_index_or_not_at_all():
    parts = ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"]
    index = "diffusion_pytorch_model.safetensors.index.json"
    half = [name.replace("model-", "model.fp16-") for name in parts]
    half_index = "diffusion_pytorch_model.safetensors.index.fp16.json"
    files = ["config.json", *parts, index, *half, half_index, "diffusion_pytorch_model.bin"]
    assert choose_network("o/n", files, Wishes()).files == ("config.json", *parts, index)
    assert choose_network("o/n", files, Wishes(half=True)).files == ("config.json", *half, half_index)
    with pytest.raises(RunFault, match="no safetensors"):
        choose_network("o/n", [*files[:2], index], Wishes())


def test_of_a_controlnet_s_repository_only_the_network_of_its_name_is_taken():
    files = ["config.json", "README.md", "diffusion_pytorch_model.safetensors", "images/model.safetensors",
             "diffusion_pytorch_model_twins.safetensors", "diffusion_pytorch_model.bin"]  # fmt: skip
    assert choose_network("o/n", files, Wishes(half=True)).files == (
        "config.json",
        "diffusion_pytorch_model.safetensors",
    )


def test_an_adapter_is_one_file_and_where_several_could_be_meant_it_is_asked_for():
    assert choose_adapter("o/l", ["README.md", "style.safetensors"], None).files == ("style.safetensors",)
    assert choose_adapter("o/l", ["a.safetensors", "pytorch_lora_weights.safetensors"], None).files == (
        "pytorch_lora_weights.safetensors",
    )
    assert choose_adapter("o/l", ["a.safetensors", "b.safetensors"], "b.safetensors").files == ("b.safetensors",)
    with pytest.raises(RunFault, match=r"a\.safetensors, b\.safetensors.*name it by `file:`"):
        choose_adapter("o/l", ["a.safetensors", "b.safetensors"], None)
    with pytest.raises(RunFault, match=r"o/l has no file c\.safetensors"):
        choose_adapter("o/l", ["a.safetensors"], "c.safetensors")

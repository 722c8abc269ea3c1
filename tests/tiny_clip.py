"""CLIP networks of a few numbers: the true classes and the true files, random weights."""

from pathlib import Path

import safetensors.torch
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.tiny_model import _tokenizer

_VISION = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4,
           "image_size": 30, "patch_size": 10, "projection_dim": 16}  # fmt: skip


def write_tiny_clip(folder: Path) -> Path:
    """As openai/clip-vit-base-patch32."""
    torch.manual_seed(5)
    tokenizer = _tokenizer(folder)
    text = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4,
            "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id}  # fmt: skip
    CLIPModel(_config(text_config=text)).eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return _with_processor(folder)


def write_tiny_aesthetic(folder: Path) -> Path:
    """As the predictors of shunk031: a vision network, and a linear head in the same file."""
    torch.manual_seed(6)
    CLIPVisionModelWithProjection(CLIPVisionConfig(**_VISION)).eval().save_pretrained(folder)
    path = folder / "model.safetensors"
    state = safetensors.torch.load_file(path)
    head = {"predictor.weight": torch.randn(1, 16), "predictor.bias": torch.tensor([5.0])}
    safetensors.torch.save_file(state | head, path, metadata={"format": "pt"})
    return _with_processor(folder)


def write_tiny_safety_checker(folder: Path, *, strict: bool = False) -> Path:
    """As CompVis/stable-diffusion-safety-checker; `strict`: nothing is safe."""
    torch.manual_seed(7)
    checker = StableDiffusionSafetyChecker(_config())
    checker.concept_embeds_weights.data.fill_(-2.0 if strict else 2.0)
    checker.special_care_embeds_weights.data.fill_(2.0)
    checker.eval().save_pretrained(folder)
    return _with_processor(folder)


def _config(**more: dict[str, int]) -> CLIPConfig:
    return CLIPConfig(vision_config=_VISION, projection_dim=16, **more)


def _with_processor(folder: Path) -> Path:
    CLIPImageProcessor(size={"shortest_edge": 30}, crop_size={"height": 30, "width": 30}).save_pretrained(folder)
    return folder

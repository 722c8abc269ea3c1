"""Pipelines of the real classes with tiny random weights, written in diffusers' layout."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    PNDMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import convert_state_dict_to_diffusers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

BLOCKS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
}


def write_tiny_model(folder: Path, *, seed: int = 7) -> Path:
    """The folder holds the base; folder/controlnet the ControlNet."""
    return _write(folder, seed=seed, blocks=BLOCKS)


def write_tiny_sd2(folder: Path) -> Path:
    """As write_tiny_model, with what Stable Diffusion 2.1 does otherwise, the prediction of velocities included."""
    blocks = BLOCKS | {"attention_head_dim": (4, 8), "use_linear_projection": True}
    return _write(
        folder, seed=6, blocks=blocks, text={"hidden_act": "gelu"}, scheduler={"prediction_type": "v_prediction"}
    )


def _write(
    folder: Path, *, seed: int, blocks: dict[str, Any], text: dict[str, Any] | None = None,
    scheduler: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **blocks
    )
    pipe = StableDiffusionControlNetPipeline(
        controlnet=_awake(ControlNetModel(in_channels=4, conditioning_embedding_out_channels=(8, 16, 16), **blocks)),
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config(**(text or {}))),
        tokenizer=_tokenizer(folder),
        unet=unet,
        scheduler=_scheduler(**(scheduler or {})),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def write_tiny_controlnet(folder: Path, seed: int) -> Path:
    """Another ControlNet for the same base."""
    torch.manual_seed(seed)
    _awake(ControlNetModel(in_channels=4, conditioning_embedding_out_channels=(8, 16, 16), **BLOCKS)).save_pretrained(
        folder
    )
    return folder


def write_tiny_sdxl(folder: Path) -> Path:
    """As write_tiny_model, with two text encoders and time ids; the base is saved without its ControlNet."""
    torch.manual_seed(8)
    extra = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 32,
        "use_linear_projection": True,
    }
    blocks = BLOCKS | {"cross_attention_dim": 32 + 48} | extra
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **blocks
    )
    StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(hidden_size=48, projection_dim=32)),
        tokenizer=_tokenizer(folder),
        tokenizer_2=_tokenizer(folder),
        unet=unet,
        scheduler=_scheduler(),
    ).save_pretrained(folder, safe_serialization=True)
    net = ControlNetModel(in_channels=4, conditioning_embedding_out_channels=(8, 16, 16), **blocks)
    _awake(net).save_pretrained(folder / "controlnet")
    return folder


def write_tiny_lora(folder: Path, model: Path) -> Path:
    """A LoRA adapter for the UNet of write_tiny_model's base, strong enough to be seen."""
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    torch.manual_seed(9)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    unet.add_adapter(LoraConfig(r=4, init_lora_weights=False, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    StableDiffusionPipeline.save_lora_weights(
        folder, unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    )
    return folder


def write_tiny_vae(folder: Path) -> Path:
    torch.manual_seed(10)
    _vae().save_pretrained(folder)
    return folder


def _awake(controlnet: ControlNetModel) -> ControlNetModel:
    """Zero as they are made, its last layers would ignore the control image."""
    zero = (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block)
    for layer in (*zero, controlnet.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, std=1.0)
    return controlnet


def _vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8,
        latent_channels=4,
    )


def _text_config(**changes: Any) -> CLIPTextConfig:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return CLIPTextConfig(vocab_size=600, **{**shape, **changes})


def _scheduler(**more: Any) -> PNDMScheduler:
    return PNDMScheduler(num_train_timesteps=1000, beta_schedule="scaled_linear", skip_prk_steps=True, **more)


def _tokenizer(folder: Path) -> CLIPTokenizer:
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    words = folder / "words"
    words.mkdir(parents=True, exist_ok=True)
    (words / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=77)

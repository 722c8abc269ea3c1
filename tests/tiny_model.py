"""A ControlNet pipeline of the real classes with tiny random weights, written in diffusers' layout."""

import json
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    PNDMScheduler,
    StableDiffusionControlNetPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

BLOCKS = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
}


def write_tiny_model(folder: Path) -> Path:
    """The folder holds the base; folder/controlnet the ControlNet."""
    torch.manual_seed(7)
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=4, up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **BLOCKS
    )
    controlnet = ControlNetModel(in_channels=4, conditioning_embedding_out_channels=(8, 16, 16), **BLOCKS)
    zero = (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block)
    for layer in (*zero, controlnet.controlnet_cond_embedding.conv_out):
        torch.nn.init.normal_(layer.weight, std=1.0)  # zero as they are made, they would ignore the control image
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8,
        latent_channels=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    )
    pipe = StableDiffusionControlNetPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=_tokenizer(folder),
        unet=unet,
        controlnet=controlnet,
        scheduler=PNDMScheduler(num_train_timesteps=1000, beta_schedule="scaled_linear", skip_prk_steps=True),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def _tokenizer(folder: Path) -> CLIPTokenizer:
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    words = folder / "words"
    words.mkdir(parents=True, exist_ok=True)
    (words / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=77)

"""A folder in diffusers' layout as one .safetensors file in Stability's: the names that checkpoints of the web have."""

import re
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file

LAYERS = 1  # a block of tests/tiny_model.py
RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip
ENDS = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}  # fmt: skip
OPEN_CLIP = {"text_model.embeddings.position_embedding.weight": "positional_embedding",
             "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
             "text_model.final_layer_norm.weight": "ln_final.weight",
             "text_model.final_layer_norm.bias": "ln_final.bias"}  # fmt: skip
OPEN_CLIP_LAYER = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
                   "self_attn.out_proj": "attn.out_proj"}  # fmt: skip
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def write_single_file(path: Path, folder: Path) -> Path:
    """The folder's UNet, VAE and text encoder in one file."""
    return _write(path, {**_images(folder), **_clip(folder, "cond_stage_model.transformer.")})


def write_single_sdxl_file(path: Path, folder: Path) -> Path:
    """The folder's UNet, VAE and both text encoders in one file, the second as OpenCLIP names it."""
    first = _clip(folder, "conditioner.embedders.0.transformer.")
    return _write(path, {**_images(folder), **first, **_open_clip(folder, "conditioner.embedders.1.model.")})


def _write(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    return path


def _images(folder: Path) -> dict[str, torch.Tensor]:
    """UNet and VAE."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet").state_dict()
    vae = AutoencoderKL.from_pretrained(folder / "vae").state_dict()
    whole = {f"model.diffusion_model.{_unet_name(name)}": value for name, value in unet.items()}
    for name, value in vae.items():
        in_stability = _vae_name(name)
        is_attention = ".attn_1." in in_stability and in_stability.endswith("weight") and value.ndim == 2
        whole[f"first_stage_model.{in_stability}"] = value[:, :, None, None] if is_attention else value
    return whole


def _clip(folder: Path, place: str) -> dict[str, torch.Tensor]:
    text = load_file(folder / "text_encoder" / "model.safetensors")
    wrapped = {name if name.startswith("text_model.") else f"text_model.{name}": each for name, each in text.items()}
    return {f"{place}{name}": value for name, value in wrapped.items()}


def _open_clip(folder: Path, place: str) -> dict[str, torch.Tensor]:
    """Queries, keys and values in one matrix, the projection the other way round."""
    text = load_file(folder / "text_encoder_2" / "model.safetensors")
    whole = {"text_projection": text["text_projection.weight"].T}
    for name, value in text.items():
        if name in OPEN_CLIP:
            whole[OPEN_CLIP[name]] = value
        elif found := re.match(r"text_model\.encoder\.layers\.(\d+)\.(.*)\.(weight|bias)", name):
            layer, part, kind = found.groups()
            if part in OPEN_CLIP_LAYER:
                whole[f"transformer.resblocks.{layer}.{OPEN_CLIP_LAYER[part]}.{kind}"] = value
            elif part == "self_attn.q_proj":
                joint = [text[name.replace("q_proj", f"{each}_proj")] for each in "qkv"]
                whole[f"transformer.resblocks.{layer}.attn.in_proj_{kind}"] = torch.cat(joint)
    return {f"{place}{name}": value for name, value in whole.items()}


def _unet_name(name: str) -> str:
    for ours, theirs in ENDS.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        part, number, rest = found.groups()
        return f"middle_block.{1 if part == 'attentions' else 2 * int(number)}.{_inner(part, rest)}"
    found = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    side, block, part, layer, rest = found.groups()
    if side == "down":
        if part == "downsamplers":
            return f"input_blocks.{(LAYERS + 1) * (int(block) + 1)}.0.op.{rest.removeprefix('conv.')}"
        place = (LAYERS + 1) * int(block) + int(layer) + 1
        return f"input_blocks.{place}.{int(part == 'attentions')}.{_inner(part, rest)}"
    if part == "upsamplers":  # only the first block has one, and it has attention
        return f"output_blocks.{(LAYERS + 1) * int(block) + LAYERS}.2.{rest}"
    return f"output_blocks.{(LAYERS + 1) * int(block) + int(layer)}.{int(part == 'attentions')}.{_inner(part, rest)}"


def _inner(part: str, rest: str) -> str:
    first, _, end = rest.rpartition(".")
    return f"{RESNET[first]}.{end}" if part == "resnets" else rest


def _vae_name(name: str) -> str:
    name = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets\.(\d)", lambda m: f"up.{2 - int(m[1])}.block.{m[2]}", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{2 - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0." in name:
        name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
        for ours, theirs in ATTENTION.items():
            name = name.replace(f"attn_1.{ours}.", f"attn_1.{theirs}.")
    return name

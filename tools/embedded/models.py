"""The architecture: every module's shape, and the pipeline that they make up."""

import torch
from diffusers import (
    AutoencoderTiny,
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tools.embedded.autoencoder import LATENT_CHANNELS

TEXT_WIDTH = 128
EMBEDDING_DEVIATION = 0.3  # large beside the layers' output, so that words differ from the first step
CONTROL_CHANNELS = (16, 32, 64, 96)


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Return an untrained text encoder of three layers."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = CLIPTextModel(config)
    nn.init.normal_(encoder.get_input_embeddings().weight, std=EMBEDDING_DEVIATION)
    return encoder


def build_unet() -> UNet2DConditionModel:
    """Return an untrained UNet for latents of 16x16; widths are multiples of 32 because those are fast."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(64, 128),
        layers_per_block=1,
        norm_num_groups=16,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=2,  # diffusers' name for the number of heads
    )


def build_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """Return a ControlNet for the UNet with live connections.

    Zero convolutions protect a trained UNet; where both learn from scratch they only delay.
    """
    controlnet = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=CONTROL_CHANNELS)
    connections = [controlnet.controlnet_cond_embedding.conv_out, controlnet.controlnet_mid_block]
    for convolution in (*connections, *controlnet.controlnet_down_blocks):
        convolution.reset_parameters()
    return controlnet


def build_scheduler() -> UniPCMultistepScheduler:
    """Return the scheduler: cosine noise down to no signal at all, so flat colours can be learned."""
    return UniPCMultistepScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction", timestep_spacing="trailing"
    )


class Denoiser(nn.Module):
    """UNet and ControlNet, which learn together, and the text encoder, which has learned before."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = build_text_encoder(tokenizer).requires_grad_(False)
        self.unet = build_unet()
        self.controlnet = build_controlnet(self.unet)

    def forward(self, noisy: Tensor, timesteps: Tensor, token_ids: Tensor, control: Tensor) -> Tensor:
        """Return the predicted velocity of noisy latents."""
        text = self.text_encoder(token_ids)[0]
        down, middle = self.controlnet(noisy, timesteps, text, controlnet_cond=control, return_dict=False)
        predicted = self.unet(
            noisy, timesteps, text, down_block_additional_residuals=down, mid_block_additional_residual=middle
        )
        return predicted.sample


def build_pipeline(
    denoiser: Denoiser, autoencoder: AutoencoderTiny, tokenizer: CLIPTokenizer
) -> StableDiffusionControlNetPipeline:
    """Return the pipeline of trained modules, for inference on this machine."""
    pipeline = StableDiffusionControlNetPipeline(
        vae=autoencoder,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        controlnet=denoiser.controlnet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(torch.device("cpu"))

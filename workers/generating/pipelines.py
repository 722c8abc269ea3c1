"""A resident pipeline: how it is called, and how it is placed on its device."""

import gc
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posemill.contract.specs import GenerateSpec
from posemill.errors import OutOfMemory, RunFault
from workers.generating.compiling import compile_networks, filled
from workers.generating.long_prompts import chunks_needed, is_too_long
from workers.generating.model_loading import Models
from workers.generating.pipeline_calls import Call, Pictures
from workers.generating.text_embeddings import TextEmbeddings
from workers.models.hub_models import on_disk
from workers.models.loading import loading
from workers.models.model_folders import ModelFolders
from workers.models.placement import Placement

log = logging.getLogger(__name__)


class DiffusersPipeline:
    """A resident pipeline; to be called by one thread at a time."""

    def __init__(self, pipe: Any, base: Any, placement: Placement, revisions: dict[str, Any]) -> None:
        self._pipe = pipe
        self._base = base  # held, because other pipelines may share it
        self._texts = TextEmbeddings(pipe)
        self._compiled = placement.compiled
        self.made_with: dict[str, object] = {
            "device": placement.device,
            "dtype": placement.dtype,
            "compiled": placement.compiled,
            "revisions": revisions,
        }

    def __call__(self, call: Call, spec: GenerateSpec) -> Pictures:
        """Make one image for each prompt. Raises OutOfMemory when the device cannot hold so many."""
        count = len(call.prompts)
        output = self._try(filled(call) if self._compiled else call, spec)
        if output is None:
            raise OutOfMemory(f"{count} images of {call.size} do not fit on the device")
        unsafe = getattr(output, "nsfw_content_detected", None) or [False] * count
        truncates = spec.long_prompts == "truncate"
        return Pictures(
            pixels=np.asarray(output.images[:count], dtype=np.float32),
            unsafe=[bool(flag) for flag in unsafe[:count]],
            truncated=[truncates and is_too_long(self._pipe.tokenizer, prompt) for prompt in call.prompts],
        )

    def _try(self, call: Call, spec: GenerateSpec) -> Any:
        """The pipeline's output; None when the device cannot hold it, decoded one by one either."""
        try:
            return self._run(call, spec)
        except torch.OutOfMemoryError as error:
            log.warning("Out of memory: %s", error)
        torch.cuda.empty_cache()  # only here: inside the handler the traceback still holds the tensors
        return self._try(call, spec) if self._slice_decoding() else None

    @torch.inference_mode()
    def _run(self, call: Call, spec: GenerateSpec) -> Any:
        return self._pipe(
            **self._prompts(call, chunked=spec.long_prompts == "chunk"),
            image=self._images(call),
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in call.seeds],
            width=call.size[0],
            height=call.size[1],
            num_inference_steps=spec.num_inference_steps,
            guidance_scale=spec.guidance_scale,
            **_strengths(spec),
            output_type="np",
        )

    def _images(self, call: Call) -> Any:
        """The control images: pictures for one ControlNet; for several a tensor each, which all pipelines take."""
        if len(call.controls) == 1:
            return list(call.controls[0])
        prepare, (width, height) = self._pipe.control_image_processor.preprocess, call.size
        return [prepare(list(images), height=height, width=width) for images in call.controls]

    def _prompts(self, call: Call, *, chunked: bool) -> dict[str, Any]:
        """The pipeline's arguments for the prompts, as embeddings."""
        texts = [*call.prompts, *call.negative_prompts]
        chunks = chunks_needed(self._pipe.tokenizer, texts) if chunked else 1
        prompts = self._texts.of(call.prompts, chunks=chunks)
        negative = self._texts.negative(call.negative_prompts, chunks=chunks)
        embedded = {"prompt_embeds": prompts.tokens, "negative_prompt_embeds": negative.tokens}
        if prompts.pooled is None:
            return embedded
        return embedded | {"pooled_prompt_embeds": prompts.pooled, "negative_pooled_prompt_embeds": negative.pooled}

    def _slice_decoding(self) -> bool:
        """Decode pictures one by one from now on; False when that is so already."""
        if self._pipe.vae.use_slicing:
            return False
        self._pipe.vae.enable_slicing()
        log.warning("Pictures are decoded one by one from now on")
        return True


def _strengths(spec: GenerateSpec) -> dict[str, Any]:
    """How strongly and how long each ControlNet has a say: a number for one, lists for several."""
    names = ("controlnet_conditioning_scale", "control_guidance_start", "control_guidance_end")
    if len(spec.controlnets) == 1:
        return {name: getattr(spec.controlnets[0], name) for name in names}
    return {name: [float(getattr(net, name)) for net in spec.controlnets] for name in names}


class Loader:
    """Makes pipelines of specs; those that have models in common share them."""

    def __init__(self, placement: Placement, folders: ModelFolders | None = None) -> None:
        self._placement = placement
        self._folders = folders or ModelFolders.of("")
        self._models = Models(placement.torch_dtype)
        self._half = placement.is_half

    def load(self, spec: GenerateSpec) -> DiffusersPipeline:
        """Models from the hub, from folders in diffusers' layout or single files, safetensors only.

        Raises RunFault when they cannot be loaded, do not belong together or lie outside the allowed folders, and what
        `loading` lets pass.
        """
        placed = self._folders.of_generate(spec)
        with loading(f"the model {spec.model!r}"):
            placed = on_disk(placed, half=self._half)
            pipe, base = self._models.pipeline(placed)
            if spec.long_prompts == "chunk" and hasattr(pipe, "text_encoder_2"):
                raise RunFault(f"{spec.base} has two text encoders; prompts cannot be chunked: long_prompts: truncate")
            _place(pipe, self._placement)
            loaded = DiffusersPipeline(pipe, base, self._placement, _revisions(pipe, spec))
            loaded.made_with |= self._models.variants(placed)
            return loaded

    @property
    def shares(self) -> bool:
        """Whether a second pipeline may be kept: offloading moves a model about for one pipeline alone."""
        return not self._placement.cpu_offload

    def free_bytes(self) -> int:
        """Memory of the device that is free by now."""
        gc.collect()
        return self._placement.free_bytes()


def load_pipeline(spec: GenerateSpec, placement: Placement) -> DiffusersPipeline:
    """A pipeline that shares nothing."""
    return Loader(placement).load(spec)


def _place(pipe: Any, placement: Placement) -> None:
    pipe.set_progress_bar_config(disable=True)
    _use_attention(pipe, placement.attention)
    if placement.vae_slicing:
        pipe.vae.enable_slicing()
    if placement.channels_last:
        _use_channels_last(pipe)
    if placement.cpu_offload:
        pipe.enable_model_cpu_offload(device=placement.device)
    else:
        pipe.to(placement.device)
    if placement.compiled:
        compile_networks(pipe)


def _revisions(pipe: Any, spec: GenerateSpec) -> dict[str, Any]:
    """The commits that were loaded, as far as they can be told; else what the run was pinned to."""
    nets = getattr(pipe.controlnet, "nets", [pipe.controlnet])
    found = [_revision(net) or wanted.controlnet_revision for net, wanted in zip(nets, spec.controlnets, strict=True)]
    return {"base": _revision(pipe) or spec.base_revision, "controlnets": found}


def _revision(loaded: Any) -> str | None:
    """The commit that was loaded, where the hub's cache tells it by its folder's name."""
    path = Path(str(getattr(loaded, "name_or_path", "") or loaded.config.get("_name_or_path", "")))
    return path.name if path.parent.name == "snapshots" else None


def _use_attention(pipe: Any, attention: str) -> None:
    """xformers where it is installed, PyTorch's own (diffusers' default) otherwise."""
    if attention == "sdpa":
        return
    try:
        pipe.enable_xformers_memory_efficient_attention()
    except (ImportError, ModuleNotFoundError, ValueError) as error:
        if attention == "xformers":
            raise RunFault("POSEMILL_ATTENTION=xformers, but xformers is not usable here; install it") from error
        log.info("Attention is PyTorch's own")


def _use_channels_last(pipe: Any) -> None:
    for network in (pipe.unet, pipe.controlnet, pipe.vae):
        network.to(memory_format=torch.channels_last)

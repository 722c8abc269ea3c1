"""diffusers' ControlNet pipeline: the only file that imports diffusers."""

import logging
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

from posemill.errors import OutOfMemory, RunFault
from posemill.models import SchedulerName, local_path
from posemill.specs import GenerateSpec
from workers.calls import Call, Pictures
from workers.compiling import compile_networks, filled
from workers.long_prompts import chunks_needed, is_too_long
from workers.placement import Placement
from workers.text_embeddings import TextEmbeddings

log = logging.getLogger(__name__)

SCHEDULERS = {
    SchedulerName.UNIPC: diffusers.UniPCMultistepScheduler,
    SchedulerName.DDIM: diffusers.DDIMScheduler,
    SchedulerName.EULER: diffusers.EulerDiscreteScheduler,
    SchedulerName.EULER_A: diffusers.EulerAncestralDiscreteScheduler,
    SchedulerName.DPMPP_2M: diffusers.DPMSolverMultistepScheduler,
    SchedulerName.LCM: diffusers.LCMScheduler,
}


class DiffusersPipeline:
    """A resident pipeline; to be called by one thread at a time."""

    def __init__(self, pipe: Any, placement: Placement, revisions: dict[str, str | None]) -> None:
        self._pipe = pipe
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
            image=list(call.controls),
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in call.seeds],
            width=call.size[0],
            height=call.size[1],
            num_inference_steps=spec.num_inference_steps,
            guidance_scale=spec.guidance_scale,
            controlnet_conditioning_scale=spec.controlnet_conditioning_scale,
            output_type="np",
        )

    def _prompts(self, call: Call, *, chunked: bool) -> dict[str, Any]:
        """The pipeline's arguments for the prompts, as embeddings."""
        texts = [*call.prompts, *call.negative_prompts]
        chunks = chunks_needed(self._pipe.tokenizer, texts) if chunked else 1
        return {
            "prompt_embeds": self._texts.of(call.prompts, chunks=chunks),
            "negative_prompt_embeds": self._texts.of(call.negative_prompts, chunks=chunks),
        }

    def _slice_decoding(self) -> bool:
        """Decode pictures one by one from now on; False when that is so already."""
        if self._pipe.vae.use_slicing:
            return False
        self._pipe.vae.enable_slicing()
        log.warning("Pictures are decoded one by one from now on")
        return True


def load_pipeline(spec: GenerateSpec, placement: Placement) -> DiffusersPipeline:
    """Load a base and its ControlNet from the hub or from folders in diffusers' layout, safetensors only.

    Raises RunFault when they cannot be loaded.
    """
    try:
        controlnet, base = _load(spec, placement.torch_dtype)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise RunFault(f"the model {spec.model!r} cannot be loaded: {' '.join(str(error).split())[:500]}") from error
    base.scheduler = SCHEDULERS[SchedulerName(spec.scheduler)].from_config(base.scheduler.config)
    base.set_progress_bar_config(disable=True)
    _use_attention(base, placement.attention)
    if placement.vae_slicing:
        base.vae.enable_slicing()
    if placement.channels_last:
        _use_channels_last(base)
    if placement.cpu_offload:
        base.enable_model_cpu_offload(device=placement.device)
    else:
        base.to(placement.device)
    if placement.compiled:
        compile_networks(base)
    revisions = {"base": _revision(base) or spec.base_revision,
                 "controlnet": _revision(controlnet) or spec.controlnet_revision}  # fmt: skip
    return DiffusersPipeline(base, placement, revisions)


def _load(spec: GenerateSpec, dtype: torch.dtype) -> tuple[Any, Any]:
    controlnet = ControlNetModel.from_pretrained(
        local_path(spec.controlnet),
        torch_dtype=dtype,
        use_safetensors=True,
        **_hub_revision(spec.controlnet, spec.controlnet_revision),
    )
    checker: dict[str, Any] = {} if spec.safety_checker else {"safety_checker": None}
    base = StableDiffusionControlNetPipeline.from_pretrained(
        local_path(spec.base),
        controlnet=controlnet,
        torch_dtype=dtype,
        use_safetensors=True,
        **checker,
        **_hub_revision(spec.base, spec.base_revision),
    )
    if spec.safety_checker and base.safety_checker is None:
        raise ValueError("it has no safety checker, but the recipe asks for one")
    return controlnet, base


def _hub_revision(model: str, revision: str | None) -> dict[str, str]:
    """A local folder's revision is its content digest, which the hub's client would not understand."""
    return {"revision": revision} if revision and not Path(local_path(model)).is_dir() else {}


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

"""Bases, ControlNets, VAEs and LoRA adapters, loaded by diffusers: the only file that imports it.

Pipelines that have a base or a ControlNet in common share it in memory.
"""

import logging
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import diffusers
import torch
from diffusers import AutoModel, AutoPipelineForText2Image, ControlNetModel, DiffusionPipeline, MultiControlNetModel

from posemill.catalogue.models import SchedulerName
from posemill.catalogue.pairing import SINGLE_FILE, mismatch
from posemill.contract.specs import ControlNetSpec, GenerateSpec, LoraSpec
from posemill.errors import RunFault
from posemill.hub.choosing import Choice
from posemill.hub.fetching import choose
from posemill.hub.needs import Need, needs_of_generate, network_need

log = logging.getLogger(__name__)

SCHEDULERS = {
    SchedulerName.UNIPC: diffusers.UniPCMultistepScheduler,
    SchedulerName.DDIM: diffusers.DDIMScheduler,
    SchedulerName.EULER: diffusers.EulerDiscreteScheduler,
    SchedulerName.EULER_A: diffusers.EulerAncestralDiscreteScheduler,
    SchedulerName.DPMPP_2M: diffusers.DPMSolverMultistepScheduler,
    SchedulerName.LCM: diffusers.LCMScheduler,
    SchedulerName.DDIM_TRAILING: diffusers.DDIMScheduler,
    SchedulerName.EULER_TRAILING: diffusers.EulerDiscreteScheduler,
}
TRAILING = (SchedulerName.DDIM_TRAILING, SchedulerName.EULER_TRAILING)
SDXL_TEXTS = "conditioner.embedders.1."  # in the names of a single file's tensors


class Models:
    """What is in memory. It holds nothing itself: a model lives as long as a pipeline that uses it."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._bases: WeakValueDictionary[Any, Any] = WeakValueDictionary()
        self._controlnets: WeakValueDictionary[Any, Any] = WeakValueDictionary()

    def pipeline(self, spec: GenerateSpec) -> tuple[Any, Any]:
        """A pipeline of the spec's models, which are hub ids or places, and the base that it shares: hold both.

        Raises RunFault for a ControlNet that does not belong to the base, and what diffusers raises when a model
        cannot be loaded.
        """
        nets = [self._controlnet(wanted, spec) for wanted in spec.controlnets]
        base = self._base(spec, nets[0])
        for wanted, net in zip(spec.controlnets, nets, strict=True):
            if trouble := mismatch(base.unet.config, net.config):
                raise RunFault(f"{wanted.controlnet} cannot be used with {spec.base}: {trouble}")
        controlnet = nets[0] if len(nets) == 1 else MultiControlNetModel(nets)
        pipe = AutoPipelineForText2Image.from_pipe(base, controlnet=controlnet)
        name = SchedulerName(spec.scheduler)
        spacing = {"timestep_spacing": "trailing"} if name in TRAILING else {}
        pipe.scheduler = SCHEDULERS[name].from_config(base.scheduler.config, **spacing)
        return pipe, base

    def variants(self, spec: GenerateSpec) -> dict[str, Any]:
        """Which variant of the base's and of each ControlNet's files is loaded; nothing where there is none."""
        base = [] if spec.base.endswith(SINGLE_FILE) else [next(iter(needs_of_generate(spec)))]
        nets = [network_need(net.controlnet, net.controlnet_revision, spec) for net in spec.controlnets]
        found = [self._choice(need).variant for need in (*base, *nets)]
        if not any(found):
            return {}
        return {"variants": {"base": found[0] if base else None, "controlnets": found[len(base) :]}}

    def _controlnet(self, wanted: ControlNetSpec, spec: GenerateSpec) -> Any:
        need = network_need(wanted.controlnet, wanted.controlnet_revision, spec)
        key = (need.model, need.revision, need.variant, need.allow_pickle)
        found = self._controlnets.get(key)
        if found is None:
            found = ControlNetModel.from_pretrained(wanted.controlnet, **self._how(need))
            self._controlnets[key] = found
        return found

    def _base(self, spec: GenerateSpec, controlnet: Any) -> Any:
        key = (spec.base, spec.base_revision, spec.base_config, spec.vae, spec.vae_revision, spec.loras,
               spec.safety_checker, spec.variant, spec.allow_pickle)  # fmt: skip
        found = self._bases.get(key)
        if found is None:
            found = self._load_base(spec, controlnet)
            _add_loras(found, spec.loras)
            self._bases[key] = found
        return found

    def _load_base(self, spec: GenerateSpec, controlnet: Any) -> Any:
        parts = {"controlnet": controlnet, **({"vae": self._vae(spec)} if spec.vae else {})}
        if spec.base.endswith(SINGLE_FILE):
            base = self._load_single_file(spec, parts)
        else:
            need = next(iter(needs_of_generate(spec)))
            how = self._how(need)
            index = DiffusionPipeline.load_config(spec.base)
            if "safety_checker" in index and not spec.safety_checker:
                parts["safety_checker"] = None
            whole = "ControlNet" in index.get("_class_name", "")  # saved with one, a case that the auto class lacks
            kind = DiffusionPipeline if whole else AutoPipelineForText2Image
            base = kind.from_pretrained(spec.base, **parts, **how)
        if spec.safety_checker and getattr(base, "safety_checker", None) is None:
            raise ValueError("it has no safety checker, but the recipe asks for one")
        return base

    def _load_single_file(self, spec: GenerateSpec, parts: dict[str, Any]) -> Any:
        """A base in one file; `base_config` is a folder or hub id whose configurations and tokenizers are taken."""
        more = {"config": spec.base_config} if spec.base_config else {}
        kind: Any
        if _is_sdxl(spec.base):
            kind = diffusers.StableDiffusionXLControlNetPipeline
        else:
            kind = diffusers.StableDiffusionControlNetPipeline
            parts = parts if spec.safety_checker else {**parts, "safety_checker": None}
        return kind.from_single_file(spec.base, torch_dtype=self._dtype, **parts, **more)

    def _vae(self, spec: GenerateSpec) -> Any:
        assert spec.vae is not None
        return AutoModel.from_pretrained(spec.vae, **self._how(network_need(spec.vae, spec.vae_revision, spec)))

    def _how(self, need: Need) -> dict[str, Any]:
        """In which form a folder's weights are loaded; pickles with weights_only, which is diffusers' way.

        Raises RunFault for one that has no form that may be loaded.
        """
        choice = self._choice(need)
        if choice.pickled:
            log.warning("%s is loaded from pickles, with weights_only: %s", need.model, ", ".join(choice.pickled))
        forms = None if choice.pickled else True  # None: where a part has safetensors, these
        return {"torch_dtype": self._dtype, "use_safetensors": forms, "variant": choice.variant}

    def _choice(self, need: Need) -> Choice:
        return choose(need, Path(need.model), half=self._dtype != torch.float32)


def _is_sdxl(single_file: str) -> bool:
    from safetensors import safe_open

    with safe_open(single_file, framework="pt") as tensors:
        return any(name.startswith(SDXL_TEXTS) for name in tensors.keys())  # noqa: SIM118  # no mapping


def _add_loras(base: Any, loras: tuple[LoraSpec, ...]) -> None:
    """Lay the adapters over the base's UNet and text encoders, each with its weight."""
    if not loras:
        return
    names = [f"lora_{number}" for number in range(len(loras))]
    for name, lora in zip(names, loras, strict=True):
        path = Path(lora.lora)
        at = {"revision": lora.revision} if lora.revision and not path.exists() else {}
        file = lora.file or (path.name if path.is_file() else None)
        where = str(path.parent) if path.is_file() else lora.lora
        more = {"weight_name": file} if file else {}
        base.load_lora_weights(where, adapter_name=name, use_safetensors=True, **more, **at)
    base.set_adapters(names, [lora.weight for lora in loras])
    log.info("Laid %d LoRA adapters over the base", len(loras))

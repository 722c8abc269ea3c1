"""The named models, in one table. Any other model is a base and ControlNets, given in the recipe."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path, PurePosixPath

import msgspec

from posemill.errors import RecipeError


class SchedulerName(StrEnum):
    """diffusers' schedulers that a recipe may name."""

    UNIPC = "unipc"
    DDIM = "ddim"
    EULER = "euler"
    EULER_A = "euler_a"
    DPMPP_2M = "dpmpp_2m"
    LCM = "lcm"
    DDIM_TRAILING = "ddim_trailing"  # its few steps begin at pure noise, as adapters for few steps were trained
    EULER_TRAILING = "euler_trailing"


class NamedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A base and its ControlNet, with the defaults that suit them."""

    base: str  # hub id or folder
    controlnet: str
    controlnets: Mapping[str, str] = {}  # for runs with several controls: the base's ControlNets by kind
    detector: str
    resolution: int | None  # short side in pixels; None: as large as the control image
    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    negative_prompt: str = ""
    scheduler: SchedulerName = SchedulerName.UNIPC
    lora: str = ""  # an adapter that belongs to it
    lora_file: str = ""  # where its repository has several
    licence: str


EMBEDDED = "embedded:"  # a folder shipped with posemill, wherever it is installed: embedded:NAME
SHIPPED = {  # their digests, so that a run can be planned where the weights are not installed; a test holds them true
    "embedded:embedded": "dffa6b370bfa71d6d2e4067ba616df58bb157dfb",
    "embedded:embedded/controlnet": "a466b6c6bfe4ac6240b675d0235ff754d2122273",
    "embedded:openpose_thin": "77e9d5e0570a61d1a254970316dc051c230f03bd",
    "embedded:figures": "dd4ba0c08c29e13d90d254c4ecc4782b9f3327d6",
    "embedded:movenet_multipose": "e25550a554af412b375101be91c9decd03be68a1",
}

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
MOVED = {"runwayml/stable-diffusion-v1-5": SD15}  # the cards' name of it, deleted from the Hub in September 2024
SD15_CONTROLNETS = {
    kind: f"lllyasviel/sd-controlnet-{kind}"
    for kind in ("openpose", "canny", "depth", "normal", "hed", "scribble", "mlsd", "seg")
}


SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
SDXL_CONTROLNETS = {
    "openpose": "xinsir/controlnet-openpose-sdxl-1.0",
    "canny": "diffusers/controlnet-canny-sdxl-1.0",
    "depth": "diffusers/controlnet-depth-sdxl-1.0",
}


def _sdxl(kind: str) -> NamedModel:
    return NamedModel(
        base=SDXL,
        controlnet=SDXL_CONTROLNETS[kind],
        controlnets=SDXL_CONTROLNETS,
        detector=kind,
        resolution=1024,
        num_inference_steps=30,
        guidance_scale=5.0,
        licence="CreativeML OpenRAIL++-M",
    )


def _sd15(kind: str, note: str = "") -> NamedModel:
    return NamedModel(
        base=SD15,
        controlnet=SD15_CONTROLNETS[kind],
        controlnets=SD15_CONTROLNETS,
        detector=kind,
        resolution=None,
        licence=f"CreativeML OpenRAIL-M{note}",
    )


class FewSteps(msgspec.Struct, frozen=True, kw_only=True):
    """An adapter with which a base needs few steps, and the settings that it was trained for."""

    lora: str
    lora_file: str = ""
    scheduler: SchedulerName
    guidance_scale: float
    num_inference_steps: int = 8


HYPER, LIGHTNING = "ByteDance/Hyper-SD", "ByteDance/SDXL-Lightning"
SD15_FEW_STEPS = {
    "lcm": FewSteps(lora="latent-consistency/lcm-lora-sdv1-5", scheduler=SchedulerName.LCM, guidance_scale=1.5),
    "hyper": FewSteps(
        lora=HYPER,
        lora_file="Hyper-SD15-8steps-CFG-lora.safetensors",
        scheduler=SchedulerName.DDIM_TRAILING,
        guidance_scale=5.0,
    ),
}
SDXL_FEW_STEPS = {
    "lcm": FewSteps(lora="latent-consistency/lcm-lora-sdxl", scheduler=SchedulerName.LCM, guidance_scale=1.5),
    "hyper": FewSteps(
        lora=HYPER,
        lora_file="Hyper-SDXL-8steps-CFG-lora.safetensors",
        scheduler=SchedulerName.DDIM_TRAILING,
        guidance_scale=5.0,
    ),
    "lightning": FewSteps(
        lora=LIGHTNING,
        lora_file="sdxl_lightning_8step_lora.safetensors",
        scheduler=SchedulerName.EULER_TRAILING,
        guidance_scale=0.0,
    ),
}


def _in_few_steps(model: NamedModel, how: FewSteps) -> NamedModel:
    return msgspec.structs.replace(
        model,
        lora=how.lora,
        lora_file=how.lora_file,
        scheduler=how.scheduler,
        guidance_scale=how.guidance_scale,
        num_inference_steps=how.num_inference_steps,
        licence=f"{model.licence}; the adapter: OpenRAIL++",
    )


MODELS = {
    "sd15-openpose": _sd15("openpose", "; the OpenPose annotator is for non-commercial use only"),
    "sd15-canny": _sd15("canny"),
    "sd15-depth": _sd15("depth"),
    "sd15-normal": _sd15("normal"),
    "sd15-hed": _sd15("hed"),
    "sd15-scribble": _sd15("scribble"),
    "sd15-mlsd": _sd15("mlsd"),
    "sd15-seg": _sd15("seg"),
    "sdxl-openpose": _sdxl("openpose"),
    "sdxl-canny": _sdxl("canny"),
    "sdxl-depth": _sdxl("depth"),
    **{
        f"sd15-openpose-{name}": _in_few_steps(
            _sd15("openpose", "; the OpenPose annotator is for non-commercial use only"), how
        )
        for name, how in SD15_FEW_STEPS.items()
    },
    **{f"sdxl-openpose-{name}": _in_few_steps(_sdxl("openpose"), how) for name, how in SDXL_FEW_STEPS.items()},
    "embedded": NamedModel(
        base=f"{EMBEDDED}embedded",
        controlnet=f"{EMBEDDED}embedded/controlnet",
        controlnets={"openpose": f"{EMBEDDED}embedded/controlnet"},
        detector="openpose-thin",
        resolution=128,
        guidance_scale=3.0,
        licence="Apache-2.0",
    ),
}


def local_path(model: str) -> str:
    """Where a model lies: the shipped folder for embedded:NAME, anything else as it is.

    Raises RecipeError for a NAME that leads out of what is shipped.
    """
    if not model.startswith(EMBEDDED):
        return model
    shipped = Path(__file__).resolve().parents[2] / "workers" / "weights"
    name = PurePosixPath(model.removeprefix(EMBEDDED))
    if name.is_absolute() or not name.parts or ".." in name.parts or "\0" in str(name):
        raise RecipeError(f"{model!r} names no model that is shipped with posemill; give a folder by its path")
    return str(shipped / name)

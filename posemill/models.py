"""The named models, in one table. Any other model is a base and a ControlNet, given in the recipe."""

from enum import StrEnum
from pathlib import Path

import msgspec


class SchedulerName(StrEnum):
    UNIPC = "unipc"
    DDIM = "ddim"
    EULER = "euler"
    EULER_A = "euler_a"
    DPMPP_2M = "dpmpp_2m"
    LCM = "lcm"


class NamedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A base and its ControlNet, with the defaults that suit them."""

    base: str  # hub id or folder
    controlnet: str
    detector: str
    resolution: int | None  # short side in pixels; None: as large as the control image
    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    scheduler: SchedulerName = SchedulerName.UNIPC
    licence: str


EMBEDDED = "embedded:"  # a folder shipped with posemill, wherever it is installed: embedded:NAME

MODELS = {
    "sd15-openpose": NamedModel(
        base="runwayml/stable-diffusion-v1-5",
        controlnet="lllyasviel/sd-controlnet-openpose",
        detector="openpose",
        resolution=None,
        licence="CreativeML OpenRAIL-M; the OpenPose annotator is for non-commercial use only",
    ),
    "embedded": NamedModel(
        base=f"{EMBEDDED}embedded",
        controlnet=f"{EMBEDDED}embedded/controlnet",
        detector="openpose-thin",
        resolution=128,
        guidance_scale=3.0,
        licence="Apache-2.0",
    ),
}


def local_path(model: str) -> str:
    """Where a model lies: the shipped folder for embedded:NAME, anything else as it is."""
    if not model.startswith(EMBEDDED):
        return model
    return str(Path(__file__).resolve().parents[1] / "workers" / "weights" / model.removeprefix(EMBEDDED))

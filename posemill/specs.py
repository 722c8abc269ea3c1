"""What a stage is asked to do: every setting that changes a control image or a picture, and nothing else.

Values that equal their default are left out of digests, so a new setting leaves old identities alone; a default must
never change.
"""

import msgspec


class DetectSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a source image becomes a control image; part of the control image's identity."""

    detector: str  # a name in workers/detectors.py
    weights: str | None = None  # hub id or local folder; None: the detector's own
    revision: str | None = None  # commit or content digest of the weights
    include_hand: bool = False
    include_face: bool = False
    detect_resolution: int = 512  # short side in pixels that the network sees
    image_resolution: int = 512  # short side in pixels of the control image
    min_score: float = 0.0  # people whose mean keypoint score is lower are not drawn
    limit_pixels: int = 100_000_000  # larger pictures are refused before they are decoded
    exact: bool = False  # controlnet_aux's own path through the body network, several times slower


class GenerateSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a control image and a prompt become a picture; part of every item's identity."""

    model: str  # the name that the recipe used, for people
    base: str  # hub id or local diffusers folder
    controlnet: str  # hub id or local diffusers folder
    base_revision: str | None = None  # commit or content digest
    controlnet_revision: str | None = None
    scheduler: str = "unipc"
    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    controlnet_conditioning_scale: float = 1.0
    width: int | None = None  # pixels; None: as the control image, scaled to `resolution`
    height: int | None = None
    resolution: int | None = None  # short side in pixels that the model was trained for; None: as the control
    safety_checker: bool = False
    long_prompts: str = "truncate"  # over CLIP's 77 tokens: truncate (and note it), or chunk

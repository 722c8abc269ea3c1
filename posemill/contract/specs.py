"""What a stage is asked to do: every setting that changes a control image or a picture, and nothing else.

Digests leave out every setting that has its default value (identity.py), so a new setting leaves old identities alone;
a default must never change.
"""

import msgspec


class DetectSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a source image becomes a control image; part of the control image's identity."""

    detector: str  # a name in posemill/catalogue/detectors.py
    weights: str | None = None  # hub id or local folder; None: the detector's own
    revision: str | None = None  # commit or content digest of the weights
    include_hand: bool = False
    include_face: bool = False
    detect_resolution: int = 512  # short side in pixels that the network sees
    image_resolution: int = 512  # short side in pixels of the control image
    min_score: float = 0.0  # people whose mean keypoint score is lower are not drawn
    limit_pixels: int = 100_000_000  # larger pictures are refused before they are decoded
    exact: bool = False  # controlnet_aux's own path through the body network, several times slower, and its drawing
    low_threshold: int = 100  # of canny: an edge goes on where the gradient is at least this, ...
    high_threshold: int = 200  # ... and begins where it is at least this
    bg_th: float = 0.1  # of normal: what lies deeper, as a share of the nearest, is background
    safe: bool = False  # of hed and scribble: contours in a few steps of strength
    thr_v: float = 0.1  # of mlsd: least score of a line
    thr_d: float = 0.1  # of mlsd: least length of a line
    face_revision: str | None = None  # commit of another repository that a file comes from; in no digest


class ControlNetSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ControlNet of a pipeline, and how strongly and how long it has a say."""

    controlnet: str  # hub id or local diffusers folder
    controlnet_revision: str | None = None  # commit or content digest
    controlnet_conditioning_scale: float = 1.0
    control_guidance_start: float = 0.0  # share of the steps after which it begins
    control_guidance_end: float = 1.0  # and ends


class LoraSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A LoRA adapter over the base."""

    lora: str  # hub id, local folder or .safetensors file
    revision: str | None = None  # commit or content digest
    weight: float = 1.0
    file: str | None = None  # its name in the repository or folder, where there are several


class GenerateSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a control image and a prompt become a picture; part of every item's identity."""

    model: str  # the name that the recipe used, for people
    base: str  # hub id, local diffusers folder or single .safetensors file
    controlnets: tuple[ControlNetSpec, ...]  # in the order of the run's controls
    base_revision: str | None = None  # commit or content digest
    scheduler: str = "unipc"
    num_inference_steps: int = 20
    guidance_scale: float = 7.5
    width: int | None = None  # pixels; None: as the control image, scaled to `resolution`
    height: int | None = None
    resolution: int | None = None  # short side in pixels that the model was trained for; None: as the control
    safety_checker: bool = False
    long_prompts: str = "truncate"  # over CLIP's 77 tokens: truncate (and note it), or chunk
    base_config: str | None = None  # of a single file: hub id or folder with its configurations and tokenizers
    vae: str | None = None  # hub id or local folder; None: the base's own
    vae_revision: str | None = None
    loras: tuple[LoraSpec, ...] = ()
    base_config_revision: str | None = None  # commit or content digest; in no digest of ours
    variant: str | None = None  # of the base's and the networks' files; None: chosen by the worker's number type
    allow_pickle: bool = False  # where there are no safetensors

    @property
    def models(self) -> tuple[str, ...]:
        """Every hub id, folder and file that the pipeline is made of."""
        more = [model for model in (self.vae, self.base_config) if model]
        return (self.base, *(net.controlnet for net in self.controlnets), *more, *(lora.lora for lora in self.loras))

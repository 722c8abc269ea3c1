"""The sections of a recipe that say how control images are made: `detect`, and each entry of `controls`."""

from enum import StrEnum
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from posemill.catalogue.detectors import DETECTORS, KINDS, unsupported

QUEUE = r"^[A-Za-z0-9._-]{1,100}$"


class Part(BaseModel):
    """A section of a recipe; an unknown key is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, about: ValidationInfo) -> Any:
        """What pydantic would take for 1 and 0."""
        if any(one is True or one is False for one in (value if isinstance(value, list) else [value])):
            field = cls.model_fields[str(about.field_name)]
            if {int, float} & (kinds := _kinds_of(field.annotation)) and bool not in kinds:
                raise ValueError("true and false are no numbers")
        return value


class DetectorSettings(Part):
    """How one kind of control image is made; what is not given comes from the model's and the detector's table rows."""

    detector: str | None = None
    weights: str | None = None
    revision: str | None = None
    include_hand: bool = False
    include_face: bool = False
    detect_resolution: int = Field(default=512, ge=64, le=4096)
    image_resolution: int = Field(default=512, ge=64, le=4096)
    min_score: float = Field(default=0.0, ge=0, le=1)
    exact: bool = False
    low_threshold: int = Field(default=100, ge=0, le=1000)
    high_threshold: int = Field(default=200, ge=0, le=1000)
    bg_th: float = Field(default=0.1, ge=0, le=1)
    safe: bool = False
    thr_v: float = Field(default=0.1, ge=0, le=1)
    thr_d: float = Field(default=0.1, ge=0, le=512)

    @field_validator("detector")
    @classmethod
    def _is_known(cls, detector: str | None) -> str | None:
        if detector is not None and detector not in DETECTORS:
            raise ValueError(f"no detector is called {detector!r}; there are {', '.join(DETECTORS)}")
        return detector

    @model_validator(mode="after")
    def _fits_detector(self) -> Self:
        if self.detector is not None:
            require_supported(self.detector, self.model_fields_set, self.weights)
        if self.detector == "openpose-thin" and (self.include_hand or self.include_face):
            raise ValueError("openpose-thin finds bodies only; use openpose for hands and faces")
        return self


class DetectRecipe(DetectorSettings):
    """The detect stage: its one control image, unless `controls` names them, and how the stage works."""

    min_people: int = Field(default=1, ge=1)
    max_people: int | None = Field(default=None, ge=1)
    limit_pixels: int = Field(default=100_000_000, ge=1)
    batch_size: int = Field(default=4, ge=1, le=1000)
    queue: str | None = Field(default=None, pattern=QUEUE)

    @model_validator(mode="after")
    def _people_fit(self) -> Self:
        if self.max_people is not None and self.max_people < self.min_people:
            raise ValueError(f"max_people {self.max_people} is below min_people {self.min_people}")
        return self


class ControlRecipe(DetectorSettings):
    """One of a run's controls: its control image, its ControlNet, and how strongly and how long that is heeded."""

    kind: Literal[KINDS]  # type: ignore[valid-type]  # the table's, which no type checker can know
    controlnet: str | None = None
    controlnet_revision: str | None = None
    controlnet_conditioning_scale: float = Field(default=1.0, ge=0, le=10)
    control_guidance_start: float = Field(default=0.0, ge=0, le=1)
    control_guidance_end: float = Field(default=1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _is_of_its_kind(self) -> Self:
        require_steps(self.control_guidance_start, self.control_guidance_end)
        if DETECTORS[self.detector or self.kind].kind not in ("", self.kind):
            raise ValueError(f"detector {self.detector} does not make control images of kind {self.kind}")
        if self.detector is None:
            require_supported(self.kind, self.model_fields_set, self.weights)
        return self


def require_supported(detector: str, given: set[str], weights: str | None) -> None:
    """Raises ValueError for a setting that the detector would not look at."""
    if weights and not DETECTORS[detector].takes_weights:
        raise ValueError(f"{detector} takes no weights")
    if foreign := unsupported(detector, given):
        raise ValueError(f"{detector} has no {', '.join(foreign)}")


def require_steps(start: float, end: float) -> None:
    """Raises ValueError when a ControlNet would end before it begins."""
    if start >= end:
        raise ValueError(f"control_guidance_start {start} is not before control_guidance_end {end}")


def takes_text_alone(annotation: Any) -> bool:
    """Whether a key takes texts (or a list of them) and neither numbers nor truth values."""
    return all(kind in (str, type(None)) or issubclass(kind, StrEnum) for kind in _kinds_of(annotation))


def _kinds_of(annotation: Any) -> set[Any]:
    """The types that an annotation is made of: those of `list[int] | None` are int and None's."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    parts = get_args(annotation)
    return set().union(*map(_kinds_of, parts)) if parts else {annotation}

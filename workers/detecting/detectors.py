"""What a detector is, and how a name in a recipe becomes one; the table is `posemill/catalogue/detectors.py`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, TypeVar

import msgspec
from PIL import Image

from posemill.catalogue.detectors import DETECTORS
from posemill.contract.specs import DetectSpec
from posemill.errors import BadInput, RecipeError, RunFault
from posemill.pictures.poses import Pose
from workers.images.content import Content
from workers.models.loading import loading
from workers.models.model_folders import ModelFolders

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What a detector makes of one source."""

    control_image: Image.Image  # says nothing when there is a reason, or nobody in the pose: ask before using it
    source_size: tuple[int, int]  # width and height in pixels, upright
    reason: str = ""  # why the control image cannot be used, as a stable word; nothing when it can
    pose: Pose | None = None  # of detectors that find people: those whose score reaches the spec's min_score


class Detector(Protocol):
    """Sources to a Detection each, or to why there is none; one thread at a time."""

    def detect(self, sources: Sequence[Content]) -> list[Detection | BadInput]:
        """A detection for each source, in their order; an unreadable one gives its error."""


class EachPicture:
    """A detector that makes a control image of one picture at a time."""

    def __init__(
        self,
        make: Callable[[Image.Image], Image.Image],
        *,
        reason: str,
        least_contrast: int = 1,
        ready_made: bool = False,
    ) -> None:
        """`reason` is why a control image in which all is alike, but for less than `least_contrast`, is rejected.

        `ready_made`: the pictures are control images, whose transparent parts show nothing.
        """
        self.make = make
        self._ready_made = ready_made
        self._reason = reason
        self._least_contrast = least_contrast

    def detect(self, sources: Sequence[Content]) -> list[Detection | BadInput]:
        """One call of the library for each picture."""
        return each_alone(self._detection, sources)

    def _detection(self, source: Content) -> Detection:
        picture = source.control_image if self._ready_made else source.picture
        control = self.make(picture)
        reason = self._reason if contrast(control) < self._least_contrast else ""
        return Detection(control_image=control, source_size=picture.size, reason=reason)


def contrast(picture: Image.Image) -> int:
    """The largest difference between two pixels in one channel, 0..255."""
    return max(int(most) - int(least) for least, most in picture.convert("RGB").getextrema())  # type: ignore[misc]


def each_alone(make: Callable[[Content], T], sources: Sequence[Content]) -> list[T | BadInput]:
    """What is made of each source, or the error that says what is wrong with it."""
    made: list[T | BadInput] = []
    for source in sources:
        try:
            made.append(make(source))
        except BadInput as error:
            made.append(error)
    return made


def reject_reason(pose: Pose, *, min_people: int, max_people: int | None) -> str | None:
    """Why a source with this pose is not used, as a stable word; None when it is."""
    found = len(pose.people)
    if found == 0:
        return "no_person"
    if found < min_people:
        return "too_few_people"
    if max_people is not None and found > max_people:
        return "too_many_people"
    return None


def load_detector(spec: DetectSpec, *, device: str = "cpu", folders: ModelFolders | None = None) -> Detector:
    """The detector that the spec names, with its weights on the device: "cpu", "cuda" or "cuda:1".

    Raises RecipeError when the spec cannot be met, RunFault when weights or libraries cannot be loaded or lie outside
    the allowed folders, and what `loading` lets pass.
    """
    row = DETECTORS.get(spec.detector)
    if row is None:
        raise RecipeError(f"no detector is called {spec.detector!r}; there are {', '.join(DETECTORS)}")
    if spec.weights is not None and not row.takes_weights:
        raise RecipeError(f"detector {spec.detector!r} takes no weights; remove weights: {spec.weights}")
    if device != "cpu":
        _check_device(device)
    spec = msgspec.structs.replace(spec, weights=spec.weights or row.weights)
    placed = (folders or ModelFolders.of("")).of_detect(spec)
    with loading(f"detector {spec.detector!r}"):
        detector: Detector = import_module(
            row.family if "." in row.family else f"workers.detecting.annotators.{row.family}"
        ).build(placed, device)
    return detector


def _check_device(device: str) -> None:
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RunFault(f"device {device!r} was asked for and torch sees no CUDA device; use 'cpu'")

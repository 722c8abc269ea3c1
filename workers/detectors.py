"""The table of detectors: how a name in a recipe becomes something that turns source bytes into a pose."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
from PIL import Image

from posemill.errors import BadInput, RecipeError, RunFault
from posemill.poses import Pose, PoseFormatError, from_openpose_json
from posemill.specs import DetectSpec
from workers.pictures import decode_picture

if TYPE_CHECKING:
    from workers.openpose import Openpose

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What a detector makes of one source."""

    pose: Pose  # only people whose score reaches the spec's min_score
    control: Image.Image  # black when nobody is left: ask `reject_reason` before using it
    source_size: tuple[int, int]  # width and height in pixels, upright


class Detector(Protocol):
    """Sources' bytes to a Detection each, or to why there is none; one thread at a time."""

    def detect(self, sources: Sequence[bytes]) -> list[Detection | BadInput]: ...


class NetworkDetector:
    """Finds people in pictures with an OpenPose network."""

    def __init__(self, openpose: "Openpose", spec: DetectSpec) -> None:
        self.openpose = openpose
        self._spec = spec

    def detect(self, sources: Sequence[bytes]) -> list[Detection | BadInput]:
        pictures = each_alone(self._decode, sources)
        seen = [picture for picture in pictures if not isinstance(picture, BadInput)]
        poses = iter(self.openpose.detect(seen, self._spec))
        return [
            picture if isinstance(picture, BadInput) else self._detection(picture, next(poses)) for picture in pictures
        ]

    def _decode(self, source: bytes) -> Image.Image:
        return decode_picture(source, limit_pixels=self._spec.limit_pixels)

    def _detection(self, picture: Image.Image, found: Pose) -> Detection:
        pose = without_faint_people(found, self._spec.min_score)
        return Detection(pose=pose, control=_draw(pose, self._spec), source_size=picture.size)


class KeypointsDetector:
    """Draws ready-made poses: its sources are OpenPose JSON, not pictures."""

    def __init__(self, spec: DetectSpec) -> None:
        self._spec = spec

    def detect(self, sources: Sequence[bytes]) -> list[Detection | BadInput]:
        return each_alone(self._detection, sources)

    def _detection(self, source: bytes) -> Detection:
        pose = without_faint_people(read_pose(source), self._spec.min_score)
        control = _draw(_on_control_canvas(pose, self._spec.image_resolution), self._spec)
        return Detection(pose=pose, control=control, source_size=(pose.width, pose.height))


def each_alone(make: Callable[[bytes], T], sources: Sequence[bytes]) -> list[T | BadInput]:
    """What is made of each source, or the error that says what is wrong with it."""
    made: list[T | BadInput] = []
    for source in sources:
        try:
            made.append(make(source))
        except BadInput as error:
            made.append(error)
    return made


def read_pose(source: bytes) -> Pose:
    """The pose in the bytes of an OpenPose JSON file."""
    try:
        document = msgspec.json.decode(source)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PoseFormatError(f"the pose file is not JSON ({error})") from error
    return from_openpose_json(document)


def without_faint_people(pose: Pose, min_score: float) -> Pose:
    """The pose without the people whose score is lower than min_score."""
    people = tuple(person for person in pose.people if person.score >= min_score)
    return msgspec.structs.replace(pose, people=people)


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


def _on_control_canvas(pose: Pose, resolution: int) -> Pose:
    """The same pose on a canvas as large as its control image, so that lines keep their usual width."""
    from workers.openpose import control_size

    width, height = control_size(pose.width, pose.height, resolution)
    return msgspec.structs.replace(pose, width=width, height=height)


def _draw(pose: Pose, spec: DetectSpec) -> Image.Image:
    from workers.openpose import draw

    return draw(
        pose,
        resolution=spec.image_resolution,
        include_hand=spec.include_hand,
        include_face=spec.include_face,
    )


def _build_openpose(spec: DetectSpec, device: str) -> Detector:
    from workers.openpose import load_openpose

    return NetworkDetector(load_openpose(spec.weights, spec.revision, device=device, exact=spec.exact), spec)


def _build_openpose_thin(spec: DetectSpec, device: str) -> Detector:
    _refuse_weights(spec)
    if spec.include_hand or spec.include_face:
        raise RecipeError(
            "detector 'openpose-thin' finds bodies only; use detector 'openpose', or set include_hand and"
            " include_face to false"
        )
    from workers.openpose import load_openpose_thin

    return NetworkDetector(load_openpose_thin(device=device, exact=spec.exact), spec)


def _build_keypoints(spec: DetectSpec, device: str) -> Detector:
    _refuse_weights(spec)
    return KeypointsDetector(spec)


def _refuse_weights(spec: DetectSpec) -> None:
    if spec.weights is not None:
        raise RecipeError(f"detector {spec.detector!r} takes no weights; remove weights: {spec.weights}")


DETECTORS: dict[str, Callable[[DetectSpec, str], Detector]] = {
    "openpose": _build_openpose,  # body, hands and face; the model card's weights unless others are given
    "openpose-thin": _build_openpose_thin,  # body only; 8 MB that ship with posemill
    "keypoints": _build_keypoints,  # no network: sources are OpenPose JSON
}


def load_detector(spec: DetectSpec, *, device: str = "cpu") -> Detector:
    """The detector that the spec names, with its weights on the device: "cpu", "cuda" or "cuda:1"."""
    build = DETECTORS.get(spec.detector)
    if build is None:
        raise RecipeError(f"no detector is called {spec.detector!r}; there are {', '.join(DETECTORS)}")
    if device != "cpu":
        _check_device(device)
    return build(spec, device)


def _check_device(device: str) -> None:
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RunFault(f"device {device!r} was asked for and torch sees no CUDA device; use 'cpu'")

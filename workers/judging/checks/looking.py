"""Pictures looked at by a detector of people, for the checks that ask who is in them."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from PIL import Image

from posemill.catalogue.detectors import DETECTORS
from posemill.contract.specs import DetectSpec
from posemill.errors import RecipeError
from posemill.hub.needs import looking_spec
from posemill.pictures.poses import Person, Pose
from workers.detecting.annotators.posing import Finder, PoseDetector
from workers.detecting.detectors import load_detector
from workers.judging.check import Models


def load_finder(detector: str, models: Models) -> tuple[Finder, DetectSpec]:
    """Who finds people, and how it is asked. Raises RecipeError for a detector that finds none."""
    if detector not in DETECTORS:
        raise RecipeError(f"no detector is called {detector!r}; there are {', '.join(DETECTORS)}")
    spec = looking_spec(detector, models.commits)
    loaded = load_detector(spec, device=models.device, folders=models.folders)
    if not isinstance(loaded, PoseDetector):
        raise RecipeError(f"detector {detector!r} finds no people; a check needs one that does, movenet for instance")
    return loaded.finder, spec


Box = tuple[float, float, float, float]  # left, top, right, bottom; shares of the picture


@runtime_checkable
class NearFinder(Protocol):
    """A finder that can look once more, nearer, where people are expected."""

    def detect_near(self, picture: Image.Image, spec: DetectSpec, around: Sequence[Box]) -> Pose:
        """The people of one picture."""


def look(finder: Finder, picture: Image.Image, spec: DetectSpec, expected: Pose) -> Pose:
    """Who is in a picture; small people of the control are looked for nearer, where the finder can do so."""
    if isinstance(finder, NearFinder):
        boxes = [box for person in expected.people if (box := box_of(person)) is not None]
        return finder.detect_near(picture, spec, boxes)
    (found,) = finder.detect([picture], spec)
    return found


def box_of(person: Person) -> Box | None:
    """The box around a body's keypoints, as far as the picture goes; None where there are none in it."""
    points = [point for point in person.body if point and 0 <= point[0] <= 1 and 0 <= point[1] <= 1]
    if not points:
        return None
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    return min(xs), min(ys), max(xs), max(ys)

"""Pictures looked at by a detector of people, for the checks that ask who is in them."""

from posemill.catalogue.detectors import DETECTORS
from posemill.contract.specs import DetectSpec
from posemill.errors import RecipeError
from workers.detecting.annotators.posing import Finder, PoseDetector
from workers.detecting.detectors import load_detector
from workers.judging.check import Models


def load_finder(detector: str, models: Models) -> tuple[Finder, DetectSpec]:
    """Who finds people, and how it is asked. Raises RecipeError for a detector that finds none."""
    if detector not in DETECTORS:
        raise RecipeError(f"no detector is called {detector!r}; there are {', '.join(DETECTORS)}")
    spec = DetectSpec(detector=detector)
    loaded = load_detector(spec, device=models.device, folders=models.folders)
    if not isinstance(loaded, PoseDetector):
        raise RecipeError(f"detector {detector!r} finds no people; a check needs one that does, movenet for instance")
    return loaded.finder, spec

"""`pose`: the pose is found again in the image and compared with the control's, by OKS and by the number of people."""

from collections.abc import Sequence
from typing import Any

from posemill.contract.specs import DetectSpec
from posemill.errors import BadInput
from posemill.pictures.poses import Person
from workers.detecting.detectors import Detector
from workers.judging.judging import Check, JudgedImage, Judgement, LoadDetector
from workers.judging.matching import compare, mismatch


def build(settings: dict[str, Any], load_detector: LoadDetector) -> Check:
    """With the detector loaded that looks again."""
    detector = load_detector(DetectSpec(detector=settings["detector"]))
    return PoseCheck(detector, min_oks=settings["min_oks"], people=settings["people"])


class PoseCheck:
    """Passes an image whose people are those of the control, each in the same pose."""

    def __init__(self, detector: Detector, *, min_oks: float, people: str) -> None:
        self._detector = detector
        self._min_oks = min_oks
        self._people = people

    def judge(self, images: Sequence[JudgedImage]) -> list[Judgement]:
        """All are looked at together."""
        detections = self._detector.detect([image.content for image in images])
        return [self._judgement(image, found) for image, found in zip(images, detections, strict=True)]

    def _judgement(self, image: JudgedImage, found: Any) -> Judgement:
        if isinstance(found, BadInput):
            raise found
        reference: tuple[Person, ...] = image.wanted.people if image.wanted else ()
        seen = found.pose.people if found.pose else ()
        comparison = compare(reference, seen, size=image.content.picture.size)
        figures = {
            "oks": round(comparison.mean, 4),
            "least_oks": round(comparison.least, 4),
            "people": float(comparison.people_found),
            "people_wanted": float(comparison.people_wanted),
        }
        reason = mismatch(comparison, min_oks=self._min_oks, people=self._people) or ""
        return Judgement(reason=reason, figures=figures, found=found.pose)

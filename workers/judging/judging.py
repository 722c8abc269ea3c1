"""What a check is, and how a name in a recipe becomes one; the table is `posemill/catalogue/checks.py`."""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol

import msgspec

from posemill.catalogue.checks import CHECKS
from posemill.contract.records import CheckSpec, Item
from posemill.contract.specs import DetectSpec
from posemill.errors import RunFault
from posemill.pictures.poses import Pose
from workers.detecting.detectors import Detector
from workers.images.content import Content

LoadDetector = Callable[[DetectSpec], Detector]


class JudgedImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image, and what it should show."""

    content: Content  # the image, decoded when a check asks for it
    item: Item
    wanted: Pose | None  # on the image's own canvas; None where the control holds no keypoints


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What one check says of one image."""

    reason: str = ""  # why the image does not pass, as a stable word; nothing when it does
    figures: dict[str, float] = {}
    found: Pose | None = None  # the pose that was found again


class Check(Protocol):
    """Images to a judgement each; one thread at a time."""

    def judge(self, images: Sequence[JudgedImage]) -> list[Judgement]:
        """A judgement for each image, in their order."""


def load_check(spec: CheckSpec, load_detector: LoadDetector) -> Check:
    """The check that the spec names. Raises RunFault for one that this worker does not know."""
    if spec.check not in CHECKS:
        raise RunFault(f"no check is called {spec.check!r}; this worker knows {', '.join(CHECKS)}")
    check: Check = import_module(f"workers.judging.checks.{spec.check}").build(spec.settings, load_detector)
    return check

"""Whether a picture shows as many people as its control image."""

from collections.abc import Mapping
from typing import Self

from PIL import Image

from posemill.catalogue.checks import Option
from posemill.contract.specs import DetectSpec
from workers.detecting.annotators.posing import Finder
from workers.judging.check import ItemFacts, Judgement, Models
from workers.judging.checks.looking import load_finder, look


class Check:
    """The number of people alone, wherever they are."""

    def __init__(self, finder: Finder, spec: DetectSpec) -> None:
        self._finder, self._spec = finder, spec

    @classmethod
    def load(cls, options: Mapping[str, Option], models: Models) -> Self:
        """With the detector that the options name."""
        return cls(*load_finder(str(options["detector"]), models))

    def judge(self, picture: Image.Image, facts: ItemFacts) -> Judgement:
        """Passes where no pose was asked for."""
        if facts.pose is None:
            return Judgement(passed=True)
        found = look(self._finder, picture, self._spec, facts.pose)
        wanted, seen = len(facts.pose.people), len(found.people)
        return Judgement(
            passed=wanted == seen,
            reason=None if wanted == seen else "people_mismatch",
            score=-abs(wanted - seen),
            figures={"people_wanted": wanted, "people_found": seen},
            found_keypoints=found.people,
        )

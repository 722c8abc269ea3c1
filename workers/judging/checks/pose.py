"""Whether a picture shows the people of its control image, each in their pose."""

from collections.abc import Mapping
from typing import Self

from PIL import Image

from posemill.catalogue.checks import Option
from posemill.contract.specs import DetectSpec
from posemill.errors import RecipeError
from workers.detecting.annotators.posing import Finder
from workers.judging.check import ItemFacts, Judgement, Models
from workers.judging.checks.looking import load_finder, look
from workers.judging.matching import PeopleRule, compare, mismatch


class Check:
    """OKS of each person that was wanted, at least `min_oks`."""

    def __init__(self, finder: Finder, spec: DetectSpec, *, min_oks: float, people: PeopleRule) -> None:
        self._finder, self._spec = finder, spec
        self._min_oks, self._people = min_oks, people

    @classmethod
    def load(cls, options: Mapping[str, Option], models: Models) -> Self:
        """With the detector that the options name."""
        try:
            people = PeopleRule(str(options["people"]))
        except ValueError as error:
            raise RecipeError(f"check 'pose': people is {', '.join(PeopleRule)}, not {options['people']}") from error
        finder, spec = load_finder(str(options["detector"]), models)
        return cls(finder, spec, min_oks=float(options["min_oks"] or 0), people=people)

    def judge(self, picture: Image.Image, facts: ItemFacts) -> Judgement:
        """Passes where no pose was asked for."""
        if facts.pose is None:
            return Judgement(passed=True)
        found = look(self._finder, picture, self._spec, facts.pose)
        seen = compare(facts.pose.people, found.people, size=picture.size)
        reason = mismatch(seen, min_oks=self._min_oks, people=self._people)
        figures = {
            "oks_mean": seen.mean, "oks_least": seen.least,
            "people_wanted": seen.people_wanted, "people_found": seen.people_found,
        }  # fmt: skip
        return Judgement(
            passed=reason is None, reason=reason, figures=figures, score=seen.mean, found_keypoints=found.people
        )

"""The section of a recipe that says how images are judged, and how often one is made again."""

from pydantic import ConfigDict, Field, field_validator, model_validator

from posemill.catalogue.checks import CHECKS, Option, options_of
from producer.recipes.control_recipe import QUEUE, Part


class CheckRecipe(Part):
    """One check, with options of its own; the table of checks has them."""

    model_config = ConfigDict(extra="allow", frozen=True)

    check: str

    @model_validator(mode="after")
    def _fits_the_table(self) -> "CheckRecipe":
        options_of(self.check, self.given)
        return self

    @property
    def given(self) -> dict[str, Option]:
        """The options as they were written."""
        return dict(self.model_extra or {})


class VerifyRecipe(Part):
    """Every image is looked at; one that does not pass is made again, from another seed."""

    tries: int = Field(default=3, ge=1, le=20)
    keep_rejects: bool = True
    checks: list[CheckRecipe] = Field(default=[CheckRecipe(check="pose")], min_length=1, max_length=8)
    queue: str | None = Field(default=None, pattern=QUEUE)

    @field_validator("checks")
    @classmethod
    def _each_once(cls, checks: list[CheckRecipe]) -> list[CheckRecipe]:
        names = [one.check for one in checks]
        if len(set(names)) < len(names):
            raise ValueError("a check stands there twice")
        return checks

    @property
    def looks_for_people(self) -> bool:
        """Whether a check compares people, so that the controls must hold keypoints."""
        return any(one.check in CHECKS and CHECKS[one.check].looks_for_people for one in self.checks)

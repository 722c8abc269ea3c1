"""What a check is, and how a name becomes one: by the table in posemill/catalogue/checks.py, or an entry point."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import entry_points
from typing import Protocol, Self, cast

from PIL import Image

from posemill.catalogue.checks import CHECKS, ENTRY_POINTS, Option
from posemill.errors import RecipeError
from posemill.pictures.poses import Person, Pose
from workers.models.model_folders import ModelFolders


@dataclass(frozen=True, kw_only=True)
class Models:
    """Where the networks of checks are put, which folders they may come from, and at which commits they are taken."""

    device: str = "cpu"
    folders: ModelFolders = field(default_factory=lambda: ModelFolders.of(""))
    commits: Mapping[str, str] = field(default_factory=dict)  # by hub id or folder


@dataclass(frozen=True, kw_only=True)
class ItemFacts:
    """What is known of the picture that is judged."""

    prompt: str = ""
    pose: Pose | None = None  # that its control image shows; None: no pose was asked for


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a check says of one picture."""

    passed: bool
    reason: str | None = None  # why it did not pass, as a stable word
    figures: Mapping[str, float] = field(default_factory=dict)  # what was measured, by name
    score: float = 0.0  # by which two pictures that do not pass are compared: the more, the nearer
    found_keypoints: tuple[Person, ...] | None = None  # of checks that look for people


class Check(Protocol):
    """Judges finished pictures; one thread at a time."""

    @classmethod
    def load(cls, options: Mapping[str, Option], models: Models) -> Self:
        """A check with its options, each of which is given, and its networks. Raises RecipeError and RunFault."""

    def judge(self, picture: Image.Image, facts: ItemFacts) -> Judgement:
        """What the check says of an RGB picture."""


def load_check(name: str, options: Mapping[str, Option], models: Models) -> Check:
    """The check of that name, of the table or else of an installed distribution that offers it.

    Raises RecipeError for a name that nobody knows, or an option that the check does not have.
    """
    if row := CHECKS.get(name):
        if foreign := sorted(options.keys() - row.options.keys()):
            raise RecipeError(f"check {name!r} has no {', '.join(foreign)}; it has {', '.join(row.options)}")
        kind = cast(type[Check], import_module(f"workers.judging.checks.{row.family}").Check)
        return kind.load({**row.options, **options}, models)
    offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in offered:
        raise RecipeError(f"no check is called {name!r}; there are {', '.join([*CHECKS, *sorted(offered)])}")
    return cast(type[Check], offered[name].load()).load(options, models)

"""The table of checks: what each asks of a finished picture, its options with their defaults, and why it refuses."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points

import msgspec

from posemill.catalogue.detectors import DETECTORS

ENTRY_POINTS = "posemill.checks"  # the group in which other distributions offer checks of their own

Option = str | float | None


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """A way to judge a finished picture."""

    family: str  # the file of workers/judging/checks/ that holds its class `Check`
    options: Mapping[str, Option]
    shares: tuple[str, ...] = ()  # options from 0 to 1
    words: Mapping[str, tuple[str, ...]] = {}  # what an option may be
    looks_for_people: bool = False  # so that the controls must hold poses
    has_model: bool = False  # its option `model` is a hub id or a local folder, at its option `revision`
    reasons: tuple[str, ...]  # why a picture does not pass, as stable words
    licence: str = "Apache-2.0 (posemill)"


MODEL_OPTIONS = ("model", "revision")

FINDERS = tuple(name for name, row in DETECTORS.items() if row.kind == "openpose" and name != "keypoints")

CHECKS = {
    "pose": CheckRow(
        family="pose",
        options={"detector": "movenet", "min_oks": 0.5, "people": "equal"},
        shares=("min_oks",),
        words={"detector": FINDERS, "people": ("equal", "at_least", "any")},
        looks_for_people=True,
        reasons=("people_mismatch", "pose_mismatch"),
        licence="that of its detector",
    ),
    "people": CheckRow(
        family="people",
        options={"detector": "movenet"},
        words={"detector": FINDERS},
        looks_for_people=True,
        reasons=("people_mismatch",),
        licence="that of its detector",
    ),
    "prompt": CheckRow(
        family="prompt",
        options={"model": "openai/clip-vit-base-patch32", "revision": None, "min_similarity": 0.22},
        shares=("min_similarity",),
        has_model=True,
        reasons=("prompt_mismatch",),
        licence="MIT (OpenAI's CLIP)",
    ),
    "aesthetic": CheckRow(
        family="aesthetic",
        options={"model": "shunk031/aesthetics-predictor-v1-vit-large-patch14", "revision": None, "min": 4.5},
        has_model=True,
        reasons=("not_aesthetic",),
        licence="MIT (LAION's head over OpenAI's CLIP)",
    ),
    "safety": CheckRow(
        family="safety",
        options={"model": "CompVis/stable-diffusion-safety-checker", "revision": None},
        has_model=True,
        reasons=("not_safe",),
        licence="that of the checkpoint, which names none",
    ),
    "sharpness": CheckRow(family="sharpness", options={"min": 100.0}, reasons=("not_sharp",)),
}


def options_of(check: str, given: Mapping[str, Option]) -> dict[str, Option]:
    """A check's options, the table's defaults for those that are not given; of another distribution's check as given.

    Raises ValueError that says what is wrong.
    """
    row = CHECKS.get(check)
    if row is None:
        offered = sorted(point.name for point in entry_points(group=ENTRY_POINTS))
        if check not in offered:
            known = [*CHECKS, *offered]
            raise ValueError(f"no check is called {check!r}{_meant(check, known)}; there are {', '.join(known)}")
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, str | int | float | None):
                raise ValueError(f"{name}: {value!r} is neither a text nor a number")
        return dict(given)
    for name, value in given.items():
        if name not in row.options:
            raise ValueError(f"{check} has no {name!r}{_meant(name, row.options)}; it has {', '.join(row.options)}")
        _require_fitting(row, name, value)
    return {name: given.get(name, default) for name, default in row.options.items()}


def _require_fitting(row: CheckRow, name: str, value: Option) -> None:
    if isinstance(row.options[name], float):
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ValueError(f"{name}: {value!r} is no number from 0 on")
        if name in row.shares and value > 1:
            raise ValueError(f"{name}: {value} is not between 0 and 1")
    elif name in MODEL_OPTIONS:
        if not (isinstance(value, str) and value) and not (value is None and row.options[name] is None):
            raise ValueError(f"{name}: {value!r} is no text")
    elif value not in row.words.get(name, (value,)):
        raise ValueError(f"{name}: {value!r} is none of {', '.join(row.words[name])}")


def _meant(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

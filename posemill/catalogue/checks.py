"""The table of checks: what can be asked of every image, and with which settings. One row a check."""

from difflib import get_close_matches
from typing import Any

import msgspec

from posemill.catalogue.detectors import DETECTORS


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """A check, which `workers/judging/checks` has a file for."""

    settings: dict[str, Any]  # with their defaults, whose types they have
    least: dict[str, float] = {}  # of settings that are numbers
    most: dict[str, float] = {}
    words: dict[str, tuple[str, ...]] = {}  # that a setting may be
    needs_pose: bool = False  # the run's controls must hold keypoints


POSES = tuple(name for name, row in DETECTORS.items() if row.kind == "openpose" and name != "keypoints")
PEOPLE = ("equal", "at_least", "any")

CHECKS = {
    "pose": CheckRow(
        settings={"detector": "openpose-thin", "min_oks": 0.7, "people": "equal"},
        least={"min_oks": 0.0},
        most={"min_oks": 1.0},
        words={"detector": POSES, "people": PEOPLE},
        needs_pose=True,
    ),
    "people": CheckRow(
        settings={"detector": "openpose-thin", "people": "equal"},
        words={"detector": POSES, "people": PEOPLE[:2]},
        needs_pose=True,
    ),
    "sharpness": CheckRow(settings={"min_variance": 50.0}, least={"min_variance": 0.0}),
}


def settings_of(check: str, given: dict[str, Any]) -> dict[str, Any]:
    """A check's settings, the defaults for those that are not given. Raises ValueError that says what is wrong."""
    if check not in CHECKS:
        raise ValueError(f"no check is called {check!r}{_meant(check, CHECKS)}; there are {', '.join(CHECKS)}")
    row = CHECKS[check]
    for name, value in given.items():
        if name not in row.settings:
            raise ValueError(f"{check} has no setting {name!r}{_meant(name, row.settings)}: {', '.join(row.settings)}")
        _require_fitting(row, name, value)
    return {name: type(default)(given.get(name, default)) for name, default in row.settings.items()}


def _require_fitting(row: CheckRow, name: str, value: Any) -> None:
    kind = type(row.settings[name])
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise ValueError(f"{name}: {value!r} is no {'number' if kind is float else 'text'}")
    if name in row.words and value not in row.words[name]:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(row.words[name])}")
    if kind is float and not row.least.get(name, float("-inf")) <= value <= row.most.get(name, float("inf")):
        raise ValueError(f"{name}: {value} is not between {row.least.get(name, '-')} and {row.most.get(name, '-')}")


def _meant(word: str, known: Any) -> str:
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""

"""The table of checks: what each asks of a finished picture, its options with their defaults, and why it refuses."""

from collections.abc import Mapping

import msgspec

ENTRY_POINTS = "posemill.checks"  # the group in which other distributions offer checks of their own

Option = str | float | None


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """A way to judge a finished picture."""

    family: str  # the file of workers/judging/checks/ that holds its class `Check`
    options: Mapping[str, Option]
    reasons: tuple[str, ...]  # why a picture does not pass, as stable words
    licence: str = "Apache-2.0 (posemill)"


CHECKS = {
    "pose": CheckRow(
        family="pose",
        options={"detector": "movenet", "min_oks": 0.5, "people": "equal"},
        reasons=("people_mismatch", "pose_mismatch"),
        licence="that of its detector",
    ),
    "people": CheckRow(
        family="people",
        options={"detector": "movenet"},
        reasons=("people_mismatch",),
        licence="that of its detector",
    ),
    "sharpness": CheckRow(family="sharpness", options={"min": 100.0}, reasons=("not_sharp",)),
}

"""The settings that a run's pictures were made with, as columns, card and report show them."""

from collections.abc import Sequence
from typing import Any

import msgspec

from posemill.contract.records import Run


def settings_of(run: Run) -> dict[str, dict[str, Any]]:
    """By stage, every setting that has a value; where a run has several controls, a control's is a list of all."""
    generate = msgspec.structs.asdict(run.generate)
    del generate["controlnets"]
    generate |= _of_each(run.generate.controlnets)
    return {
        "generate": {name: value for name, value in generate.items() if value is not None},
        "detect": _of_each(run.detects),
    }


def _of_each(specs: Sequence[msgspec.Struct]) -> dict[str, Any]:
    each = [msgspec.structs.asdict(spec) for spec in specs]
    values = {name: [spec[name] for spec in each] for name in each[0]}
    return {
        name: found[0] if len(found) == 1 else found
        for name, found in values.items()
        if any(value is not None for value in found)
    }

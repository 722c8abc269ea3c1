"""What tells the stages apart, in one table; whoever is not of a stage's own room loops over it and counts none."""

from collections.abc import Iterable

import msgspec

from posemill.contract.keys import Stage
from posemill.contract.records import Item, Source


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stage."""

    row: type[Source] | type[Item]  # what its plan holds
    rows: str  # how people call them
    needs: Stage | None  # the stage whose batches a batch of this one waits for
    planned_by: Stage  # whose plan it follows; another one's: batch k waits for that stage's batch k
    beside: Stage | None = None  # the stage whose workers take its batches too, and first
    on_gpu: bool  # else one process a core


STAGES = {
    Stage.DETECT: StageRow(row=Source, rows="sources", needs=None, planned_by=Stage.DETECT, on_gpu=False),
    Stage.GENERATE: StageRow(row=Item, rows="items", needs=Stage.DETECT, planned_by=Stage.GENERATE, on_gpu=True),
    Stage.VERIFY: StageRow(
        row=Item, rows="images", needs=Stage.GENERATE, planned_by=Stage.GENERATE, beside=Stage.DETECT, on_gpu=False
    ),
}

LAST_STAGE = tuple(STAGES)[-1]  # that a run can have: what comes out of one is what comes out of its own last one


def outcome_stages(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Those whose records say what became of rows in the end; what another stage judges is said by that one."""
    stages = tuple(stages)
    judged = {STAGES[stage].planned_by for stage in stages if STAGES[stage].planned_by is not stage}
    return tuple(stage for stage in stages if stage not in judged)


def planned_rows(first: int, rows: list[Source] | list[Item]) -> list[int | str]:
    """What a record calls these rows of the plan, of which the first has that number."""
    return [row.id if isinstance(row, Item) else number for number, row in enumerate(rows, start=first)]

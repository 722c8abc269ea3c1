"""What tells the stages apart, in one table; whoever is not of a stage's own room loops over it and counts none."""

import msgspec

from posemill.contract.keys import Stage
from posemill.contract.records import Item, Source


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """One stage."""

    row: type[Source] | type[Item]  # what its plan holds
    rows: str  # how people call them
    needs: Stage | None  # the stage whose batches a batch of this one waits for
    on_gpu: bool  # else one process a core


STAGES = {
    Stage.DETECT: StageRow(row=Source, rows="sources", needs=None, on_gpu=False),
    Stage.GENERATE: StageRow(row=Item, rows="items", needs=Stage.DETECT, on_gpu=True),
}

LAST_STAGE = tuple(STAGES)[-1]  # what comes out of a run is what comes out of this one


def planned_rows(first: int, rows: list[Source] | list[Item]) -> list[int | str]:
    """What a record calls these rows of the plan, of which the first has that number."""
    return [row.id if isinstance(row, Item) else number for number, row in enumerate(rows, start=first)]

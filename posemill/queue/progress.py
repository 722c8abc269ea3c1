"""How far a run is, as the ledger counts it."""

import msgspec

from posemill.contract.keys import Stage
from posemill.contract.records import Outcome, RunState
from posemill.contract.rounds import PlanLayout


class StageProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A stage's progress as storage proves it."""

    layout: PlanLayout  # of its plan
    done: bytes  # bitmap by batch number, most significant bit first, as Redis keeps it
    batches_done: int
    counts: dict[Outcome, int]


class StageCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of one stage."""

    rows: int  # sources or items planned
    batches: int
    end: int  # one more than the last batch's number
    batches_done: int
    done: int
    rejected: int
    failed: int
    again: int  # judged, and to be made again
    leased: int  # batches being worked on
    sent: int  # batches on the broker
    waiting: int  # batches that wait for a retry

    @property
    def finished(self) -> int:
        """Rows with an outcome, whichever."""
        return self.done + self.rejected + self.failed + self.again


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the ledger sees it at one moment."""

    run_id: str
    state: RunState
    reason: str
    refused_rows: int
    repeated_items: int = 0  # wanted again, and planned once
    stages: dict[Stage, StageCounts]
    submission: str = ""  # its digest: another run may have had the same id before

    @property
    def last(self) -> StageCounts:
        """The stage that what the user gets comes out of."""
        return self.stages[self.last_stage]

    @property
    def last_stage(self) -> Stage:
        """Its name."""
        return max(self.stages, key=list(Stage).index)


def stage_counts(stage: Stage, fields: dict[str, str], leased: int, sent: int, waiting: int) -> StageCounts:
    """A stage's counts from the fields of the run's hash and the sizes of the stage's sets."""

    def number(name: str) -> int:
        return int(fields.get(f"{stage}.{name}", 0))

    return StageCounts(
        rows=number("rows"),
        batches=number("batches"),
        end=number("end") or number("batches"),
        batches_done=number("batches_done"),
        done=number("done"),
        rejected=number("rejected"),
        failed=number("failed"),
        again=number("again"),
        leased=leased,
        sent=sent,
        waiting=waiting,
    )

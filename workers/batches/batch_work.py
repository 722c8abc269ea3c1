"""What a stage does with a batch: the seam between the anatomy and the stages' own rooms."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, ItemResult, JudgedResult, Run, SourceResult
from posemill.errors import NotFound, PosemillError
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from posemill.storage.run_documents import read_document
from posemill.storage.store import Store
from workers.batches.plan_reader import Slices

ROW = TypeVar("ROW")
Results = Sequence[SourceResult] | Sequence[ItemResult] | Sequence[JudgedResult]


class BatchWork(Protocol[ROW]):
    """What a stage does with a batch. All three steps may be called from different threads.

    A row on its way is a stage's own record; `compute` and `save` take all of a batch's rows or one alone.
    """

    stage: Stage

    @property
    def resident(self) -> list[str]:
        """What is in memory by now: detectors, or models by the names that recipes use."""

    def pinned(self, run: Run, batch: int) -> Run:
        """The run with one commit for each model that the batch needs. Raises HubAway and RunFault."""

    def fetch(self, run: Run, loaded: list[ROW] | None, watch: Callable[[], None]) -> None:
        """Bring the models that the rows need, or any row, to this machine; raises what `watch` does, too."""

    def load(self, run: Run, batch: int, kept: BatchRecord | None, row: int | None = None) -> list[ROW]:
        """Read what the batch needs, or one of its rows; rows that `kept` has as done are not made again."""

    def compute(self, run: Run, loaded: list[ROW]) -> list[ROW]:
        """The device's part; called by one thread at a time."""

    def save(self, run: Run, computed: list[ROW]) -> Results:
        """Encode and upload; gives a result for every row."""

    def failed(self, run: Run, batch: int, error: PosemillError) -> Results:
        """A failed result for every row of the batch."""

    def recorded(self, run: Run, record: BatchRecord) -> None:
        """What is left to do once a batch's record stands; called again where somebody died before it was counted."""

    def made_with(self, run: Run) -> dict[str, Any]:
        """Specification, device and versions, for the record."""

    def unload(self) -> None:
        """Give the device's memory free; what is needed again is loaded again."""


MakeWork = Callable[[Stage, Store, Slices, Settings, Ledger], BatchWork[Any]]
"""Makes a stage's own part. To be found by its name in its module, for it is sent to another process."""


def read_set_aside(store: Store, run_id: str, stage: Stage, batch: int) -> BatchRecord | None:
    """The record that `retry` set aside, if the batch has one."""
    try:
        return read_document(store, RunKeys(run_id).superseded(stage, batch), BatchRecord)
    except NotFound:
        return None

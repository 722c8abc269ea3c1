"""The stage workers of one process, told and asked as one."""

from collections.abc import Sequence

from workers.batches.anatomy import StageWorker


class WorkerGroup:
    """They share the device and the leases."""

    def __init__(self, workers: Sequence[StageWorker]) -> None:
        self._workers = workers

    @property
    def stepped(self) -> float:
        """The last step of any of them, by time.monotonic()."""
        return max(worker.stepped for worker in self._workers)

    @property
    def finished(self) -> int:
        """Batches of all of them."""
        return sum(worker.finished for worker in self._workers)

    @property
    def resident(self) -> list[str]:
        """What is in memory, for the heartbeat."""
        return [name for worker in self._workers for name in worker.resident]

    def flush(self) -> None:
        """Tell the ledger what it is owed."""
        for worker in self._workers:
            worker.flush()

    def drain(self) -> None:
        """Start nothing more on the device."""
        for worker in self._workers:
            worker.drain()

    def hand_back(self) -> None:
        """Give every held batch back at once: the leases are all of theirs."""
        self._workers[0].hand_back()

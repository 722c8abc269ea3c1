"""Keeps this worker's leases alive while their batches are worked on."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from posemill.contract.keys import Stage
from posemill.errors import LeaseLost
from posemill.queue.ledger import Ledger

log = logging.getLogger(__name__)


class Lease:
    """The right to record one batch, for as long as it is renewed."""

    def __init__(self, run_id: str, stage: Stage, batch: int, fence: int) -> None:
        self.run_id = run_id
        self.stage = stage
        self.batch = batch
        self.fence = fence
        self.lost = False

    def require(self) -> None:
        """Raises LeaseLost when another worker has taken over or the run is cancelled."""
        if self.lost:
            raise LeaseLost(f"run {self.run_id} {self.stage} batch {self.batch}: the lease is gone")


class LeaseKeeper:
    """Renews all held leases, three times in each lease's length."""

    def __init__(self, ledger: Ledger, lease_seconds: float) -> None:
        self._ledger = ledger
        self._lease_seconds = lease_seconds
        self._held: set[Lease] = set()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, lease: Lease) -> Iterator[Lease]:
        """Keep a lease alive for as long as the block runs."""
        with self._lock:
            self._held.add(lease)
        try:
            yield lease
        finally:
            with self._lock:
                self._held.discard(lease)

    @property
    def held(self) -> list[Lease]:
        """The leases that are kept alive now."""
        with self._lock:
            return list(self._held)

    def run_until(self, stopped: threading.Event) -> None:
        """Renew again and again, every third of a lease's length."""
        while not stopped.wait(self._lease_seconds / 3):
            self.renew()

    def renew(self) -> None:
        """Renew once. While Redis is away leases simply age; the ledger decides when it is back."""
        for lease in self.held:
            try:
                self.confirm(lease)
            except redis.RedisError as error:
                log.warning("Cannot renew a lease (%s)", error, extra={"run_id": lease.run_id, "batch": lease.batch})

    def confirm(self, lease: Lease) -> None:
        """Ask the ledger whether the lease still stands, and renew it if so."""
        kept = self._ledger.renew(lease.run_id, lease.stage, lease.batch, lease.fence, self._lease_seconds)
        lease.lost = lease.lost or not kept

"""Tells the ledger now and then that this worker lives and what it does; `posemill health` reads it."""

import logging
import threading
import time

import redis

from posemill.contract.keys import Stage
from posemill.queue.ledger import Ledger
from posemill.queue.window import queue_length
from posemill.settings import worker_id
from workers.batches.leases import LeaseKeeper
from workers.batches.worker_group import WorkerGroup

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0


class Heartbeat:
    """One worker process's heartbeat."""

    def __init__(self, ledger: Ledger, *, stage: Stage, queue: str, worker: WorkerGroup, keeper: LeaseKeeper) -> None:
        self._ledger = ledger
        self._stage = stage
        self._queue = queue
        self._worker = worker
        self._keeper = keeper

    def run_until(self, stopped: threading.Event) -> None:
        """Beat again and again; the worker is taken off the list at the end."""
        while True:
            self._worker.flush()
            try:
                self.beat()
            except redis.RedisError as error:
                log.warning("Cannot send a heartbeat: %s", error)
            if stopped.wait(BEAT_SECONDS):
                break
        try:
            self._ledger.forget_worker(worker_id())
        except redis.RedisError:
            log.info("The heartbeat ages by itself")

    def beat(self) -> None:
        """Tell Redis what this worker holds and has in memory."""
        self._ledger.note_worker(
            worker_id(),
            {
                "stage": self._stage,
                "batches": self._worker.finished,
                "leases": len(self._keeper.held),
                "resident": self._worker.resident,
                "queued": queue_length(self._ledger.redis, self._queue),
                "idle_seconds": round(time.monotonic() - self._worker.stepped, 1),
            },
        )

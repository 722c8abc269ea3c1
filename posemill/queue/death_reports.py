"""Reports the deaths of worker processes: the evidence that a batch may end the process that computes it."""

import logging
import queue
import threading

import redis

from posemill.errors import PosemillError
from posemill.queue.ledger import Ledger, open_ledger
from posemill.settings import Settings, worker_id

log = logging.getLogger(__name__)

TELL_AGAIN_SECONDS = 1.0
FIRST_DELAY_SECONDS = 0.5  # before a batch goes out again that was on the device; doubles with each death
LONGEST_DELAY_SECONDS = 30.0


class DeathReports:
    """Called by a supervisor for each child that ended; tells the ledger from a thread of its own.

    Whoever dies with its supervisor, as on a machine that is switched off, is reported by nobody.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ledger: Ledger | None = None
        self._ends: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
        threading.Thread(target=self._tell_all, name="deaths", daemon=True).start()

    def __call__(self, pid: int, status: int) -> None:
        """A child has ended with that exit status; negative: the signal."""
        if status:
            self._ends.put((pid, f"signal {-status}" if status < 0 else f"exit status {status}"))

    def _tell_all(self) -> None:
        while True:
            pid, words = self._ends.get()
            while not self._told(pid, words):
                threading.Event().wait(TELL_AGAIN_SECONDS)

    def _told(self, pid: int, words: str) -> bool:
        try:
            self._ledger = self._ledger or open_ledger(self._settings.redis_url.get_secret_value())
            note = self._ledger.report_death(
                worker_id(pid), f"its worker ended with {words}", delay_seconds=_delay_seconds
            )
        except (PosemillError, redis.RedisError) as error:
            log.info("A worker's death is not told yet: %s", error)
            return False
        if note:
            extra = {"run_id": note.run_id, "stage": note.stage, "batch": note.batch}
            log.warning("A worker ended (%s) with a batch on its device", words, extra=extra)
        return True


def _delay_seconds(deaths: int) -> float:
    return float(min(FIRST_DELAY_SECONDS * 2 ** min(deaths - 1, 30), LONGEST_DELAY_SECONDS))

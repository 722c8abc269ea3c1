"""Ends a worker that makes no progress; whoever keeps it alive starts it again, and its batches are taken over."""

import logging
import os
import threading
import time
from collections.abc import Callable

import redis

from posemill.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
EXIT_STATUS = 75  # EX_TEMPFAIL: start it again


class Watchdog:
    """Looks at one worker's steps, leases and queue."""

    def __init__(
        self,
        settings: Settings,
        *,
        held: Callable[[], int],
        stepped: Callable[[], float],
        queued: Callable[[], int],
        end: Callable[[int], None] = os._exit,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._held = held
        self._stepped = stepped
        self._queued = queued
        self._end = end
        self._clock = clock
        self._heard = clock()  # when the queue was last seen empty

    def run_until(self, stopped: threading.Event) -> None:
        """Look again and again."""
        shortest = min(self._settings.stuck_seconds, self._settings.deaf_seconds)
        while not stopped.wait(min(LOOK_SECONDS, shortest / 4)):
            self.look()

    def look(self) -> None:
        """End the process if it holds batches and makes no step, or is deaf to messages that wait."""
        now = self._clock()
        try:
            if self._queued() == 0:
                self._heard = now
        except redis.RedisError:
            self._heard = now  # nobody can take a message while Redis is away
        trouble = no_progress(
            held=self._held(),
            still_seconds=now - self._stepped(),
            waiting_seconds=now - max(self._heard, self._stepped()),
            settings=self._settings,
        )
        if trouble:
            log.critical("This worker ends itself: %s", trouble)
            self._end(EXIT_STATUS)


def no_progress(*, held: int, still_seconds: float, waiting_seconds: float, settings: Settings) -> str:
    """Why a worker must be started again, or nothing.

    still_seconds: since its last step. waiting_seconds: that messages have waited with none taken.
    """
    if held and still_seconds > settings.stuck_seconds:
        return f"it holds {held} batches and has made no step for {still_seconds:.0f} s"
    if not held and waiting_seconds > settings.deaf_seconds:
        return f"messages have waited for {waiting_seconds:.0f} s and it took none"
    return ""

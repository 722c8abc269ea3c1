"""Calls to the ledger that wait while Redis is away, and are made when it is back."""

import logging
import threading
from collections.abc import Callable

import redis

log = logging.getLogger(__name__)


class PendingCalls:
    """Each call is made once, in order. They are lost with the process; then leases run out by themselves."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def make(self, call: Callable[[], object]) -> None:
        """Make the call now, or as soon as Redis answers again."""
        with self._lock:
            self._calls.append(call)
        self.flush()

    def flush(self) -> None:
        """Make the calls that wait; those that fail go on waiting."""
        with self._lock:
            while self._calls:
                try:
                    self._calls[0]()
                except redis.RedisError as error:
                    log.info("%d calls wait for Redis: %s", len(self._calls), error)
                    return
                except Exception:  # no outage, and no reason to hold up the calls behind it
                    log.exception("A call to the ledger is dropped")
                del self._calls[0]

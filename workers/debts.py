"""What a worker could not tell the ledger while Redis was away, told when it is back."""

import logging
import threading
from collections.abc import Callable

import redis

log = logging.getLogger(__name__)


class Debts:
    """Calls to the ledger, each made once; they are lost with the process, and then the attempt counts."""

    def __init__(self) -> None:
        self._owed: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    def settle(self, call: Callable[[], object]) -> None:
        """Make the call now, or as soon as Redis answers again."""
        with self._lock:
            self._owed.append(call)
        self.pay()

    def pay(self) -> None:
        """Make the calls that are owed; those that fail stay owed."""
        with self._lock:
            while self._owed:
                try:
                    self._owed[0]()
                except redis.RedisError as error:
                    log.info("The ledger cannot be told yet: %s", error)
                    return
                del self._owed[0]

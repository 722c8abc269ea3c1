"""How long a worker tries a Hub that does not answer before the run is paused: nobody would see it try for ever."""

import time
from collections.abc import Callable
from typing import TypeVar

from posemill.errors import HubAway, RunFault

T = TypeVar("T")


class HubPatience:
    """What is asked of the Hub for one worker's batches."""

    def __init__(self, limit_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_seconds = limit_seconds
        self._clock = clock
        self._away_since: float | None = None

    def asked(self, ask: Callable[[], T]) -> T:
        """What `ask` gives. Raises HubAway while it is young, later RunFault."""
        try:
            answer = ask()
        except HubAway as error:
            self._away_since = self._away_since if self._away_since is not None else self._clock()
            away_seconds = self._clock() - self._away_since
            if away_seconds < self._limit_seconds:
                raise
            self._away_since = None
            raise RunFault(
                f"for {away_seconds:.0f} s no model could be fetched: {error}; unpause the run when the Hub is back,"
                " or fetch the models with `posemill models pull RECIPE`"
            ) from error
        self._away_since = None
        return answer

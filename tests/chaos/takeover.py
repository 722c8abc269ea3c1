"""How long a dead worker's batches wait for another one, with default settings."""

import os
import signal
import time
from pathlib import Path

from posemill.ledger import Ledger
from posemill.names import Stage, StageKeys
from posemill.settings import Settings
from producer.services import EmbeddedServices
from producer.submission import submit
from tests.chaos.runs import chaos_workers, recipe
from tests.conftest import wait_until

LIMIT_SECONDS = 45.0
SLOWLY = {"CHAOS_SECONDS": "0.2"}  # so that the worker holds batches whenever it dies
KEYS = StageKeys("takeover", Stage.GENERATE)


def takeover_seconds(folder: Path, sources: Path) -> float:
    """From the only generate worker's death until all its batches are claimed again.

    It may be the elected dispatcher, which then has to be replaced as well. Raises AssertionError after 45 s.
    """
    with EmbeddedServices(folder / "services") as services:
        for name in [name for name in os.environ if name.startswith("POSEMILL_")]:
            del os.environ[name]
        os.environ.update(services.environment())
        with chaos_workers(folder / "logs", environment=SLOWLY) as workers:
            handle = submit(recipe(sources), run_id="takeover", settings=Settings())
            wait_until(lambda: handle.ledger.redis.hlen(KEYS.holders) >= 2)
            os.kill(workers.pid("generate-0") or 0, signal.SIGKILL)
            died = time.monotonic()
            orphans: dict[str, str] = handle.ledger.redis.hgetall(KEYS.holders)  # type: ignore[assignment]
            wait_until(
                lambda: all(_is_claimed_again(handle.ledger, *orphan) for orphan in orphans.items()),
                seconds=LIMIT_SECONDS,
            )
            seconds = time.monotonic() - died
            handle.cancel()
    return round(seconds, 1)


def _is_claimed_again(ledger: Ledger, batch: str, fence: str) -> bool:
    holder = ledger.redis.hget(KEYS.holders, batch)
    return holder not in (None, fence) or ledger.redis.getbit(KEYS.done, int(batch)) == 1

"""How long a dead worker's batches wait for another one, with default settings."""

import os
import signal
import time
from pathlib import Path

from posemill.contract.keys import DISPATCHER, Stage, StageKeys, queue_name, run_hash
from posemill.queue.ledger import Ledger
from posemill.queue.window import queue_length
from posemill.settings import Settings
from producer.local.services import EmbeddedServices
from producer.submitting.submission import submit
from tests.chaos.runs import chaos_workers, recipe, write_sources
from tests.conftest import wait_until

LIMIT_SECONDS = 45.0
SLOWLY = {"CHAOS_SECONDS": "0.2"}  # so that the worker holds batches whenever it dies
KEYS = StageKeys("takeover", Stage.GENERATE)


def takeover_seconds(services: EmbeddedServices, folder: Path) -> float:
    """From the only generate worker's death until all its batches are claimed again, before a queue of minutes.

    It may be the elected dispatcher, which then has to be replaced as well. Raises AssertionError after 45 s.
    """
    for name in [name for name in os.environ if name.startswith("POSEMILL_")]:
        del os.environ[name]
    os.environ["POSEMILL_REDIS_URL"] = f"{services.redis_url.removesuffix('/0')}/1"  # unseen by the other workers
    os.environ["POSEMILL_STORE"] = "s3://posemill/takeover"
    sources = write_sources(folder / "sources", 120)
    with chaos_workers(folder / "logs", environment=SLOWLY) as workers:
        handle = submit(recipe(sources), run_id="takeover", settings=Settings())
        wait_until(lambda: queue_length(handle.ledger.redis, queue_name(Stage.GENERATE)) > 40)
        wait_until(lambda: handle.ledger.redis.hlen(KEYS.holders) >= 2)
        os.kill(workers.pid("generate-0") or 0, signal.SIGKILL)
        died = time.monotonic()
        orphans: dict[str, str] = handle.ledger.redis.hgetall(KEYS.holders)  # type: ignore[assignment]
        try:
            wait_until(
                lambda: all(_is_claimed_again(handle.ledger, *orphan) for orphan in orphans.items()),
                seconds=LIMIT_SECONDS,
            )
        except AssertionError as error:
            raise AssertionError(f"{error}; {_what_is_known(handle.ledger, orphans)}") from error
        seconds = time.monotonic() - died
        handle.cancel()
    return round(seconds, 1)


def _is_claimed_again(ledger: Ledger, batch: str, fence: str) -> bool:
    holder = ledger.redis.hget(KEYS.holders, batch)
    return holder not in (None, fence) or ledger.redis.getbit(KEYS.done, int(batch)) == 1


def _what_is_known(ledger: Ledger, orphans: dict[str, str]) -> dict[str, object]:
    client = ledger.redis
    return {
        "orphans": orphans,
        "now": client.time(),
        "leases": client.zrange(KEYS.leases, 0, -1, withscores=True),
        "holders": client.hgetall(KEYS.holders),
        "sent": client.zcard(KEYS.sent),
        "waiting": client.zrange(KEYS.waiting, 0, -1, withscores=True),
        "queue": queue_length(client, queue_name(Stage.GENERATE)),
        "dispatcher": client.get(DISPATCHER),
        "run": client.hgetall(run_hash("takeover")),
    }

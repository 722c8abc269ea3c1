"""Whether this machine's workers make progress, from their heartbeats."""

import time
from collections.abc import Mapping
from typing import Any

from posemill.contract.keys import Stage

SILENT_SECONDS = 30.0


def trouble(
    beats: Mapping[str, Mapping[str, Any]], host: str, stage: Stage, *, limit_seconds: float, now: float | None = None
) -> str:
    """What is wrong with the stage's workers on this host, or nothing.

    A worker is stuck when it holds batches, or messages wait in its queue, and it took no step for limit_seconds.
    """
    now = time.time() if now is None else now
    mine = {worker: beat for worker, beat in beats.items() if worker.startswith(f"{host}:") and beat["stage"] == stage}
    if not mine:
        return f"no {stage} worker on {host} has sent a heartbeat"
    for worker, beat in mine.items():
        silent = now - beat["seen"]
        if silent > SILENT_SECONDS:
            return f"{worker} has been silent for {silent:.0f} s"
        if (beat["leases"] or beat["queued"]) and beat["idle_seconds"] > limit_seconds:
            return f"{worker} has work and took no step for {beat['idle_seconds']:.0f} s"
    return ""

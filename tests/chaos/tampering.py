"""What the environment does to a worker process of tests.chaos before it begins to work."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import posemill.queue.dispatcher
import workers.batches.anatomy
import workers.batches.single_rows
from posemill.queue.ledger import Ledger


class Moment(StrEnum):
    """When CHAOS_DIE_AT ends the process."""

    STORED = "stored"  # the images are in storage, the record is not
    RECORDED = "recorded"  # the record is in storage, the ledger has not counted it
    COUNTED = "counted"  # the ledger has counted it


def tamper(environment: Mapping[str, str], stage: str) -> None:
    """Do what the CHAOS_ variables ask for."""
    if seconds := environment.get("CHAOS_CLOCK_OFFSET_SECONDS"):
        shift_clock(float(seconds))
    if moment := environment.get("CHAOS_DIE_AT"):
        die_once(Moment(moment), Path(environment["CHAOS_DIED"]) / stage)
    if seconds := environment.get("CHAOS_LOCK_SECONDS"):  # until a dead dispatcher is replaced
        posemill.queue.dispatcher.LOCK_SECONDS = int(seconds)
    if seconds := environment.get("CHAOS_PAUSE_SECONDS"):  # after a row ended the process that made it alone
        workers.batches.single_rows.FIRST_PAUSE_SECONDS = float(seconds)


def shift_clock(seconds: float) -> None:
    """time.time alone: storage refuses signatures that are an hour old, which a fleet's owner would see at once."""
    right = time.time
    time.time = lambda: right() + seconds


def die_once(moment: Moment, mark: Path) -> None:
    """SIGKILL for the first process of all that comes to `moment`; it leaves `mark` behind."""
    if moment is Moment.COUNTED:
        Ledger.commit = _deadly(Ledger.commit, mark, after=True)  # type: ignore[method-assign]
    else:
        anatomy: Any = workers.batches.anatomy
        anatomy.write_record = _deadly(anatomy.write_record, mark, after=moment is Moment.RECORDED)


def _deadly(act: Callable[..., Any], mark: Path, *, after: bool) -> Callable[..., Any]:
    def die() -> None:
        try:
            mark.touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def deadly(*arguments: Any) -> Any:
        if not after:
            die()
        answer = act(*arguments)
        if after:
            die()
        return answer

    return deadly

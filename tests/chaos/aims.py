"""Which workers compute at this moment, and what: whom aimed kills hit."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
import redis

from posemill.contract.keys import Stage, device_note
from posemill.processes.supervisor import Supervisor
from posemill.queue.ledger import Ledger, OnDevice
from posemill.settings import worker_id

LOOK_SECONDS = 0.005
Place = tuple[str, Stage, int]  # of a batch


def on_device(ledger: Ledger, pids: Sequence[int]) -> dict[int, Place]:
    """What is on the device of each of these processes; those that compute nothing are left out."""
    try:
        notes = ledger.redis.mget([device_note(worker_id(pid)) for pid in pids]) if pids else []
    except redis.RedisError:
        return {}
    return {pid: _place(note) for pid, note in zip(pids, notes, strict=True) if note}


def kill_busy(
    ledger: Ledger,
    workers: Supervisor,
    names: Iterable[str],
    *,
    wanted: Callable[[Place], bool] = lambda place: True,
    given_up: Callable[[], bool] = lambda: False,
    choose: Callable[[Sequence[int]], int] = lambda pids: pids[0],
    after_seconds: float = 0.0,
) -> Place | None:
    """Kill the first of the workers that has a wanted batch on its device; gives the batch, None when given up.

    `after_seconds`: of having it there, if it is there for that long.
    """
    names = tuple(names)
    while not given_up():
        busy = on_device(ledger, [pid for name in names if (pid := workers.pid(name))])
        found = [pid for pid, place in busy.items() if wanted(place)]
        if found:
            pid = choose(found)
            time.sleep(after_seconds)
            if pid in on_device(ledger, [pid]):
                _kill(workers, names, pid)
                return busy[pid]
        time.sleep(LOOK_SECONDS)
    return None


def _kill(workers: Supervisor, names: Sequence[str], pid: int) -> None:
    """Returns when the supervisor has seen it, so that no second kill meets the dead."""
    send_signal(pid, signal.SIGKILL)
    while pid in [workers.pid(name) for name in names]:
        time.sleep(LOOK_SECONDS)


def send_signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _place(note: str | bytes) -> Place:
    decoded = msgspec.json.decode(note, type=OnDevice)
    return decoded.run_id, decoded.stage, decoded.batch

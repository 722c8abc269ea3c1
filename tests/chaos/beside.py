"""Runs beside the one that is harmed: one that cannot be read, and one whose `retry` is killed halfway."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from posemill.contract.keys import RunKeys
from posemill.contract.records import RunState
from posemill.errors import UnreadableRecord
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.runs.checking import check
from producer.runs.handle import RunHandle
from producer.submitting.submission import submit
from tests.chaos.runs import failures, images, recipe, write_sources
from tests.chaos.worker import BLACK
from tests.conftest import wait_until

UNREADABLE, RETRIED = "a-unreadable", "b-retried"  # both come before the other runs in the dispatcher's round
RETRIED_SOURCES = 6

KILLED_RETRY = """
import os, signal, sys
from posemill.storage.store import S3Store
from producer.runs.handle import open_handle

calls = [int(sys.argv[2])]

def deadly(act):
    def call(*arguments, **options):
        calls[0] -= 1
        if calls[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*arguments, **options)
    return call

for name in ("put", "delete"):
    setattr(S3Store, name, deadly(getattr(S3Store, name)))
open_handle(sys.argv[1]).retry()
"""


def submit_unreadable(folder: Path, store: Store, settings: Settings) -> RunHandle:
    """A run whose run.json is cut short while its first batches are out."""
    handle = submit(recipe(write_sources(folder / "unreadable", 4)), run_id=UNREADABLE, settings=settings)
    content = store.get(RunKeys(UNREADABLE).run)
    store.put(RunKeys(UNREADABLE).run, content[: len(content) // 2])
    return handle


def is_paused_with_its_reason(handle: RunHandle) -> bool:
    """Whether the unreadable run says what is wrong, to whoever asks, and can be cancelled."""
    key = RunKeys(handle.id).run
    if handle.ledger.state(handle.id):  # else Redis was emptied, and nobody could make it known again
        wait_until(lambda: handle.ledger.state(handle.id) is RunState.PAUSED, seconds=30)
        if key not in handle.status().snapshot.reason:
            return False
    try:
        handle.resume()
        return False
    except UnreadableRecord as error:
        handle.cancel()
        return key in str(error) and handle.ledger.state(handle.id) is RunState.CANCELLED


def submit_retried(folder: Path, settings: Settings) -> RunHandle:
    """A run of which every second item fails, however often it is tried."""
    sources = write_sources(folder / "retried", RETRIED_SOURCES)
    wanted = recipe(sources, prompts=("one", BLACK), seeds=2, detect_batch=3)
    return submit(wanted, run_id=RETRIED, settings=settings)


def kill_a_retry(settings: Settings, calls: int) -> bool:
    """`retry`, ended by SIGKILL before its call number `calls` that changes storage; False when it had no more."""
    environment = {**os.environ, "POSEMILL_REDIS_URL": settings.redis_url.get_secret_value()}
    command = (sys.executable, "-c", KILLED_RETRY, RETRIED, str(calls))
    ended = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    return ended.returncode == -signal.SIGKILL


def retried_is_whole(store: Store, handle: RunHandle) -> bool:
    """Once it is complete again: every record stands, and just the rows that must fail have failed.

    Its sources are among those of the disturbed run, which shares the control images.
    """
    wait_until(lambda: handle.ledger.state(handle.id) is RunState.COMPLETE, seconds=60)
    items = 2 * RETRIED_SOURCES
    return (
        check(store, handle.id).complete
        and failures(store, handle.id) == {"failed": items, "innocent_failed": 0}
        and len(images(store, handle.id)) == items
    )

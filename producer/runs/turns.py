"""Submissions and sweeps take turns: each marks itself in storage, then looks for the other's mark.

A sweep removes what no plan names, and a submission stores sources before its plan names them. Storage reads what was
written, so of two that begin together at least one sees the other: a sweep gives way, a submission waits.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from uuid import uuid4

import msgspec

from posemill.contract.keys import SUBMISSIONS, SWEEP
from posemill.errors import NotFound, PosemillError, RunConflict, TransientError
from posemill.storage.store import Store

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
RENEW_SECONDS = 60.0
WAIT_SECONDS = 900.0  # a submission waits that long for a sweep to end: longer than a dead one is in the way
SWEEP_AGE = timedelta(minutes=10)  # a mark that is older was left by a sweep that died; a sweep renews its own
SUBMISSION_AGE = timedelta(days=7)  # the same of submissions, which upload for days


class Mark(msgspec.Struct, frozen=True):
    """Somebody is at work since then."""

    since: datetime


@contextmanager
def submitting(store: Store, run_id: str, *, wait_seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """No sweep begins while the block runs. Raises TransientError when one does not end."""
    key = f"{_marks(run_id)}{uuid4().hex}.json"
    _mark(store, key)
    try:
        deadline = time.monotonic() + wait_seconds
        while _is_fresh(store, SWEEP, SWEEP_AGE):
            if time.monotonic() > deadline:
                raise TransientError("storage is being swept by `posemill prune`; submit again when that has ended")
            log.info("Waiting for a sweep of storage to end")
            time.sleep(POLL_SECONDS)
        yield
        _forget_marks(store, run_id)
    finally:
        with suppress(PosemillError):  # the mark ages, and the next submission of the run that ends well removes it
            store.delete(key)


@contextmanager
def sweeping(store: Store) -> Iterator[None]:
    """No submission stores anything while the block runs. Raises RunConflict while one goes on, or another sweep.

    The mark is renewed by a thread, so that it ages with its maker alone.
    """
    if _is_fresh(store, SWEEP, SWEEP_AGE):
        raise RunConflict(f"another sweep goes on, or died within the last ten minutes: {store.url}/{SWEEP}")
    _mark(store, SWEEP)
    ended = Event()
    renewing = Thread(target=_renew, args=(store, ended), name="sweep", daemon=True)
    renewing.start()
    try:
        for info in store.list(SUBMISSIONS):
            if _is_fresh(store, info.key, SUBMISSION_AGE):
                run_id = info.key.removeprefix(SUBMISSIONS).partition("/")[0]
                raise RunConflict(
                    f"run {run_id!r} is being submitted, or its submission was cut off: submit it again under that id,"
                    f" or delete {store.url}/{info.key}; then prune"
                )
        yield
    finally:
        ended.set()
        renewing.join()
        with suppress(PosemillError):
            store.delete(SWEEP)


def _renew(store: Store, ended: Event) -> None:
    while not ended.wait(RENEW_SECONDS):
        with suppress(PosemillError):
            _mark(store, SWEEP)


def _marks(run_id: str) -> str:
    return f"{SUBMISSIONS}{run_id}/"


def _forget_marks(store: Store, run_id: str) -> None:
    """Of earlier submissions too, which were cut off: the plan is sealed and names all that they stored."""
    with suppress(PosemillError):
        for info in store.list(_marks(run_id)):
            store.delete(info.key)


def _mark(store: Store, key: str) -> None:
    store.put(key, msgspec.json.encode(Mark(since=datetime.now(UTC))), content_type="application/json")


def _is_fresh(store: Store, key: str, longest: timedelta) -> bool:
    """Whether a mark stands whose maker may be alive; one that cannot be read counts as fresh."""
    try:
        mark = msgspec.json.decode(store.get(key), type=Mark)
    except NotFound:
        return False
    except msgspec.DecodeError:
        return True
    return datetime.now(UTC) - mark.since < longest

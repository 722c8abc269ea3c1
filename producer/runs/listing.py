"""All runs of a store at a glance: state, age, counts and size."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

import msgspec

from posemill.contract.keys import RunKeys
from posemill.contract.records import Outcome, RunState
from posemill.errors import BadInput, NotFound, PosemillError, RunConflict
from posemill.queue.ledger import Ledger
from posemill.queue.rebuild import read_stored
from posemill.storage.run_documents import read_plan, read_run, unfinished_submission
from posemill.storage.store import Store
from producer.runs.handle import run_ids

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Unlisted(StrEnum):
    """What a run may be beside the states that the ledger knows."""

    UNFINISHED = "unfinished"  # its submission was cut off; submit the same recipe again under its id
    UNREADABLE = "unreadable"
    LOST = "not in Redis"  # and not over: `posemill resume` goes on with it


class RunOverview(msgspec.Struct, frozen=True, kw_only=True):
    """One run as a list shows it; counts are of images, None where nobody can say."""

    run_id: str
    state: RunState | Unlisted
    name: str = ""
    created_at: datetime | None = None  # UTC
    sources: int | None = None
    items: int | None = None
    done: int | None = None
    rejected: int | None = None
    failed: int | None = None
    size_bytes: int | None = None  # of all below its prefix; asked for only where that is wanted

    @property
    def advice(self) -> str:
        """What to do where it does not go on by itself; the same words as of the commands that refuse it."""
        if self.state is Unlisted.UNFINISHED:
            return unfinished_submission(self.run_id)
        return f"`posemill resume {self.run_id}` goes on with it" if self.state is Unlisted.LOST else ""


def list_runs(store: Store, ledger: Ledger, *, with_sizes: bool = False) -> Iterator[RunOverview]:
    """Every run in storage, by id. A run that the ledger has forgotten is looked at in storage."""
    for run_id in run_ids(store):
        overview = _overview(store, ledger, run_id)
        if overview.state is Unlisted.UNFINISHED and next(iter(store.list(RunKeys(run_id).root)), None) is None:
            continue  # an empty folder, which some servers keep of a run that was deleted
        size = sum(info.size for info in store.list(RunKeys(run_id).root)) if with_sizes else None
        yield msgspec.structs.replace(overview, size_bytes=size)


def is_wanted(overview: RunOverview, *, state: str = "", pattern: str = "", since: timedelta | None = None) -> bool:
    """Whether a run is in that state, has an id or name that matches, and is no older."""
    if state and overview.state != state:
        return False
    if pattern and not any(fnmatchcase(name, pattern) for name in (overview.run_id, overview.name)):
        return False
    return since is None or (overview.created_at is not None and datetime.now(UTC) - overview.created_at <= since)


def parse_age(text: str) -> timedelta:
    """`90d`, `12h`, `30m` or `2w`. Raises BadInput."""
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if not found:
        raise BadInput(f"{text[:50]!r} is no age; write 30m, 12h, 90d or 2w")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _overview(store: Store, ledger: Ledger, run_id: str) -> RunOverview:
    try:
        run = read_run(store, run_id)
        created_at = datetime.fromisoformat(run.created_at).astimezone(UTC)
    except NotFound:  # its deletion was cut off, or it has not begun to be written
        return RunOverview(run_id=run_id, state=Unlisted.UNFINISHED)
    except (PosemillError, ValueError):
        return RunOverview(run_id=run_id, state=Unlisted.UNREADABLE)
    known = RunOverview(run_id=run_id, state=Unlisted.UNFINISHED, name=run.name, created_at=created_at)
    try:
        plan = read_plan(store, run_id)
        counted = msgspec.structs.replace(known, sources=plan.sources, items=plan.items)
        return _from_ledger(ledger, counted) or _from_storage(store, counted)
    except RunConflict:
        return known
    except PosemillError:
        return msgspec.structs.replace(known, state=Unlisted.UNREADABLE)


def _from_ledger(ledger: Ledger, known: RunOverview) -> RunOverview | None:
    snapshot = ledger.snapshot(known.run_id)
    if snapshot is None:
        return None
    counts = snapshot.last
    return msgspec.structs.replace(
        known, state=snapshot.state, done=counts.done, rejected=counts.rejected, failed=counts.failed
    )


def _from_storage(store: Store, known: RunOverview) -> RunOverview:
    stored = read_stored(store, known.run_id)
    counts = list(stored.progress.values())[-1].counts
    return msgspec.structs.replace(
        known,
        state=stored.end or Unlisted.LOST,
        done=counts[Outcome.DONE],
        rejected=counts[Outcome.REJECTED],
        failed=counts[Outcome.FAILED],
    )

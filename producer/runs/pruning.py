"""Removes old runs, and the sources and control images that no run uses any more: mark from plans, then sweep."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from posemill.contract.keys import CONTROLS, SOURCES, RunKeys, Stage
from posemill.contract.records import BatchRecord, Item, RunState, Source, decode_rows
from posemill.errors import NotFound, RunConflict, UnreadableRecord
from posemill.queue.ledger import ENDED, Ledger
from posemill.storage.run_documents import read_document, read_plan, read_run, read_state, unreadable
from posemill.storage.store import ObjectInfo, Store
from producer.runs.deleting import THREADS, delete_run, judging_runs
from producer.runs.handle import run_ids
from producer.runs.listing import RunOverview, is_wanted, list_runs
from producer.runs.turns import sweeping

T = TypeVar("T")
DELETED_AT_ONCE = 1000


class Pruned(msgspec.Struct, kw_only=True):
    """What was removed, or would be."""

    runs: list[str] = []
    kept_for_judges: list[str] = []  # old enough, but another run that stays judges their images
    run_bytes: int = 0
    sources: int = 0  # objects below sources/
    controls: int = 0  # objects below controls/: pictures and notes
    shared_bytes: int = 0
    kept_bytes: int = 0  # of what stays below runs/, sources/ and controls/
    controls_kept_for: str = ""  # the run that still detects, for which all control images stay


class _Used(msgspec.Struct, kw_only=True):
    """What the runs of a store name, as digests; the empty one stands for what no posemill wrote."""

    sources: set[bytes]
    controls: set[bytes]
    detecting: str = ""


def prune(
    store: Store,
    ledger: Ledger,
    *,
    older_than: timedelta | None = None,
    keep_last: int = 0,
    pattern: str = "*",
    dry_run: bool = False,
) -> Pruned:
    """Remove runs that have ended, were submitted longer ago and are not among the last; then what no run uses.

    Args:
        store: Where runs are.
        ledger: Of the same store.
        older_than: Age of the runs to remove; none are removed without it.
        keep_last: So many of the newest runs that match stay, however old.
        pattern: Of ids or names of the runs to look at, as in a shell.
        dry_run: Count and remove nothing.

    Raises:
        RunConflict: A submission or another sweep goes on.
        UnreadableRecord: A run cannot be read, so nobody knows what it uses.
    """
    with sweeping(store):
        gone = _outdated(list(list_runs(store, ledger)), older_than, keep_last, pattern) if older_than else []
        gone, kept = _without_judged(store, gone)
        pruned = Pruned(kept_for_judges=kept)
        for run_id in gone:
            pruned.runs.append(run_id)
            pruned.run_bytes += (
                sum(info.size for info in store.list(RunKeys(run_id).root))
                if dry_run
                else delete_run(store, ledger, run_id).size_bytes
            )
        used = _used(store, ledger, [run_id for run_id in run_ids(store) if run_id not in gone])
        pruned.controls_kept_for = used.detecting
        pruned.kept_bytes = sum(info.size for info in store.list("runs/")) - dry_run * pruned.run_bytes
        _sweep(store, used, pruned, dry_run=dry_run)
    return pruned


def _outdated(runs: list[RunOverview], older_than: timedelta, keep_last: int, pattern: str) -> list[str]:
    """Ids of the runs to remove, oldest first."""
    dated = [one for one in runs if one.created_at is not None and is_wanted(one, pattern=pattern)]
    dated.sort(key=lambda one: one.created_at or datetime.now(UTC))
    candidates = dated[: len(dated) - keep_last] if keep_last else dated
    limit = datetime.now(UTC) - older_than
    return [one.run_id for one in candidates if one.state in ENDED and one.created_at and one.created_at < limit]


def _without_judged(store: Store, gone: list[str]) -> tuple[list[str], list[str]]:
    """Those of the runs that can go, judges before what they judge, and those that must stay."""
    going: list[str] = []
    waiting = dict.fromkeys(reversed(gone))  # a judge is younger than what it judges
    while free := [run_id for run_id in waiting if set(judging_runs(store, run_id)) <= set(going)]:
        going += free
        for run_id in free:
            del waiting[run_id]
    return going, list(waiting)


def _used(store: Store, ledger: Ledger, kept: list[str]) -> _Used:
    used = _Used(sources={b""}, controls={b""})
    for run_id in kept:
        for row in _planned(store, run_id):
            if row.key and row.key.startswith(SOURCES):
                used.sources.add(_digest_of(row.key))
        if _still_detects(store, ledger, run_id):
            used.detecting = used.detecting or run_id
        for record in _detect_records(store, run_id):
            used.controls |= {_digest_of(stored.key) for result in record.sources for stored in result.objects}
    return used


def _detect_records(store: Store, run_id: str) -> Iterator[BatchRecord]:
    """Those that stand and those that `retry` set aside, whose done rows the next attempt keeps."""
    keys = RunKeys(run_id)
    for prefix in (keys.records(Stage.DETECT), keys.set_aside(Stage.DETECT)):
        for info in store.list(prefix):
            yield read_document(store, info.key, BatchRecord)


def _planned(store: Store, run_id: str) -> Iterator[Source]:
    """Every source and ready-made control image that a run's plan names, also of a submission that was cut off."""
    keys = RunKeys(run_id)
    for info in store.list(keys.shards(Stage.DETECT)):
        yield from _rows(store, info.key, Source)
    for info in store.list(keys.shards(Stage.GENERATE)):
        yield from (item.control_image for item in _rows(store, info.key, Item) if item.control_image)


def _rows(store: Store, key: str, kind: type[T]) -> list[T]:
    try:
        return decode_rows(store.get(key), kind)
    except UnreadableRecord as error:
        raise unreadable(store, key, error) from error


def _still_detects(store: Store, ledger: Ledger, run_id: str) -> bool:
    """Whether a worker may be about to name a control image that it found standing."""
    try:
        planned = read_plan(store, read_run(store, run_id).id).batches[Stage.DETECT]
    except (NotFound, RunConflict):
        return False  # not written to the end, or not deleted to the end: nobody works on it
    state = read_state(store, run_id).state
    if state is RunState.RETRYING or ledger.is_worked_on(run_id):
        return True
    recorded = sum(1 for _ in store.list(RunKeys(run_id).records(Stage.DETECT)))
    return state is not RunState.CANCELLED and recorded < planned


def _sweep(store: Store, used: _Used, pruned: Pruned, *, dry_run: bool) -> None:
    unused: list[str] = []
    for info, is_used in _shared(store, used):
        if is_used:
            pruned.kept_bytes += info.size
            continue
        pruned.shared_bytes += info.size
        pruned.sources += info.key.startswith(SOURCES)
        pruned.controls += info.key.startswith(CONTROLS)
        unused.append(info.key)
        if len(unused) == DELETED_AT_ONCE:
            _delete(store, unused, dry_run=dry_run)
    _delete(store, unused, dry_run=dry_run)


def _delete(store: Store, keys: list[str], *, dry_run: bool) -> None:
    """Remove the objects and empty the list."""
    if not dry_run:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(store.delete, keys))
    keys.clear()


def _shared(store: Store, used: _Used) -> Iterator[tuple[ObjectInfo, bool]]:
    """Every shared object, and whether a run uses it; what no posemill wrote counts as used."""
    for info in store.list(SOURCES):
        yield info, _digest_of(info.key) in used.sources
    for info in store.list(CONTROLS):
        yield info, bool(used.detecting) or _digest_of(info.key) in used.controls


def _digest_of(key: str) -> bytes:
    """The digest in a shared object's key; nothing where there is none."""
    try:
        return bytes.fromhex(key.rsplit("/", 1)[-1].partition(".")[0])
    except ValueError:
        return b""

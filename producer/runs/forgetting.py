"""Removes a photograph, and all that was made of it, from every run."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from posemill.contract.identity import sha256
from posemill.contract.keys import SOURCES, RunKeys, Stage, batch_of
from posemill.contract.records import (
    BatchRecord,
    Item,
    ItemResult,
    JudgedResult,
    Outcome,
    Result,
    Source,
    SourceResult,
    decode_rows,
    encode,
)
from posemill.contract.records import decode_header as header_of
from posemill.errors import BadInput, NotFound, RunConflict, UnreadableRecord
from posemill.queue.ledger import ENDED, Ledger
from posemill.queue.rebuild import rebuild, recall
from posemill.storage.run_documents import read_document, read_rounds, read_run, unreadable
from posemill.storage.store import Store
from producer.runs.handle import run_ids
from producer.runs.turns import sweeping

FORGOTTEN = "forgotten"  # why its sources and items are rejected from then on
DIGEST_LETTERS = 64


class Forgotten(msgspec.Struct, kw_only=True):
    """What was removed, or would be."""

    identity: str
    runs: list[str] = []  # that hold it
    items: int = 0  # whose images went
    objects: int = 0  # images, control images, poses, and the photograph where it lay in posemill's storage


class _Found(msgspec.Struct, kw_only=True):
    """Where a run's plan names the photograph."""

    source_numbers: set[int] = msgspec.field(default_factory=set)
    item_ids: set[str] = msgspec.field(default_factory=set)  # of which it is the ready-made control image
    keys: set[str] = msgspec.field(default_factory=set)  # of the photograph, in posemill's own storage


def forget(store: Store, ledger: Ledger, source: str, *, dry_run: bool = False) -> Forgotten:
    """Remove a photograph with its control images, poses and images; its rows are rejected as forgotten.

    The plans of its runs still name it and its digest. Safe to repeat where it was interrupted. A later run whose
    sources hold it makes it again.

    Args:
        store: Where runs are.
        ledger: Of the same store.
        source: A file with the same content, its SHA-256, or the name that a run's plan gives it.
        dry_run: Count and remove nothing.

    Raises:
        BadInput: Several photographs have that name.
        NotFound: No run holds it.
        RunConflict: A run that holds it has not ended, or a submission goes on.
        UnreadableRecord: A run cannot be read, so nobody knows what it holds.
    """
    with sweeping(store):
        identity, found = _found(store, source)
        for run_id in found:
            _require_ended(ledger, run_id)
            read_rounds(store, read_run(store, run_id))  # what cannot be counted again is said before anything goes
        removal = _Removal(store, dry_run=dry_run)
        forgotten = Forgotten(identity=identity, runs=sorted(found))
        for run_id, places in found.items():
            _forget_in(store, run_id, places, forgotten, removal)
        for key in sorted({key for places in found.values() for key in places.keys}):
            removal.remove(key)
        forgotten.objects = len(removal.keys)
        if not dry_run:
            for run_id in found:
                if not recall(store, ledger, run_id):
                    rebuild(store, ledger, run_id)
    return forgotten


def _found(store: Store, source: str) -> tuple[str, dict[str, _Found]]:
    """The photograph's identity, and where each run that holds it names it."""
    wanted = _digest_of(source)
    identities: dict[str, str] = {}  # with a name of each
    found: dict[str, _Found] = {}
    for run_id in run_ids(store):
        for row, number, item_id in _named(store, run_id):
            if wanted != row.identity and (wanted or source not in (row.name, row.uri)):
                continue
            identities[row.identity] = row.name
            places = found.setdefault(run_id, _Found())
            places.source_numbers |= {number} if number is not None else set()
            places.item_ids |= {item_id} if item_id else set()
            places.keys |= {row.key} if row.key and row.key.startswith(SOURCES) else set()
    if not identities:
        raise NotFound(
            f"no run in {store.url} holds {source!r}; give the file, its SHA-256, or its name in a run's plan"
        )
    if len(identities) > 1:
        raise BadInput(
            f"{len(identities)} photographs are called {source!r}; give one's SHA-256: {', '.join(identities)}"
        )
    return next(iter(identities)), found


def _digest_of(source: str) -> str:
    """SHA-256 of a file, or as it was given; nothing where `source` is a name."""
    if Path(source).is_file():
        return sha256(Path(source).read_bytes())
    is_digest = len(source) == DIGEST_LETTERS and not source.strip("0123456789abcdef")
    return source if is_digest else ""


def _named(store: Store, run_id: str) -> Iterator[tuple[Source, int | None, str]]:
    """The pictures that a plan names, each with its number among the sources, or the item that it is ready-made for."""
    keys = RunKeys(run_id)
    for info in store.list(keys.shards(Stage.DETECT)):
        try:
            content = store.get(info.key)
            first = header_of(content).first
            for number, row in enumerate(decode_rows(content, Source), start=first):
                yield row, number, ""
        except UnreadableRecord as error:
            raise unreadable(store, info.key, error) from error
    for info in store.list(keys.shards(Stage.GENERATE)):
        try:
            for item in decode_rows(store.get(info.key), Item):
                if item.control_image:
                    yield item.control_image, None, item.id
        except UnreadableRecord as error:
            raise unreadable(store, info.key, error) from error


def _require_ended(ledger: Ledger, run_id: str) -> None:
    state = ledger.state(run_id)
    if state and (state not in ENDED or ledger.is_worked_on(run_id)):
        raise RunConflict(
            f"run {run_id!r} holds it and is {state}: wait for its end, or `posemill cancel {run_id}` first"
        )


def _forget_in(store: Store, run_id: str, places: _Found, forgotten: Forgotten, removal: "_Removal") -> None:
    keys = RunKeys(run_id)
    for stage in Stage:
        for prefix in (keys.records(stage), keys.set_aside(stage)):
            for info in store.list(prefix):
                record = read_document(store, info.key, BatchRecord)
                mine = [result for result in record.results if _is_of(result, places) and result.reason != FORGOTTEN]
                if not mine:
                    continue
                for stored in {stored.key for result in mine for stored in result.objects}:  # before nobody names them
                    removal.remove(stored)
                forgotten.items += sum(1 for result in mine if isinstance(result, ItemResult) and result.image)
                if not removal.dry_run:
                    results = [_rejected(result) if result in mine else result for result in record.results]
                    store.put(keys.flag(stage, batch_of(info.key)), b"")
                    store.put(info.key, encode(msgspec.structs.replace(record, results=results)))


def _is_of(result: Result, places: _Found) -> bool:
    if not isinstance(result, SourceResult) and result.id in places.item_ids:
        return True
    return result.source_number in places.source_numbers


def _rejected(result: Result) -> Result:
    if isinstance(result, SourceResult):
        return SourceResult(
            source_number=result.source_number, name=result.name, outcome=Outcome.REJECTED, reason=FORGOTTEN
        )
    if isinstance(result, JudgedResult):
        is_last = result.outcome is not Outcome.AGAIN  # an earlier try is followed by one that is rejected itself
        outcome = Outcome.REJECTED if is_last else Outcome.AGAIN
        return msgspec.structs.replace(result, outcome=outcome, reason=FORGOTTEN, message="", figures={}, found=None)
    return msgspec.structs.replace(
        result, outcome=Outcome.REJECTED, reason=FORGOTTEN, message="", control_keys=[], image=None, perceptual_hash=""
    )


class _Removal:
    """What was removed, or would be; runs share control images."""

    def __init__(self, store: Store, *, dry_run: bool) -> None:
        self._store = store
        self.dry_run = dry_run
        self.keys: set[str] = set()

    def remove(self, key: str) -> None:
        """Remove an object, where there is one."""
        if key in self.keys or self._store.head(key) is None:
            return
        self.keys.add(key)
        if not self.dry_run:
            self._store.delete(key)

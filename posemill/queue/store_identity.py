"""Which store a Redis belongs to: those of two fleets, mixed up, would pause each other's runs."""

from typing import cast
from uuid import uuid4

import msgspec

from posemill.contract import keys as names
from posemill.contract.records import decode, encode
from posemill.errors import BadInput, NotFound, ServiceError
from posemill.queue.ledger import Ledger
from posemill.storage.run_documents import read_document
from posemill.storage.store import Store


class StoreIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Written once into a store, and into the Redis that serves it."""

    id: str
    url: str  # bucket and prefix as they were at that moment; never the server's address, which differs by network


class Adopted(msgspec.Struct, frozen=True, kw_only=True):
    """What changed when a Redis was given another store."""

    store: str
    before: str  # the store that Redis belonged to; nothing when it belonged to none
    forgotten_runs: list[str]  # open runs that this store does not hold


def join(store: Store, ledger: Ledger) -> None:
    """Tie a store and a Redis together that belong to nobody else yet. Raises ServiceError when they do."""
    found = _of_store(store)
    if found is None and _of_redis(ledger) is None:
        found = _name(store)
    if found is not None:
        ledger.redis.set(names.STORE, encode(msgspec.structs.replace(found, url=store.url)), nx=True)
    require_same_store(store, ledger)


def require_same_store(store: Store, ledger: Ledger) -> None:
    """Raises ServiceError when Redis belongs to another store; writes nothing."""
    known = _of_redis(ledger)
    if known is None:
        return
    found = _of_store(store)
    if known.url != store.url:
        raise ServiceError(
            f"this Redis belongs to the store {known.url}, not to {store.url}: set POSEMILL_STORE to the former, or "
            "POSEMILL_REDIS_URL to a Redis or a database (its number ends the address) of this store's own; where the "
            "store was moved on purpose, run `posemill adopt-store`"
        )
    if found is None or found.id != known.id:
        raise ServiceError(
            f"{store.url} is not the store of that name to which this Redis belongs: it was emptied, replaced, or lies "
            "on another server; look at AWS_ENDPOINT_URL and POSEMILL_REDIS_URL, or, if that is as it should be, run "
            "`posemill adopt-store`"
        )


def adopt_store(store: Store, ledger: Ledger, *, beside_workers: bool = False) -> Adopted:
    """Give a Redis to another store, and forget the open runs that this one does not hold.

    Raises BadInput while workers are alive on that Redis, which would go on with the store that they know.
    """
    alive = [] if beside_workers else sorted(ledger.workers())
    if alive:
        raise BadInput(
            f"{len(alive)} workers were heard of on this Redis in the last minute ({', '.join(alive[:3])}): stop them "
            "first, then start them with the new store; --yes goes on beside them"
        )
    known, found = _of_redis(ledger), _of_store(store) or _name(store)
    ledger.redis.set(names.STORE, encode(msgspec.structs.replace(found, url=store.url)))
    gone = [run_id for run_id in ledger.open_runs() if store.head(names.RunKeys(run_id).sealed) is None]
    for run_id in gone:
        ledger.forget(run_id)
    return Adopted(store=store.url, before=known.url if known else "", forgotten_runs=gone)


def _name(store: Store) -> StoreIdentity:
    """The identity that the store has from now on, whoever was first to give it one."""
    proposed = StoreIdentity(id=uuid4().hex, url=store.url)
    store.put_if_absent(names.STORE_IDENTITY, encode(proposed), content_type="application/json")
    return read_document(store, names.STORE_IDENTITY, StoreIdentity)


def _of_store(store: Store) -> StoreIdentity | None:
    try:
        return read_document(store, names.STORE_IDENTITY, StoreIdentity)
    except NotFound:
        return None


def _of_redis(ledger: Ledger) -> StoreIdentity | None:
    known = cast(str | None, ledger.redis.get(names.STORE))
    return decode(known.encode(), StoreIdentity) if known else None

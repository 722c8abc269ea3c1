"""Commits that workers write into a run whose submission could not look them up: the first one counts for all."""

import msgspec

from posemill.contract.keys import RunKeys
from posemill.contract.records import encode
from posemill.errors import NotFound
from posemill.storage.run_documents import read_document
from posemill.storage.store import Store


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """Which commit a model's revision means in this run."""

    model: str
    revision: str | None
    commit: str


def read_pin(store: Store, run_id: str, model: str, revision: str | None) -> str | None:
    """The commit that was written, if any. Raises UnreadableRecord."""
    try:
        return read_document(store, RunKeys(run_id).pin(model, revision), Pin).commit
    except NotFound:
        return None


def write_pin(store: Store, run_id: str, model: str, revision: str | None, commit: str) -> str:
    """The commit that stands: this one, or the one that another worker wrote before."""
    pin = Pin(model=model, revision=revision, commit=commit)
    key = RunKeys(run_id).pin(model, revision)
    _, created = store.put_if_absent(key, encode(pin), content_type="application/json")
    return commit if created else read_document(store, key, Pin).commit

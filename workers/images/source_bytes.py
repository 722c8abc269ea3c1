"""Reads what a source or a ready-made control image consists of, wherever it lies."""

from collections.abc import Sequence

import msgspec

from posemill.contract.records import Source
from posemill.storage.store import Store, get_unchanged
from posemill.storage.urls import fetch


def read_source(store: Store, source: Source, allowed_hosts: Sequence[str]) -> bytes:
    """A source's bytes. Raises NotFound when the object is gone, ChangedObject when it is another one."""
    if source.pose is not None:
        return msgspec.json.encode(source.pose, order="deterministic")
    if source.key:
        return get_unchanged(store, source.key, source.identity)
    uri = source.uri or ""
    return store.get_uri(uri) if uri.startswith("s3://") else fetch(uri, allowed_hosts)

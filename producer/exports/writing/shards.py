"""What is written down about an export: a shard's index, and the index of the whole."""

from typing import Any, Protocol

import msgspec

from posemill.contract.identity import sha256
from producer.exports.samples.options import Options
from producer.exports.samples.pictures import PreparedSample

MARKER = "posemill.json"  # first: whose export this is
EXPORT_INDEX = "index.json"  # last: the export is whole
INDEXES, STATISTICS, ROWS = "index/", "statistics/", "rows/"


class StoredFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the export as it was written."""

    name: str
    sha256: str
    size: int  # bytes


class SampleEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A sample in a shard's index."""

    item_id: str
    origin: str  # identity of its source, which decides its split
    record_sha256: str  # of everything that the run's records say about it
    image_sha256: str  # as exported
    control_sha256: str
    perceptual_hash: str  # 16 hexadecimal digits
    near_duplicate_of: str


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """A done item that is not in the export, because its picture is not what its record says."""

    item_id: str
    code: str
    message: str


class ShardIndex(msgspec.Struct, frozen=True, kw_only=True):
    """A shard's samples, in order, and its files. Written after them."""

    split: str
    number: int
    samples: list[SampleEntry]
    refused: list[Refused]
    files: list[StoredFile]


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A shard in the export index."""

    split: str
    number: int
    samples: int
    index_sha256: str


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """Whose export lies here, and with which choices."""

    run_id: str
    recipe_digest: str
    options: Options


class ExportIndex(msgspec.Struct, frozen=True, kw_only=True):
    """A finished export. Written last."""

    run_id: str
    recipe_digest: str
    options: Options
    complete: bool  # every batch of the run had its record
    planned_items: int
    outcomes: dict[str, int]  # of the run's items
    filtered: int  # done items that the filter left out
    sources: int  # different ones
    skipped_files: dict[str, int] = {}  # passed over when the run was planned, by reason
    refused_rows: int = 0  # of the manifest
    repeated_items: int = 0  # wanted more than once, and made once
    samples: dict[str, int]  # by split
    refused: int
    near_duplicates: int
    shards: list[Shard]


class ShardWriter(Protocol):
    """Writes the files of one shard."""

    def store(self, made: PreparedSample) -> None:
        """Write what needs no order; called by several threads."""

    def add(self, made: PreparedSample, row: dict[str, Any]) -> None:
        """Write what does; called once for each sample, in order, after its `store`."""

    def close(self) -> list[StoredFile]:
        """Finish and give all files."""


def shard_name(split: str, number: int) -> str:
    """A shard's name: its split and number."""
    return f"{split}-{number:05d}"


def index_name(split: str, number: int) -> str:
    """The file with a shard's index."""
    return f"{INDEXES}{shard_name(split, number)}.json"


def statistics_name(split: str, number: int) -> str:
    """The file with a shard's statistics."""
    return f"{STATISTICS}{shard_name(split, number)}.json"


def rows_name(split: str, number: int) -> str:
    """A folder format's rows, of which the split's metadata.jsonl is put together."""
    return f"{ROWS}{shard_name(split, number)}.jsonl"


def record_digest(row: dict[str, Any]) -> str:
    """The digest of a sample's row of records."""
    return sha256(msgspec.json.encode(row))


def encode_pretty(value: Any) -> bytes:
    """A record as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"

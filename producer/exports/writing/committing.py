"""How an export becomes true: its marker first, a shard's files, then its index, then its statistics.

An export that was interrupted goes on: a shard whose statistics stand is not read again, unless the run's records say
something else by now. Whatever an earlier export wrote after the first shard that must be written again is removed,
because a later shard's near-duplicates depend on the earlier ones.
"""

import msgspec

from posemill.contract.identity import sha256
from posemill.errors import BadInput, NotFound
from producer.exports.counts.statistics import Statistics
from producer.exports.writing.destinations import Destination
from producer.exports.writing.shards import (
    EXPORT_INDEX,
    INDEXES,
    MARKER,
    Marker,
    ShardIndex,
    encode_pretty,
    index_name,
    statistics_name,
)


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A shard that is committed."""

    index: ShardIndex
    index_sha256: str
    statistics: Statistics


def _difference(found: Marker, wanted: Marker) -> str:
    """What was chosen otherwise, as the options are called on the command line."""
    theirs, ours = (msgspec.to_builtins(marker.options) for marker in (found, wanted))
    changed = [f"{_flag(name)} {theirs[name]!r} (now {ours[name]!r})" for name in ours if theirs[name] != ours[name]]
    return "other options: " + ", ".join(changed) if changed else "another recipe under the same run id"


def _flag(name: str) -> str:
    return "--" + {"form": "format"}.get(name, name.replace("_", "-"))


class Commits:
    """What stands at a destination, and what is added."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination
        self._ours: set[str] = set()  # indexes that this export has written or found to be right
        self._cleared = False

    def claim(self, wanted: Marker) -> None:
        """Mark the destination as this export's, or find that it is. Raises BadInput when it is another's."""
        url = self._destination.url
        try:
            found = msgspec.json.decode(self._destination.read(MARKER), type=Marker)
        except NotFound:
            if next(self._destination.names(), None) is not None:
                raise BadInput(f"{url} holds files that are no export of posemill; choose an empty folder") from None
            self._destination.write(MARKER, encode_pretty(wanted))
            return
        except msgspec.DecodeError as error:
            raise BadInput(f"{url}/{MARKER} is no export of this version; choose an empty folder") from error
        if found.run_id != wanted.run_id:
            raise BadInput(f"{url} holds the export of run {found.run_id!r}; choose another folder")
        if found != wanted:
            raise BadInput(
                f"{url} holds an export with {_difference(found, wanted)}; choose the same, or another folder"
            )

    def standing(self, split: str, number: int, records: list[str]) -> Standing | None:
        """The shard as it was committed before, if that was from these records, by their digests."""
        try:
            statistics = msgspec.json.decode(self._destination.read(statistics_name(split, number)), type=Statistics)
            content = self._destination.read(index_name(split, number))
            index = msgspec.json.decode(content, type=ShardIndex)
        except (NotFound, msgspec.DecodeError):
            return None
        if index.refused or [entry.record_sha256 for entry in index.samples] != records:
            return None
        self._ours.add(index_name(split, number))
        return Standing(index=index, index_sha256=sha256(content), statistics=statistics)

    def commit(self, index: ShardIndex, statistics: Statistics) -> Standing:
        """The shard's files stand; write its index, then its statistics, which say that it is whole."""
        content = encode_pretty(index)
        self._destination.write(index_name(index.split, index.number), content)
        self._destination.write(statistics_name(index.split, index.number), encode_pretty(statistics))
        self._ours.add(index_name(index.split, index.number))
        return Standing(index=index, index_sha256=sha256(content), statistics=statistics)

    def discard_others(self) -> None:
        """Once: remove the export index and the shards of an earlier export that this one has not found again."""
        if self._cleared:
            return
        self._cleared = True
        others = [name for name in self._destination.names(INDEXES) if name not in self._ours]
        if others:
            self._destination.delete(EXPORT_INDEX)
        for name in others:
            index = msgspec.json.decode(self._destination.read(name), type=ShardIndex)
            for gone in (statistics_name(index.split, index.number), *(file.name for file in index.files), name):
                self._destination.delete(gone)

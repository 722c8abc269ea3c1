"""What a recipe would plan today that its sealed run does not hold, and the other way round."""

from collections.abc import Iterator

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import Item, Run, Source, decode_rows, encode_shard
from posemill.storage.run_documents import read_plan, read_shard
from posemill.storage.store import Store
from producer.runs.source_changes import SourceChanges
from producer.submitting.planning import Shard

SHOWN = 5  # names of new sources


def source_changes(store: Store, run: Run, shards: Iterator[Shard]) -> SourceChanges:
    """Compare the shards that the recipe gives today with those in storage, which stay as they are.

    Shards are compared by digest; rows are read from the first one that differs on.
    """
    comparisons = {stage: _Comparison(store, run.id, stage) for stage in (Stage.DETECT, Stage.GENERATE)}
    for shard in shards:
        comparisons[shard.stage].take(shard)
    detect, generate = comparisons[Stage.DETECT], comparisons[Stage.GENERATE]
    return SourceChanges(
        new_sources=detect.new,
        gone_sources=detect.gone,
        new_items=generate.new,
        gone_items=generate.gone,
        first_new=tuple(detect.first_new),
    )


class _Comparison:
    """One stage's shards, as they come."""

    def __init__(self, store: Store, run_id: str, stage: Stage) -> None:
        self._store, self._run_id, self._stage = store, run_id, stage
        self._rows = read_plan(store, run_id).rows[stage]
        self._same_rows = 0
        self._left: set[str] | None = None  # of the stored rows, from the first shard that differs on; None: none does
        self.new = 0
        self.first_new: list[str] = []

    def take(self, shard: Shard) -> None:
        """Compare a shard; the shards of a stage come in order."""
        if self._left is None:
            stored = self._store.head(RunKeys(self._run_id).shard(shard.stage, shard.number))
            if stored is not None and stored.sha256 == sha256(encode_shard(shard.header, shard.rows)):
                self._same_rows += len(shard.rows)
                return
            self._left = self._stored_from(shard.number)
        for row in shard.rows:
            if (known := _identity(row)) in self._left:
                self._left.remove(known)
            else:
                self.new += 1
                self.first_new += [row.name] if isinstance(row, Source) and len(self.first_new) < SHOWN else []

    @property
    def gone(self) -> int:
        """How many stored rows no shard had."""
        return len(self._left) if self._left is not None else self._rows - self._same_rows

    def _stored_from(self, number: int) -> set[str]:
        found: set[str] = set()
        rows = self._same_rows
        while rows < self._rows:
            _, content = read_shard(self._store, self._run_id, self._stage, number)
            kind: type[Source] | type[Item] = Source if self._stage is Stage.DETECT else Item
            identities = [_identity(row) for row in decode_rows(content, kind)]
            found.update(identities)
            number, rows = number + 1, rows + len(identities)
        return found


def _identity(row: Source | Item) -> str:
    return row.identity if isinstance(row, Source) else row.id

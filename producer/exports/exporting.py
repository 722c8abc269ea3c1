"""Exports a run: the stream of its samples cut into shards, each committed, and the export index last.

The same run and options give the same bytes; so do two runs of one recipe, but for the run's name in two files.
"""

from typing import Any

from posemill.errors import PermanentError
from posemill.extras import require_extra
from posemill.storage.store import Store
from producer.exports.counts.duplicates import Duplicates
from producer.exports.counts.statistics import Statistics
from producer.exports.samples.columns import Columns
from producer.exports.samples.onlooker import Onlooker
from producer.exports.samples.options import Form, Options, require_judged
from producer.exports.samples.pictures import Maker, PreparedSample
from producer.exports.samples.published import published_run
from producer.exports.samples.reading import POLL_SECONDS, Sample, SampleReader
from producer.exports.samples.selecting import Selection
from producer.exports.samples.splits import SPLITS
from producer.exports.writing.committing import Commits
from producer.exports.writing.destinations import Destination
from producer.exports.writing.folder_shards import FOLDERS, FolderShard, split_files
from producer.exports.writing.parquet_shards import ParquetShard
from producer.exports.writing.shards import (
    EXPORT_INDEX,
    ExportIndex,
    Marker,
    Refused,
    SampleEntry,
    Shard,
    ShardIndex,
    ShardWriter,
    encode_pretty,
    record_digest,
)
from producer.exports.writing.webdataset_shards import WebdatasetShard
from producer.submitting.streaming import in_order

THREADS, AHEAD = 16, 32  # samples read from storage at once, and held in memory
REFUSED = "its picture is not what its record says; `posemill check RUN --deep` names the object"
Planned = tuple[Sample, dict[str, Any]]  # a sample and its row of records


class Exporter:
    """One export of one run."""

    def __init__(self, store: Store, run_id: str, destination: Destination, options: Options) -> None:
        require_extra("export", "export")
        self.reader = SampleReader(store, run_id, with_rejected=options.form is Form.PREFERENCE)
        require_judged(options, self.reader.run)
        self.statistics = Statistics()
        self._destination = destination
        self._commits = Commits(destination)
        self._options = options
        self.shown_run = self.reader.run if options.with_provenance else published_run(self.reader.run)
        self.columns = Columns(self.reader.run, options)
        self._selection = Selection(options, self.columns)
        self._maker = Maker(store, self.reader.run, options)
        self._duplicates = Duplicates()
        self._shards: list[Shard] = []
        self._sources = bytearray(self.reader.plan.sources // 8 + 1)  # a bit each
        self._filtered = self._refused = 0

    def export(
        self,
        *,
        watch: bool = False,
        timeout_seconds: float | None = None,
        poll_seconds: float = POLL_SECONDS,
        onlooker: Onlooker | None = None,
    ) -> ExportIndex:
        """Write all shards and give the export index, which `commit` writes.

        `watch` waits for what the run has not made yet.
        """
        run = self.reader.run
        self._commits.claim(Marker(run_id=run.id, recipe_digest=run.recipe_digest, options=self._options))
        open_shards: dict[str, list[Planned]] = {split: [] for split in SPLITS}
        onlooker = onlooker or Onlooker()
        samples = self.reader.samples(
            watch=watch,
            timeout_seconds=timeout_seconds,
            poll_seconds=poll_seconds,
            other=onlooker.left_out,
            again=onlooker.again,
        )
        for sample in samples:
            row = self.columns.of_sample(sample)
            if not self._selection.takes(sample, row):
                self._filtered += 1
                onlooker.left_out(sample.item, sample.judged)
                continue
            row = self.columns.published(row)
            onlooker.taken(sample, row, self._next_shard(row["split"]))
            self._note_source(row["source_number"])
            waiting = open_shards[row["split"]]
            waiting.append((sample, row))
            if len(waiting) == self._options.shard_size:
                self._shard(row["split"], waiting)
                open_shards[row["split"]] = []
        for split, waiting in open_shards.items():
            if waiting:
                self._shard(split, waiting)
        self._commits.discard_others()
        self._write_split_files()
        return self._export_index()

    def commit(self, export_index: ExportIndex) -> None:
        """Say that the export is whole."""
        self._destination.write(EXPORT_INDEX, encode_pretty(export_index))

    def _note_source(self, number: int) -> None:
        if number >= 0:
            self._sources[number // 8] |= 0x80 >> number % 8

    # shards -------------------------------------------------------------------------------------------------------

    def _shard(self, split: str, planned: list[Planned]) -> None:
        """Write a shard, or find that it stands."""
        number = self._next_shard(split)
        digests = [record_digest(row) for _, row in planned]
        found = self._commits.standing(split, number, digests)
        if found:
            for entry in found.index.samples:
                self._duplicates.add(entry.item_id, int(entry.perceptual_hash, 16))
        else:
            self._commits.discard_others()
            found = self._commits.commit(*self._write_shard(split, number, planned, digests))
        self.statistics.merge(found.statistics)
        self._refused += len(found.index.refused)
        self._shards.append(
            Shard(split=split, number=number, samples=len(found.index.samples), index_sha256=found.index_sha256)
        )

    def _next_shard(self, split: str) -> int:
        return sum(1 for shard in self._shards if shard.split == split)

    def _write_shard(
        self, split: str, number: int, planned: list[Planned], digests: list[str]
    ) -> tuple[ShardIndex, Statistics]:
        writer, statistics = self._writer(split, number), Statistics()
        entries: list[SampleEntry] = []
        refused: list[Refused] = []
        made_samples = in_order(lambda each: self._make(writer, each[0]), planned, threads=THREADS, ahead=AHEAD)
        for made, (_, record), record_sha256 in zip(made_samples, planned, digests, strict=True):
            if isinstance(made, Refused):
                refused.append(made)
                continue
            near = self._duplicates.add(made.sample.item.id, made.perceptual_hash)
            row = self.columns.of_made(made, record, near)
            writer.add(made, row)
            pose = made.pose.pose if made.pose else None
            statistics.add(row, pose, control=made.control_image.name, image_bytes=len(made.image))
            entries.append(_entry(made, row, record_sha256))
        files = writer.close()
        return ShardIndex(split=split, number=number, samples=entries, refused=refused, files=files), statistics

    def _make(self, writer: ShardWriter, sample: Sample) -> PreparedSample | Refused:
        try:
            made = self._maker.make(sample)
        except PermanentError as error:
            message = str(error) if self._options.with_provenance else REFUSED
            return Refused(item_id=sample.item.id, code=error.code, message=message)
        writer.store(made)
        return made

    def _writer(self, split: str, number: int) -> ShardWriter:
        match self._options.form:
            case Form.WEBDATASET:
                return WebdatasetShard(self._destination, split, number, self._options)
            case Form.PARQUET | Form.PREFERENCE:
                return ParquetShard(self._destination, split, number, self._options, self.columns.kinds)
            case _:
                return FolderShard(self._destination, split, number, self._options)

    # the whole ----------------------------------------------------------------------------------------------------

    def _write_split_files(self) -> None:
        if self._options.form not in FOLDERS:
            return
        for split in SPLITS:
            numbers = [shard.number for shard in self._shards if shard.split == split and shard.samples]
            if numbers:
                split_files(self._destination, self._options.form, split, numbers)

    def _export_index(self) -> ExportIndex:
        reader, shards = self.reader, self._shards
        return ExportIndex(
            run_id=reader.run.id,
            recipe_digest=reader.run.recipe_digest,
            options=self._options,
            complete=not reader.missing_batches,
            planned_items=reader.plan.items,
            outcomes=dict(sorted(reader.outcomes.items())),
            filtered=self._filtered,
            sources=sum(byte.bit_count() for byte in self._sources),
            skipped_files={files.reason: files.count for files in reader.plan.skipped},
            refused_rows=reader.plan.refused_rows,
            repeated_items=reader.plan.repeated_items,
            samples={split: sum(shard.samples for shard in shards if shard.split == split) for split in SPLITS},
            refused=self._refused,
            near_duplicates=self.statistics.near_duplicates,
            shards=shards,
        )


def _entry(made: PreparedSample, row: dict[str, Any], record_sha256: str) -> SampleEntry:
    return SampleEntry(
        item_id=made.sample.item.id,
        origin=made.sample.origin,
        record_sha256=record_sha256,
        image_sha256=made.image_sha256,
        control_sha256=made.control_image.sha256,
        perceptual_hash=row["perceptual_hash"],
        near_duplicate_of=row["near_duplicate_of"],
    )

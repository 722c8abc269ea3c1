"""Proves an export: every sample complete, every digest right, none missing, none twice, no source in two splits."""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from posemill.contract.identity import sha256
from posemill.errors import BadInput, NotFound
from posemill.storage.store import Store
from producer.exports.reading import read_samples
from producer.exports.samples.columns import Columns
from producer.exports.samples.options import Form
from producer.exports.samples.reading import SampleReader
from producer.exports.samples.selecting import Selection
from producer.exports.samples.splits import SPLITS, split_of
from producer.exports.writing.destinations import Destination
from producer.exports.writing.folder_shards import FOLDERS, metadata_holds, metadata_name, prompts_file, split_rows
from producer.exports.writing.shards import EXPORT_INDEX, ExportIndex, SampleEntry, ShardIndex, StoredFile, index_name
from producer.runs.checking import Fault


class ExportProof(msgspec.Struct, frozen=True, kw_only=True):
    """What `check --export` found."""

    folder: str
    run_id: str
    samples: dict[str, int]
    files: int  # read and digested
    faults: list[Fault]

    @property
    def complete(self) -> bool:
        """Whether every sample is there, once and unharmed."""
        return not self.faults


def check_export(destination: Destination, store: Store | None = None, run_id: str = "") -> ExportProof:
    """Read every file of an export. With the run's store its samples are also held against the run's records.

    Raises BadInput when there is no finished export, or it is another run's.
    """
    try:
        export_index = msgspec.json.decode(destination.read(EXPORT_INDEX), type=ExportIndex)
    except (NotFound, msgspec.DecodeError) as error:
        raise BadInput(f"{destination.url} holds no finished export; run the same `posemill export` again") from error
    if run_id and run_id != export_index.run_id:
        raise BadInput(f"{destination.url} holds the export of run {export_index.run_id!r}")
    checker = _Checker(destination, export_index)
    faults = [*checker.shard_faults(), *checker.split_faults(), *checker.stray_files()]
    if store is not None:
        faults += checker.run_faults(
            SampleReader(store, export_index.run_id, with_rejected=export_index.options.form is Form.PREFERENCE)
        )
    return ExportProof(
        folder=destination.url,
        run_id=export_index.run_id,
        samples=export_index.samples,
        files=checker.files,
        faults=faults,
    )


class _Checker:
    def __init__(self, destination: Destination, export_index: ExportIndex) -> None:
        self._destination = destination
        self._export_index = export_index
        self._items: set[str] = set()
        self._names: set[str] = set()  # of files that the export should have
        self.files = 0

    def shard_faults(self) -> Iterator[Fault]:
        """What is wrong with the shards that the index names."""
        for shard in self._export_index.shards:
            name = index_name(shard.split, shard.number)
            try:
                content = self._destination.read(name)
            except NotFound:
                yield Fault(kind="missing_object", key=name, message="the export index names it, but it is gone")
                continue
            if sha256(content) != shard.index_sha256:
                yield Fault(kind="changed_object", key=name, message="its digest is not the export index's")
                continue
            yield from self._index_faults(msgspec.json.decode(content, type=ShardIndex))

    def split_faults(self) -> Iterator[Fault]:
        """Files that hold the rows of a whole split, in the formats of loose files."""
        if self._export_index.options.form not in FOLDERS:
            return
        for split in SPLITS:
            numbers = [shard.number for shard in self._export_index.shards if shard.split == split and shard.samples]
            if not numbers:
                continue
            try:
                yield from self._metadata_faults(split, numbers)
                if self._export_index.options.form is Form.FILL50K:
                    yield from self._file_faults(prompts_file(self._destination, split, numbers), None)
            except (NotFound, msgspec.MsgspecError) as error:
                yield Fault(kind="missing_object", key=metadata_name(split), message=f"cannot be compared: {error}")

    def _metadata_faults(self, split: str, numbers: list[int]) -> Iterator[Fault]:
        """By its rows and not by its digest: another version of pyarrow writes them in other bytes."""
        name = metadata_name(split)
        self._names.add(name)
        self.files += 1
        with tempfile.TemporaryDirectory(prefix="posemill-check-") as folder:
            path = Path(folder) / "metadata"
            self._destination.read_file(name, path)
            if not metadata_holds(path, split_rows(self._destination, split, numbers)):
                yield Fault(kind="changed_object", key=name, message="its rows are not those of the split's shards")

    def stray_files(self) -> Iterator[Fault]:
        """Files that no index names."""
        for split in SPLITS:
            for name in self._destination.names(f"{split}/"):
                if name not in self._names:
                    yield Fault(kind="stray_object", key=name, message="no index names this file")

    def run_faults(self, reader: SampleReader) -> Iterator[Fault]:
        """The run's done items that pass the filter, against the samples."""
        columns = Columns(reader.run, self._export_index.options)
        selection = Selection(self._export_index.options, columns)
        wanted = {sample.item.id for sample in reader.samples() if selection.takes(sample, columns.of_sample(sample))}
        for item_id in sorted(wanted - self._items):
            yield Fault(kind="missing_sample", key=item_id, message="the run has made it, but it is not here")
        for item_id in sorted(self._items - wanted):
            yield Fault(kind="wrong_sample", key=item_id, message="the run has no such item done, or the filter is off")

    def _index_faults(self, index: ShardIndex) -> Iterator[Fault]:
        for refused in index.refused:
            yield Fault(kind="refused_sample", key=refused.item_id, message=refused.message)
        with tempfile.TemporaryDirectory(prefix="posemill-check-") as folder:
            local = Path(folder) / "shard"
            faults = [fault for file in index.files for fault in self._file_faults(file, local)]
            yield from faults
            if not faults:  # else the samples are told by their file
                yield from self._sample_faults(index, local)
        for entry in index.samples:
            yield from self._entry_faults(index, entry)

    def _file_faults(self, file: StoredFile, local: Path | None) -> Iterator[Fault]:
        """Read a file; what is read last stays at `local`."""
        self._names.add(file.name)
        self.files += 1
        with tempfile.TemporaryDirectory(prefix="posemill-check-") as folder:
            path = local or Path(folder) / "file"
            try:
                self._destination.read_file(file.name, path)
            except NotFound:
                yield Fault(kind="missing_object", key=file.name, message="an index names it, but it is gone")
                return
            with path.open("rb") as content:
                if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                    yield Fault(kind="changed_object", key=file.name, message="its digest is not the recorded one")

    def _sample_faults(self, index: ShardIndex, local: Path) -> Iterator[Fault]:
        """The samples in the shard's last file, against the index."""
        found = list(read_samples(self._export_index.options, local, index.files))
        ids = [sample.item_id for sample in found]
        if ids != [entry.item_id for entry in index.samples]:
            key = index.files[-1].name
            yield Fault(kind="wrong_sample", key=key, message="its samples are not those of its index")
            return
        for sample, entry in zip(found, index.samples, strict=True):
            if not sample.complete:
                yield Fault(kind="incomplete_sample", key=sample.item_id, message="a member of it is missing")
            elif (sample.image_sha256, sample.control_sha256) != (entry.image_sha256, entry.control_sha256):
                yield Fault(kind="changed_object", key=sample.item_id, message="its pictures are not the recorded ones")

    def _entry_faults(self, index: ShardIndex, entry: SampleEntry) -> Iterator[Fault]:
        options = self._export_index.options
        if entry.item_id in self._items:
            yield Fault(kind="double_sample", key=entry.item_id, message="it is in the export twice")
        self._items.add(entry.item_id)
        if split_of(entry.origin, validation=options.validation, test=options.test) != index.split:
            yield Fault(kind="wrong_split", key=entry.item_id, message=f"its source does not belong into {index.split}")

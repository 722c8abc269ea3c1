"""Formats of loose files: ImageFolder as `datasets` reads it, and the layout of ControlNet's own fill50k."""

import hashlib
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from posemill.contract.identity import sha256
from posemill.extras import require_extra
from producer.exports.samples.options import Form, Options
from producer.exports.samples.pictures import PreparedSample
from producer.exports.writing.destinations import Destination
from producer.exports.writing.shards import StoredFile, rows_name
from producer.exports.writing.temporary import GrowingFile

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 1000  # of metadata in memory at once
ARROW_TYPES = {str: "string", bool: "bool", int: "int64", float: "float64"}
FOLDERS = {  # of images and control images, below the split's
    Form.IMAGEFOLDER: ("images", "control_images"),
    Form.FILL50K: ("target", "source"),
}


def image_file(options: Options, number: int, item_id: str) -> str:
    """Below the split's folder, as are all."""
    return f"{FOLDERS[options.form][0]}/{number:05d}/{item_id}.{options.image_format.suffix}"


def control_file(options: Options, number: int, name: str) -> str:
    """A control image's file."""
    return f"{FOLDERS[options.form][1]}/{number:05d}/{name}.png"


def source_file(options: Options, number: int, item_id: str) -> str:
    """A source image's file."""
    return f"sources/{number:05d}/{item_id}.{options.image_format.suffix}"


class FolderShard:
    """A folder of pictures for each kind and shard, so that none holds more files than a hub allows."""

    def __init__(self, destination: Destination, split: str, number: int, options: Options) -> None:
        self._destination = destination
        self._split = split
        self._number = number
        self._options = options
        self._rows = GrowingFile(destination, rows_name(split, number))
        self._files: dict[str, StoredFile] = {}
        self._lock = threading.Lock()

    def store(self, made: PreparedSample) -> None:
        """Write a sample's files."""
        for name, content in self._contents(made).items():
            self._write(name, content)

    def add(self, made: PreparedSample, row: dict[str, Any]) -> None:
        """Add a sample's line of metadata, in the samples' order."""
        names = list(self._contents(made))
        named = {"file_name": names[0], "conditioning_image_file_name": names[1]}
        if made.source is not None:
            named["source_image_file_name"] = names[2]
        named["pose"] = self._pose_name(made) if made.pose else ""
        self._rows.stream.write(msgspec.json.encode(named | row) + b"\n")

    def close(self) -> list[StoredFile]:
        """Write the metadata; gives the shard's files."""
        return [*(self._files[name] for name in sorted(self._files)), self._rows.finish()]

    def _contents(self, made: PreparedSample) -> dict[str, bytes]:
        """The sample's files, relative to the split: image, control image, and what else there is."""
        item_id = made.sample.item.id
        contents = {
            image_file(self._options, self._number, item_id): made.image,
            control_file(self._options, self._number, made.control_image.name): made.control_image.png,
        }
        if made.source is not None:
            contents[source_file(self._options, self._number, item_id)] = made.source
        if made.pose:
            contents[self._pose_name(made)] = made.pose.openpose.encode()
        return contents

    def _pose_name(self, made: PreparedSample) -> str:
        return f"poses/{self._number:05d}/{made.control_image.name}.json"

    def _write(self, name: str, content: bytes) -> None:
        """Write a file once, though several samples share it."""
        full = f"{self._split}/{name}"
        with self._lock:
            if full in self._files:
                return
            self._files[full] = StoredFile(name=full, sha256=sha256(content), size=len(content))
        self._destination.write(full, content)


def split_files(destination: Destination, form: Form, split: str, numbers: Sequence[int]) -> None:
    """Put a split's rows together: metadata.parquet, and for fill50k also its prompt.json.

    Parquet, because `datasets` guesses the types of a metadata.jsonl: a prompt such as 2024-01-01 came back as a date.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = split_rows(destination, split, numbers)
    batch = list(itertools.islice(rows, BATCH_ROWS))
    if not batch:
        return  # every sample of it was refused
    metadata, schema = GrowingFile(destination, metadata_name(split)), _schema_of(batch[0])
    with pq.ParquetWriter(metadata.stream, schema, compression="zstd") as writer:
        while batch:
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))
            batch = list(itertools.islice(rows, BATCH_ROWS))
    metadata.finish()
    if form is Form.FILL50K:
        prompts = GrowingFile(destination, prompts_name(split))
        prompts.stream.writelines(_prompt_lines(destination, split, numbers))
        prompts.finish()


def metadata_name(split: str) -> str:
    """The file with a split's rows."""
    return f"{split}/metadata.parquet"


def prompts_name(split: str) -> str:
    """The file with a split's prompts, in fill50k's form."""
    return f"{split}/prompt.json"


def split_rows(destination: Destination, split: str, numbers: Iterable[int]) -> Iterator[dict[str, Any]]:
    """The rows of a split's shards, as they were written."""
    for number in numbers:
        yield from map(msgspec.json.decode, destination.read(rows_name(split, number)).splitlines())


def prompts_file(destination: Destination, split: str, numbers: Sequence[int]) -> StoredFile:
    """What fill50k's prompt.json must be, by the shards' rows."""
    digest, size = hashlib.sha256(), 0
    for line in _prompt_lines(destination, split, numbers):
        digest.update(line)
        size += len(line)
    return StoredFile(name=prompts_name(split), sha256=digest.hexdigest(), size=size)


def metadata_holds(path: Path, rows: Iterator[dict[str, Any]]) -> bool:
    """Whether a metadata.parquet has these rows and no others, in their order."""
    require_extra("parquet", path.name)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                found = batch.to_pylist()
                if found != list(itertools.islice(rows, len(found))):
                    return False
    except (pa.ArrowException, OSError, ValueError):
        return False
    return next(rows, None) is None


def _schema_of(row: dict[str, Any]) -> "pa.Schema":
    """By the values of a row, for none is ever null."""
    import pyarrow as pa

    return pa.schema([(name, pa.type_for_alias(ARROW_TYPES[type(value)])) for name, value in row.items()])


def _prompt_lines(destination: Destination, split: str, numbers: Iterable[int]) -> Iterator[bytes]:
    for row in split_rows(destination, split, numbers):
        prompt = {"source": row["conditioning_image_file_name"], "target": row["file_name"], "prompt": row["text"]}
        yield msgspec.json.encode(prompt) + b"\n"

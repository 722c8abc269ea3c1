"""Parquet: a file a shard, whose schema carries the `datasets` features, so that pictures load as pictures."""

import json
from typing import TYPE_CHECKING, Any

from producer.exports.samples.columns import Kind
from producer.exports.samples.options import Form, Options
from producer.exports.samples.pictures import PreparedSample
from producer.exports.writing.destinations import Destination
from producer.exports.writing.shards import StoredFile
from producer.exports.writing.temporary import GrowingFile

if TYPE_CHECKING:
    import pyarrow as pa

PAIR = ("jpg_0", "jpg_1")  # whatever the image format: the names that Diffusion-DPO's training script reads
ROW_GROUP = 100  # samples; readers hold one at a time


def parquet_name(split: str, number: int) -> str:
    """A shard's file."""
    return f"{split}/{number:05d}.parquet"


def schema_of(kinds: dict[str, Kind], *, with_source: bool, pairs: bool = False) -> "pa.Schema":
    """Pictures first, then a column each. `pairs`: two encoded images instead of one picture."""
    import pyarrow as pa

    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # as `datasets` stores an Image
    pictures = [*([] if pairs else ["image"]), "conditioning_image", *(["source_image"] if with_source else [])]
    encoded = list(PAIR) if pairs else []
    features: dict[str, Any] = {name: {"_type": "Image"} for name in pictures}
    features |= {name: {"dtype": "binary", "_type": "Value"} for name in encoded}
    features |= {name: {"dtype": kind, "_type": "Value"} for name, kind in kinds.items()}
    fields = [pa.field(name, picture) for name in pictures] + [pa.field(name, pa.binary()) for name in encoded]
    fields += [pa.field(name, pa.type_for_alias(kind)) for name, kind in kinds.items()]
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


class ParquetShard:
    """Columns `image` (or the two of a pair), `conditioning_image`, `text` and all others."""

    def __init__(
        self, destination: Destination, split: str, number: int, options: Options, kinds: dict[str, Kind]
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._file = GrowingFile(destination, parquet_name(split, number))
        self._suffix = options.image_format.suffix
        self._pairs = options.form is Form.PREFERENCE
        self._schema = schema_of(kinds, with_source=options.with_source, pairs=self._pairs)
        compression = {name: "none" if pa.types.is_struct(field.type) or name in PAIR else "zstd"
                       for name, field in ((field.name, field) for field in self._schema)}  # fmt: skip
        self._writer = pq.ParquetWriter(self._file.stream, self._schema, compression=_by_leaf(compression))
        self._rows: list[dict[str, Any]] = []

    def store(self, made: PreparedSample) -> None:
        """Nothing: a row group is written at once."""

    def add(self, made: PreparedSample, row: dict[str, Any]) -> None:
        """Add a sample as a row; a full row group is written."""
        name = row["item_id"]
        pictures: dict[str, Any] = {
            "image": {"bytes": made.image, "path": f"{name}.{self._suffix}"},
            "conditioning_image": {"bytes": made.control_image.png, "path": f"{name}.cond.png"},
            "source_image": made.source and {"bytes": made.source, "path": f"{name}.source.{self._suffix}"},
        }
        if self._pairs:
            sides = (made.image, made.rejected) if row["label_0"] else (made.rejected, made.image)
            pictures |= dict(zip(PAIR, sides, strict=True))
        self._rows.append({name: (pictures | row)[name] for name in self._schema.names})
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def close(self) -> list[StoredFile]:
        """Write what is left; gives the shard's file."""
        self._flush()
        self._writer.close()
        return [self._file.finish()]

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []


def _by_leaf(compression: dict[str, str]) -> dict[str, str]:
    """Codecs by the paths that Parquet knows: a picture is two columns."""
    leaves: dict[str, str] = {}
    for name, codec in compression.items():
        paths = [f"{name}.bytes", f"{name}.path"] if codec == "none" and name not in PAIR else [name]
        leaves |= dict.fromkeys(paths, codec)
    return leaves

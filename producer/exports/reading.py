"""Reads the samples of a shard back, for the proof."""

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from posemill.contract.identity import sha256
from posemill.extras import require_extra
from producer.exports.samples.options import Form, Options
from producer.exports.writing.shards import StoredFile

BATCH = 100  # rows of Parquet in memory at once


class FoundSample(msgspec.Struct, frozen=True, kw_only=True):
    """A sample as it stands in a shard."""

    item_id: str
    complete: bool  # image, control image, text and record are all there
    image_sha256: str
    control_sha256: str


def read_samples(options: Options, path: Path, files: Sequence[StoredFile]) -> Iterator[FoundSample]:
    """The samples in a shard's last file, which lies at `path`; `files` are all the files of the shard."""
    match options.form:
        case Form.WEBDATASET:
            return _from_tar(path, options.image_format.suffix)
        case Form.PARQUET:
            return _from_parquet(path)
        case Form.PREFERENCE:
            return _from_pairs(path)
        case _:
            return _from_rows(path, {file.name.split("/", 1)[1]: file.sha256 for file in files})


def _from_tar(path: Path, suffix: str) -> Iterator[FoundSample]:
    key, members = "", dict[str, bytes]()
    with tarfile.open(path) as tar:
        for member in tar:
            stem, _, extension = member.name.partition(".")
            if stem != key and members:
                yield _tar_sample(key, members, suffix)
                members = {}
            content = tar.extractfile(member)
            key, members[extension] = stem, content.read() if content else b""
            tar.members = []  # type: ignore[attr-defined]  # else tarfile remembers them all
    if members:
        yield _tar_sample(key, members, suffix)


def _tar_sample(key: str, members: dict[str, bytes], suffix: str) -> FoundSample:
    return FoundSample(
        item_id=key,
        complete=all(members.get(name) for name in (suffix, "cond.png", "json")) and "txt" in members,
        image_sha256=sha256(members.get(suffix, b"")),
        control_sha256=sha256(members.get("cond.png", b"")),
    )


def _from_parquet(path: Path) -> Iterator[FoundSample]:
    require_extra("parquet", f"{path.name}")
    import pyarrow.parquet as pq

    columns = ["item_id", "text", "image", "conditioning_image"]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH, columns=columns):
            for row in batch.to_pylist():
                image, control = ((row[name] or {}).get("bytes") or b"" for name in ("image", "conditioning_image"))
                yield FoundSample(
                    item_id=row["item_id"],
                    complete=bool(image and control) and row["text"] is not None,
                    image_sha256=sha256(image),
                    control_sha256=sha256(control),
                )


def _from_pairs(path: Path) -> Iterator[FoundSample]:
    require_extra("parquet", f"{path.name}")
    import pyarrow.parquet as pq

    columns = ["item_id", "caption", "conditioning_image", "jpg_0", "jpg_1", "label_0"]
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH, columns=columns):
            for row in batch.to_pylist():
                good, bad = (row["jpg_0"], row["jpg_1"]) if row["label_0"] else (row["jpg_1"], row["jpg_0"])
                control = (row["conditioning_image"] or {}).get("bytes") or b""
                yield FoundSample(
                    item_id=row["item_id"],
                    complete=bool(good and bad and control) and row["caption"] is not None,
                    image_sha256=sha256(good or b""),
                    control_sha256=sha256(control),
                )


def _from_rows(path: Path, digests: dict[str, str]) -> Iterator[FoundSample]:
    with path.open("rb") as lines:
        for line in lines:
            row = msgspec.json.decode(line)
            image, control = (digests.get(row[f"{name}file_name"], "") for name in ("", "conditioning_image_"))
            yield FoundSample(
                item_id=row["item_id"],
                complete=bool(image and control) and (not row["pose"] or row["pose"] in digests),
                image_sha256=image,
                control_sha256=control,
            )

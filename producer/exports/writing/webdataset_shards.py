"""WebDataset: a tar a shard; the members of a sample are adjacent and share the name before the first dot."""

import tarfile
from typing import Any

import msgspec

from producer.exports.samples.options import Options
from producer.exports.samples.pictures import PreparedSample
from producer.exports.writing.destinations import Destination
from producer.exports.writing.shards import StoredFile
from producer.exports.writing.temporary import GrowingFile


def tar_name(split: str, number: int) -> str:
    """A shard's file."""
    return f"{split}/{number:05d}.tar"


class WebdatasetShard:
    """Image, `cond.png`, `txt` and `json` for each sample, and the source image where it is wanted."""

    def __init__(self, destination: Destination, split: str, number: int, options: Options) -> None:
        from webdataset import TarWriter

        self._file = GrowingFile(destination, tar_name(split, number))
        self._suffix = options.image_format.suffix
        # The same samples must give the same bytes: no clock, no user.
        self._tar = TarWriter(self._file.stream, encoder=False, mtime=0, user="posemill", group="posemill")
        self._tar.tarstream = tarfile.open(fileobj=self._file.stream, mode="w")  # noqa: SIM115  # theirs cuts to pieces

    def store(self, made: PreparedSample) -> None:
        """Nothing: a tar grows in order."""

    def add(self, made: PreparedSample, row: dict[str, Any]) -> None:
        """Add a sample's members, one after another, under one name."""
        members = {
            "__key__": row["item_id"],
            self._suffix: made.image,
            "cond.png": made.control_image.png,
            "txt": row["text"].encode(),
            "json": msgspec.json.encode(row),
        }
        if made.source is not None:
            members[f"source.{self._suffix}"] = made.source
        self._tar.write(members)

    def close(self) -> list[StoredFile]:
        """End the tar; gives the shard's file."""
        self._tar.close()
        return [self._file.finish()]

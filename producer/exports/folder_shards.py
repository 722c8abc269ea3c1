"""Formats of loose files: ImageFolder as `datasets` reads it, and the layout of ControlNet's own fill50k."""

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from posemill.identity import sha256
from producer.exports.destinations import Destination
from producer.exports.options import Form, Options
from producer.exports.pictures import Made
from producer.exports.shards import StoredFile, rows_name
from producer.exports.temporary import GrowingFile

FOLDERS = {  # of images and control images, below the split's
    Form.IMAGEFOLDER: ("images", "control_images"),
    Form.FILL50K: ("target", "source"),
}


def image_file(options: Options, number: int, item_id: str) -> str:
    """Below the split's folder, as are all."""
    return f"{FOLDERS[options.form][0]}/{number:05d}/{item_id}.{options.image_format.suffix}"


def control_file(options: Options, number: int, name: str) -> str:
    return f"{FOLDERS[options.form][1]}/{number:05d}/{name}.png"


def source_file(options: Options, number: int, item_id: str) -> str:
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

    def store(self, made: Made) -> None:
        for name, content in self._contents(made).items():
            self._write(name, content)

    def add(self, made: Made, row: dict[str, Any]) -> None:
        names = list(self._contents(made))
        named = {"file_name": names[0], "conditioning_image_file_name": names[1]}
        if made.source is not None:
            named["source_image_file_name"] = names[2]
        named["pose"] = self._pose_name(made) if made.pose else ""
        self._rows.stream.write(msgspec.json.encode(named | row) + b"\n")

    def close(self) -> list[StoredFile]:
        return [*(self._files[name] for name in sorted(self._files)), self._rows.finish()]

    def _contents(self, made: Made) -> dict[str, bytes]:
        """The sample's files, relative to the split: image, control image, and what else there is."""
        item_id = made.sample.item.id
        contents = {
            image_file(self._options, self._number, item_id): made.image,
            control_file(self._options, self._number, made.control.name): made.control.png,
        }
        if made.source is not None:
            contents[source_file(self._options, self._number, item_id)] = made.source
        if made.pose:
            contents[self._pose_name(made)] = made.pose.openpose.encode()
        return contents

    def _pose_name(self, made: Made) -> str:
        return f"poses/{self._number:05d}/{made.control.name}.json"

    def _write(self, name: str, content: bytes) -> None:
        """Write a file once, though several samples share it."""
        full = f"{self._split}/{name}"
        with self._lock:
            if full in self._files:
                return
            self._files[full] = StoredFile(name=full, sha256=sha256(content), size=len(content))
        self._destination.write(full, content)


def split_files(destination: Destination, form: Form, split: str, numbers: Iterable[int]) -> list[StoredFile]:
    """Put a split's rows together: metadata.jsonl, and for fill50k also its prompt.json."""
    files = {name: GrowingFile(destination, name) for name in split_names(form, split)}
    for name, line in _split_lines(destination, form, split, numbers):
        files[name].stream.write(line)
    return [file.finish() for file in files.values()]


def split_digests(destination: Destination, form: Form, split: str, numbers: Sequence[int]) -> list[StoredFile]:
    """What `split_files` must have written, by the shards' rows."""
    if not numbers:
        return []
    digests = {name: hashlib.sha256() for name in split_names(form, split)}
    sizes = dict.fromkeys(digests, 0)
    for name, line in _split_lines(destination, form, split, numbers):
        digests[name].update(line)
        sizes[name] += len(line)
    return [StoredFile(name=name, sha256=digests[name].hexdigest(), size=sizes[name]) for name in digests]


def split_names(form: Form, split: str) -> list[str]:
    return [f"{split}/metadata.jsonl", *([f"{split}/prompt.json"] if form is Form.FILL50K else [])]


def _split_lines(
    destination: Destination, form: Form, split: str, numbers: Iterable[int]
) -> Iterator[tuple[str, bytes]]:
    """Lines, each with the file that it belongs to."""
    names = split_names(form, split)
    for number in numbers:
        for line in destination.read(rows_name(split, number)).splitlines(keepends=True):
            yield names[0], line
            if form is Form.FILL50K:
                yield names[1], _prompt_line(line)


def _prompt_line(line: bytes) -> bytes:
    row = msgspec.json.decode(line)
    prompt = {"source": row["conditioning_image_file_name"], "target": row["file_name"], "prompt": row["text"]}
    return msgspec.json.encode(prompt) + b"\n"

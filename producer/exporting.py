"""Exports a run as an ImageFolder: files beside a metadata.jsonl, as `datasets` loads it and ControlNet trains on.

DEST/train/images, control_images, poses and metadata.jsonl, whose lines name image and control image, the text,
and everything the records say.
"""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
from PIL import Image

from posemill.errors import BadInput
from posemill.identity import digest
from posemill.names import RunKeys, Stage
from posemill.rebuild import read_plan, read_run
from posemill.records import BatchRecord, ItemResult, Outcome, Source, SourceResult, decode, decode_rows
from posemill.settings import Settings
from posemill.storage import Store
from posemill.web import fetch
from producer.contact_sheet import SheetImage, SheetRow
from producer.streaming import in_order

SPLIT = "train"


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export wrote."""

    folder: str
    samples: int
    skipped: int  # items that are not done


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A done item, what its image was drawn from, and the record it stands in."""

    item: ItemResult
    source: SourceResult | None
    made_with: dict[str, Any]


def read_samples(store: Store, run_id: str) -> Iterator[Sample]:
    """The run's done items in the plan's order, a batch at a time."""
    run, plan, keys = read_run(store, run_id), read_plan(store, run_id), RunKeys(run_id)
    written = {info.key for info in store.list(keys.records(Stage.GENERATE))}
    sources = _DetectRecords(store, keys, run.slicing[Stage.DETECT].batch_size)
    for batch in range(plan.generate_batches):
        key = keys.record(Stage.GENERATE, batch)
        if key not in written:
            continue
        record = decode(store.get(key), BatchRecord)
        for item in record.items:
            if item.outcome is Outcome.DONE:
                yield Sample(item=item, source=sources.result(item.source), made_with=record.made_with)


class _DetectRecords:
    """Detect results by source number, with the last record kept."""

    def __init__(self, store: Store, keys: RunKeys, batch_size: int) -> None:
        self._store = store
        self._keys = keys
        self._batch_size = batch_size
        self._kept: tuple[int, dict[int, SourceResult]] = (-1, {})

    def result(self, source: int | None) -> SourceResult | None:
        if source is None:
            return None
        batch = source // self._batch_size
        if self._kept[0] != batch:
            record = decode(self._store.get(self._keys.record(Stage.DETECT, batch)), BatchRecord)
            self._kept = batch, {result.source: result for result in record.sources}
        return self._kept[1].get(source)


def export_imagefolder(store: Store, run_id: str, destination: Path) -> Exported:
    """Write the run's done items below destination. Safe to repeat: files that are there are kept.

    Raises BadInput when destination holds something else.
    """
    plan = read_plan(store, run_id)
    _require_ours(destination, run_id)
    folder = destination / SPLIT
    for name in ("images", "control_images", "poses"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (destination / "posemill.json").write_text(json.dumps({"run_id": run_id, "format": "imagefolder"}) + "\n")
    samples = 0
    partial = folder / "metadata.jsonl.partial"
    with partial.open("wb") as lines:
        for line in in_order(lambda sample: _write_sample(store, folder, sample), read_samples(store, run_id)):
            lines.write(line + b"\n")
            samples += 1
    partial.replace(folder / "metadata.jsonl")
    return Exported(folder=str(destination), samples=samples, skipped=plan.items - samples)


def _require_ours(destination: Path, run_id: str) -> None:
    if not destination.exists() or not any(destination.iterdir()):
        return
    try:
        marker = json.loads((destination / "posemill.json").read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{destination} holds files that are no export of posemill; choose an empty folder") from error
    if marker.get("run_id") != run_id:
        raise BadInput(f"{destination} holds the export of run {marker.get('run_id')!r}; choose another folder")


def _write_sample(store: Store, folder: Path, sample: Sample) -> bytes:
    """Write a sample's files and give its line of metadata."""
    item = sample.item
    assert item.image is not None
    image = f"images/{item.id}.png"
    control = f"control_images/{control_name(item)}.png"
    _write(folder / image, lambda: store.get(item.image.key))  # type: ignore[union-attr]
    _write(folder / control, lambda: _control_png(store, item.control))
    pose = None
    if sample.source and sample.source.pose:
        pose, pose_key = f"poses/{control_name(item)}.json", sample.source.pose.key
        _write(folder / pose, lambda: store.get(pose_key))
    return msgspec.json.encode(_metadata(sample, image, control, pose))


def _metadata(sample: Sample, image: str, control: str, pose: str | None) -> dict[str, Any]:
    item, source = sample.item, sample.source
    made_with = sample.made_with
    generate = {name: value for name, value in made_with.get("generate", {}).items() if value is not None}
    return {
        "file_name": image,
        "conditioning_image_file_name": control,
        "text": item.prompt,
        "pose": pose,
        "item_id": item.id,
        "negative_prompt": item.negative_prompt,
        "prompt_truncated": item.prompt_truncated,
        "seed": item.seed,
        "source": item.source_name,
        "source_sha256": source.source_sha256 if source else None,
        "detector": item.detector,
        "people": source.people if source else None,
        "score": source.score if source else None,
        "width": item.width,
        "height": item.height,
        "sha256": item.image.sha256 if item.image else None,
        "seconds": item.seconds,
        **{f"generate_{name}": value for name, value in generate.items()},
        **{f"column_{name}": value for name, value in item.columns.items()},
        **{name: made_with.get(name) for name in ("device", "dtype")},
        "versions": json.dumps(made_with.get("versions", {}), sort_keys=True),
    }


def control_name(item: ItemResult) -> str:
    """A file name for the item's control image: its digest, or one of its address where it was ready-made."""
    made = item.control.startswith("controls/")
    return Path(item.control).stem if made else digest("control image", item.control)


def _control_png(store: Store, address: str) -> bytes:
    """A control image's PNG; one that the user brought is converted."""
    if address.startswith("controls/"):
        return store.get(address)
    buffer = io.BytesIO()
    Image.open(io.BytesIO(_read(store, address))).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def _read(store: Store, address: str) -> bytes:
    """What lies at a key of the store, an s3:// address or a URL."""
    if address.startswith("s3://"):
        return store.get_uri(address)
    return fetch(address, Settings().hosts) if "://" in address else store.get(address)


def _write(path: Path, read: Callable[[], bytes]) -> None:
    """Write a file, whole or not at all; one that is there is kept."""
    if path.exists():
        return
    partial = path.with_name(f".{path.name}.{token_hex(4)}")
    partial.write_bytes(read())
    partial.replace(path)


def sheet_rows(
    store: Store, run_id: str, destination: Path, *, limit_rows: int = 24, limit_images: int = 8
) -> list[SheetRow]:
    """Rows for a contact sheet of an export: each source with its control image and first images."""
    groups: dict[str, list[Sample]] = {}
    for sample in read_samples(store, run_id):
        group = groups.setdefault(sample.item.control, [])
        if len(group) < limit_images:
            group.append(sample)
        if len(groups) > limit_rows:
            break
    return [_sheet_row(store, run_id, destination, samples) for samples in list(groups.values())[:limit_rows]]


def _sheet_row(store: Store, run_id: str, destination: Path, samples: list[Sample]) -> SheetRow:
    first = samples[0].item
    return SheetRow(
        title=first.source_name,
        source=_source_picture(store, run_id, destination, first),
        control=destination / SPLIT / "control_images" / f"{control_name(first)}.png",
        images=tuple(
            SheetImage(
                path=destination / SPLIT / "images" / f"{sample.item.id}.png",
                prompt=sample.item.prompt,
                seed=sample.item.seed,
            )
            for sample in samples
        ),
    )


def _source_picture(store: Store, run_id: str, destination: Path, item: ItemResult) -> Path | None:
    """The source's picture, fetched for the sheet; None for ready-made poses and control images."""
    if item.source is None:
        return None
    run = read_run(store, run_id)
    shard, rows = run.slicing[Stage.DETECT].place(item.source // run.slicing[Stage.DETECT].batch_size)
    content = store.get(RunKeys(run_id).shard(Stage.DETECT, shard))
    source = decode_rows(content, Source, rows)[item.source % run.slicing[Stage.DETECT].batch_size]
    if source.pose is not None:
        return None
    folder = destination / "sources"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{source.identity[:32] if source.key else item.source}{Path(source.name).suffix}"
    _write(path, lambda: _read(store, source.key or source.uri or ""))
    return path

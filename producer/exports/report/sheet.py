"""The contact sheet of an export: an even sample of its sources with their images, read from storage again."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from posemill.contract.records import ItemResult, JudgedResult, Outcome, Run
from posemill.errors import PosemillError
from posemill.pictures.decoding import decode_picture
from posemill.pictures.poses import Pose, from_openpose_json
from posemill.storage.store import Store
from producer.exports.samples.controls import SampleControls, control_name, read_address
from producer.exports.samples.keeping import Kept
from producer.exports.samples.onlooker import Onlooker
from producer.exports.samples.options import Form, Options
from producer.exports.samples.pictures import planned_source
from producer.exports.samples.published import published_name, sources_of
from producer.exports.samples.reading import Sample, oks_of
from producer.exports.writing.folder_shards import FOLDERS, control_file, image_file, source_file
from producer.exports.writing.parquet_shards import parquet_name
from producer.exports.writing.webdataset_shards import tar_name
from producer.sheets.contact_sheet import (
    Sheet,
    SheetControl,
    SheetImage,
    SheetLine,
    SheetRow,
    UnusedSource,
    UnusedSources,
)
from producer.sheets.sampling import EvenSample, even_places

MOST_SOURCES, MOST_PROMPTS, MOST_IMAGES, MOST_UNUSED = 24, 6, 8, 12
ABOUT_IMAGES, FEWEST_SOURCES = 240, 4  # on a page: some ten megabytes
MOST_OPEN = 4 * MOST_SOURCES  # sources that wait for a try to pass
FILTERED = "left out by the filter"
GONE = "not in storage any more"


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """An item that may be shown."""

    item: ItemResult
    text: str  # what to train on: its prompt or caption
    judged: JudgedResult | None = None
    tries: tuple[ItemResult, ...] = ()  # earlier ones, which did not pass
    sample: Sample | None = None  # None: it is not in the export
    split: str = ""
    shard: int = 0


@dataclass(kw_only=True)
class _Line:
    """The first few items of one prompt."""

    seen: list[_Seen] = field(default_factory=list)
    total: int = 0

    def add(self, seen: _Seen) -> None:
        """Take one image into the line of its prompt."""
        self.total += 1
        if len(self.seen) < MOST_IMAGES:
            self.seen.append(seen)


@dataclass(kw_only=True)
class _Source:
    """What is remembered of a source, or of a ready-made control image."""

    number: int | None
    control: str = ""  # where it is a ready-made one
    title: str = ""
    lines: EvenSample[_Line] = field(default_factory=lambda: EvenSample(MOST_PROMPTS))
    last: _Line = field(default_factory=_Line)
    first: _Seen | None = None  # of those that are in the export
    reason: str = ""  # why the last item that is not in it is not
    tries: dict[str, list[ItemResult]] = field(default_factory=dict)  # that did not pass, by the item wanted
    is_counted: bool = False  # among those that a sheet may show

    def add(self, seen: _Seen) -> None:
        """Take one image into the rows of its source."""
        if not self.last.seen or self.last.seen[0].item.prompt != seen.item.prompt:
            self.last = self._line_of(seen.item.prompt)
        self.last.add(seen)
        if seen.sample:
            self.first = self.first or seen
        else:
            self.reason = _why_not(seen.item)

    def tries_of(self, judged: JudgedResult | None) -> tuple[ItemResult, ...]:
        """The tries before the last one of an item, which is settled now."""
        return tuple(self.tries.pop(judged.wanted_id, ())) if judged else ()

    def _line_of(self, prompt: str) -> _Line:
        """The prompt's own: with later tries, an earlier prompt comes back."""
        for line in self.lines.kept:
            if line.seen[0].item.prompt == prompt:
                return line
        line = _Line()
        self.lines.add(line)
        return line


class Shown(Onlooker):
    """What a sheet will show: evenly chosen sources, prompts of each, and sources that gave no image."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._used = EvenSample[_Source](MOST_SOURCES)
        self._unused: dict[str, EvenSample[int]] = {}
        self._current = _Source(number=None)
        self._control = ""  # of the current source, where that was ready-made
        self._open: dict[tuple[int | None, str], _Source] = {}  # that have shown nothing yet but tries
        self._counted: set[int] = set()  # hashes of the keys of all sources that were counted

    def taken(self, sample: Sample, row: dict[str, Any], shard: int) -> None:
        """Note an image that the export holds."""
        self._turn_to(sample.item.source_number, sample.control_key)
        self._current.title = row["source"]
        tries = self._current.tries_of(sample.judged)
        seen = _Seen(
            item=sample.item, text=row["text"], judged=sample.judged, tries=tries, sample=sample,
            split=row["split"], shard=shard,
        )  # fmt: skip
        self._current.add(seen)

    def left_out(self, item: ItemResult, judged: JudgedResult | None = None) -> None:
        """Note an item that gave no image, or whose image was left out."""
        self._turn_to(item.source_number, next(iter(item.control_keys), ""))
        tries = self._current.tries_of(judged)
        if judged and judged.best and item.image:
            tries = (*tries, item)
        self._current.add(_Seen(item=item, text=item.prompt, judged=judged, tries=tries))

    def again(self, item: ItemResult, judged: JudgedResult) -> None:
        """Note an image that did not pass and was made again."""
        self._turn_to(item.source_number, next(iter(item.control_keys), ""))
        if item.image:
            self._current.tries.setdefault(judged.wanted_id, []).append(item)

    def sheet(self, store: Store, run: Run, folder: Path, *, title: str, subtitle: str) -> Sheet:
        """The pictures are put into the folder."""
        self._turn_to(None, "")
        reader = _Reader(store, run, folder, self._options)
        rows = (reader.row(source) for source in self._fitting())
        return Sheet(
            title=title,
            subtitle=subtitle,
            rows=tuple(row for row in rows if row is not None),
            total=self._used.total,
            unused=tuple(
                UnusedSources(reason=reason, total=found.total, sources=tuple(map(reader.unused, found.chosen())))
                for reason, found in sorted(self._unused.items(), key=lambda pair: (-pair[1].total, pair[0]))
            ),
        )

    def _fitting(self) -> list[_Source]:
        """So many sources that the page does not hold too many pictures."""
        sources = self._used.chosen()
        most = max((sum(len(line.seen) for line in source.lines.chosen()) for source in sources), default=1)
        return [sources[place] for place in even_places(len(sources), max(FEWEST_SOURCES, ABOUT_IMAGES // most))]

    def _turn_to(self, number: int | None, control: str) -> None:
        """Items of a source follow each other, but for later tries, with which it comes back."""
        key = (number, "" if number is not None else control)
        if key == (self._current.number, self._control):
            return
        self._finish(self._current)
        self._current, self._control = self._known(key) or _Source(number=number), key[1]

    def _known(self, key: tuple[int | None, str]) -> _Source | None:
        """A source that was met before; one that no sheet will show is a blank that counts no more."""
        if found := self._open.pop(key, None):
            return found
        if hash(key) not in self._counted:
            return None
        kept = (source for source in self._used.kept if (source.number, source.control) == key)
        return next(kept, _Source(number=key[0], is_counted=True))

    def _finish(self, source: _Source) -> None:
        key = (source.number, self._control)
        source.control = self._control
        if source.is_counted:
            return
        if source.first:
            self._used.add(source)
            self._counted.add(hash(key))
            source.is_counted = True
        elif source.tries and len(self._open) < MOST_OPEN:
            self._open[key] = source
        elif source.number is not None and source.reason:
            self._unused.setdefault(source.reason, EvenSample(MOST_UNUSED)).add(source.number)


class _Reader:
    """Reads what is shown."""

    def __init__(self, store: Store, run: Run, folder: Path, options: Options) -> None:
        self._store, self._run, self._folder, self._options = store, run, folder, options
        self._plans: Kept[bytes] = Kept(4)
        self._control_images = SampleControls(store)

    def row(self, source: _Source) -> SheetRow | None:
        """None when its control image is gone."""
        first = source.first
        assert first is not None
        assert first.sample is not None
        try:
            controls = self._controls(first, first.sample)
        except (PosemillError, OSError, SyntaxError):
            return None
        picture = self._picture(source.number)
        has_file = picture and self._options.with_source and self._options.form in FOLDERS
        return SheetRow(
            title=source.title,
            source=picture,
            controls=controls,
            lines=tuple(self._line(line) for line in source.lines.chosen()),
            prompts=source.lines.total,
            facts=_facts(first.sample),
            pose=self._pose(first.sample) if picture else None,
            file=f"{first.split}/{source_file(self._options, first.shard, first.item.id)}" if has_file else "",
        )

    def unused(self, number: int) -> UnusedSource:
        """A source that gave no image, with the reason."""
        source = planned_source(self._store, self._run, number, self._plans)
        name = source.name if source else ""
        shown = name if self._options.with_provenance else published_name(name, sources_of(self._run))
        return UnusedSource(title=shown, path=self._picture(number))

    def _line(self, line: _Line) -> SheetLine:
        return SheetLine(images=tuple(map(self._image, line.seen)), total=line.total)

    def _image(self, seen: _Seen) -> SheetImage:
        item = seen.item
        tries = tuple(path for one in seen.tries if (path := self._try(one)))
        if seen.sample is None:
            return SheetImage(path=None, prompt=seen.text, seed=item.seed, note=_why_not(item), tries=tries)
        path = self._written(f"{item.id}-image", item.image.key) if item.image else None
        if path is None:
            return SheetImage(path=None, prompt=seen.text, seed=item.seed, note=GONE)
        file = self._file(seen)
        word = "file" if self._options.form in FOLDERS else file.rsplit("/", 1)[-1]
        return SheetImage(
            path=path, prompt=seen.text, seed=item.seed, file=file, file_word=word,
            facts=_judged_facts(seen.judged), pose=_found_pose(seen.judged), tries=tries,
        )  # fmt: skip

    def _try(self, item: ItemResult) -> Path | None:
        return self._written(f"{item.id}-image", item.image.key) if item.image else None

    def _file(self, seen: _Seen) -> str:
        """Where the export holds an image: a file of its own, or its shard."""
        match self._options.form:
            case Form.WEBDATASET:
                return tar_name(seen.split, seen.shard)
            case Form.PARQUET | Form.PREFERENCE:
                return parquet_name(seen.split, seen.shard)
            case _:
                return f"{seen.split}/{image_file(self._options, seen.shard, seen.item.id)}"

    def _controls(self, seen: _Seen, sample: Sample) -> tuple[SheetControl, ...]:
        """All of them; the first is the one that the export holds. Raises what reading a picture raises."""
        name, file = self._control_images.of(sample).name, ""
        if self._options.form in FOLDERS:
            file = f"{seen.split}/{control_file(self._options, seen.shard, name)}"
        shown: list[SheetControl] = []
        for address, kind in zip(sample.control_keys, self._run.kinds, strict=False):  # a ready-made one stands for all
            path = self._folder / f"{control_name(address)}-control"
            path.write_bytes(read_address(self._store, address))
            shown.append(SheetControl(path=path, kind=kind, file="" if shown else file))
        return tuple(shown)

    def _picture(self, number: int | None) -> Path | None:
        """The source's picture; None for ready-made poses and control images, and where it cannot be shown."""
        try:
            source = planned_source(self._store, self._run, number, self._plans)
        except PosemillError:
            return None
        if source is None or source.pose is not None:
            return None
        return self._written(f"{number}-source", source.key or source.uri or "")

    def _pose(self, sample: Sample) -> Pose | None:
        found = sample.source.pose if sample.source else None
        if found is None:
            return None
        try:
            return from_openpose_json(msgspec.json.decode(self._store.get(found.key)))
        except (PosemillError, msgspec.DecodeError):
            return None

    def _written(self, name: str, address: str) -> Path | None:
        """A picture as a file of the folder; None when it is gone or cannot be decoded."""
        path = self._folder / name
        try:
            content = read_address(self._store, address)
            path.write_bytes(content)
            decode_picture(content, largest_aspect=math.inf, draft=(512, 512))
        except (PosemillError, OSError):
            return None
        return path


def _facts(sample: Sample) -> str:
    """How many people the detector found, and how surely; nothing for what has no pose."""
    source = sample.source
    if source is None or source.pose is None:
        return ""
    people = "1 person" if source.people == 1 else f"{source.people:,} people"
    return f"{people}, score {source.score:.2f}"


def _judged_facts(judged: JudgedResult | None) -> str:
    """How well the image agrees with its control, and which try it is."""
    if judged is None:
        return ""
    oks = f"OKS {oks_of(judged):.2f}" if "pose" in judged.figures else ""
    return ", ".join(filter(None, [oks, f"try {judged.try_number}" if judged.try_number > 1 else ""]))


def _found_pose(judged: JudgedResult | None) -> Pose | None:
    return from_openpose_json(judged.found) if judged and judged.found else None


def _why_not(item: ItemResult) -> str:
    """`failed: bad picture`; the record's message may name addresses, and is for `posemill failures`."""
    if item.outcome is Outcome.DONE:
        return FILTERED
    return f"{item.outcome}: {item.reason.replace('_', ' ')}" if item.reason else str(item.outcome)

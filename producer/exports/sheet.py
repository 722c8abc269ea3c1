"""The contact sheet of an export: its first sources with their images, read from storage again."""

from contextlib import suppress
from pathlib import Path

from posemill.errors import PermanentError
from posemill.records import Run
from posemill.storage import Store
from producer.contact_sheet import SheetControl, SheetImage, SheetRow
from producer.exports.controls import control_name, read_address
from producer.exports.keeping import Kept
from producer.exports.pictures import planned_source
from producer.exports.samples import Sample

MOST_ROWS, MOST_IMAGES = 24, 8


class Shown:
    """The samples that a sheet will show: the first few of the first few sources' control images."""

    def __init__(self) -> None:
        self._groups: dict[str, list[Sample]] = {}

    def see(self, sample: Sample) -> None:
        address = sample.control
        if address not in self._groups and len(self._groups) >= MOST_ROWS:
            return
        group = self._groups.setdefault(address, [])
        if len(group) < MOST_IMAGES:
            group.append(sample)

    def rows(self, store: Store, run: Run, folder: Path) -> list[SheetRow]:
        """Rows for the sheet, whose pictures are put into the folder; a row whose pictures are gone is left out."""
        plans: Kept[bytes] = Kept(4)
        rows = []
        for samples in self._groups.values():
            with suppress(PermanentError):
                rows.append(_row(store, run, folder, samples, plans))
        return rows


def _row(store: Store, run: Run, folder: Path, samples: list[Sample], plans: Kept[bytes]) -> SheetRow:
    first = samples[0]
    return SheetRow(
        title=first.item.source_name,
        source=_source(store, run, folder, first, plans),
        controls=tuple(
            SheetControl(path=_written(folder / f"{control_name(each)}-control", read_address(store, each)), kind=kind)
            for each, kind in zip(first.controls, run.kinds, strict=False)  # a ready-made one stands for all
        ),
        images=tuple(_image(store, folder, sample) for sample in samples),
    )


def _image(store: Store, folder: Path, sample: Sample) -> SheetImage:
    assert sample.item.image is not None
    path = _written(folder / f"{sample.item.id}-image", store.get(sample.item.image.key))
    return SheetImage(path=path, prompt=sample.item.prompt, seed=sample.item.seed)


def _source(store: Store, run: Run, folder: Path, sample: Sample, plans: Kept[bytes]) -> Path | None:
    """The source's picture; None for ready-made poses and control images."""
    source = planned_source(store, run, sample, plans)
    if source is None or source.pose is not None:
        return None
    return _written(folder / f"{sample.item.source}-source", read_address(store, source.key or source.uri or ""))


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path

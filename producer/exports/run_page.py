"""A run on one page, at any moment and without an export: its contact sheet."""

import tempfile
from dataclasses import replace
from pathlib import Path

from posemill.errors import NotOver
from posemill.storage.store import Store
from producer.exports.report.sheet import Shown
from producer.exports.samples.columns import Columns
from producer.exports.samples.options import Options
from producer.exports.samples.reading import SampleReader
from producer.sheets.contact_sheet import Sheet, SheetLine, control_word, write_contact_sheet


def write_run_page(store: Store, run_id: str, folder: Path) -> tuple[Path, Path]:
    """Write contact_sheet.png and contact_sheet.html of what the run has made by now, and return their paths.

    Raises NotFound where there is no such run, NotOver where it has made nothing yet that could be shown.
    """
    reader, options = SampleReader(store, run_id), Options()
    run, shown, columns = reader.run, Shown(options), Columns(reader.run, options)
    for sample in reader.samples(other=shown.left_out, again=shown.again):
        shown.taken(sample, columns.published(columns.of_sample(sample)), 0)
    subtitle = f"source, {', '.join(control_word(kind) for kind in run.kinds)}, and images with prompt and seed"
    with tempfile.TemporaryDirectory(prefix="posemill-page-") as pictures:
        sheet = shown.sheet(store, run, Path(pictures), title=f"{run.name} ({run_id})", subtitle=subtitle)
        if not sheet.rows and not sheet.unused:
            raise NotOver(f"run {run_id!r} has made nothing yet that a page could show; look again in a while")
        return write_contact_sheet(_without_files(sheet), folder)


def _without_files(sheet: Sheet) -> Sheet:
    """The same with no address of a file: what an export writes beside its page is not there."""
    rows = (
        replace(
            row,
            file="",
            controls=tuple(replace(control, file="") for control in row.controls),
            lines=tuple(map(_line_without_files, row.lines)),
        )
        for row in sheet.rows
    )
    return replace(sheet, rows=tuple(rows))


def _line_without_files(line: SheetLine) -> SheetLine:
    return replace(line, images=tuple(replace(image, file="") for image in line.images))

"""A whole export: shards, data card, report and contact sheet, and the export index that says it is finished."""

import tempfile
from pathlib import Path

import msgspec
from markupsafe import Markup

from posemill.contract.records import Outcome, Run
from posemill.storage.store import Store
from producer.exports.exporting import Exporter
from producer.exports.report.card import render_card
from producer.exports.report.judged import render_judgements
from producer.exports.report.judgements import Judgements
from producer.exports.report.plots import overview_png
from producer.exports.report.report import render_report, report_pictures
from producer.exports.report.sheet import Shown
from producer.exports.samples.onlooker import Onlookers
from producer.exports.samples.options import Options
from producer.exports.samples.reading import POLL_SECONDS
from producer.exports.writing.destinations import Destination, open_destination
from producer.exports.writing.shards import ExportIndex
from producer.sheets.contact_sheet import control_word, write_contact_sheet

LICENCE = "other"  # the Hub's word for what only the exporter can say


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What an export wrote."""

    folder: str  # or the s3:// prefix
    samples: int
    splits: dict[str, int]  # samples by split
    skipped: int  # items that are not done, or that the filter left out
    refused: int  # done items whose picture is not what its record says; see the shards' indexes
    near_duplicates: int
    complete: bool  # every batch of the run had its record
    failed: int  # items that failed and rows that were refused
    cancelled: bool


def export_run(
    store: Store,
    run_id: str,
    address: str | Path,
    options: Options | None = None,
    *,
    watch: bool = False,
    timeout_seconds: float | None = None,
    poll_seconds: float = POLL_SECONDS,
    licence: str = LICENCE,
    title: str = "",
    subtitle: str = "",
) -> Exported:
    """Write the run's done items to a folder or an s3:// prefix. Safe to repeat: what stands is kept.

    Raises BadInput when the destination holds something else, or the export extra is not installed; with `watch`
    NotOver after timeout_seconds, and RunPaused when a fault has paused the run.
    """
    destination = open_destination(str(address))
    options = options or Options()
    exporter, shown = Exporter(store, run_id, destination, options), Shown(options)
    judgements = Judgements(exporter.reader.run.verify)
    export_index = exporter.export(
        watch=watch, timeout_seconds=timeout_seconds, poll_seconds=poll_seconds, onlooker=Onlookers(shown, judgements)
    )
    run = exporter.reader.run
    pictures = _write_sheet(destination, store, run, shown, title or run.name, subtitle or _subtitle(run))
    judged = render_judgements(judgements, store, run, with_clocks=options.with_provenance)
    _write_pages(destination, exporter, export_index, pictures, licence, judged, judgements)
    exporter.commit(export_index)
    samples = sum(export_index.samples.values())
    return Exported(
        folder=destination.url,
        samples=samples,
        splits=export_index.samples,
        skipped=export_index.planned_items - samples,
        refused=export_index.refused,
        near_duplicates=export_index.near_duplicates,
        complete=export_index.complete,
        failed=sum(n for outcome, n in export_index.outcomes.items() if outcome.split()[0] == Outcome.FAILED)
        + exporter.reader.plan.refused_rows,
        cancelled=exporter.reader.cancelled(),
    )


def _subtitle(run: Run) -> str:
    return f"source, {', '.join(control_word(kind) for kind in run.kinds)}, and images with prompt and seed"


def _write_sheet(
    destination: Destination, store: Store, run: Run, shown: Shown, title: str, subtitle: str
) -> Markup | None:
    """The contact sheet, as picture and page, and the part of it for the report; None when there is nothing to show."""
    with tempfile.TemporaryDirectory(prefix="posemill-sheet-") as name:
        folder = Path(name)
        sheet = shown.sheet(store, run, folder, title=title, subtitle=subtitle)
        if not sheet.rows and not sheet.unused:
            return None
        pictures = report_pictures(sheet)
        for path in write_contact_sheet(sheet, folder):
            destination.write_file(path.name, path)
        return pictures


def _write_pages(
    destination: Destination,
    exporter: Exporter,
    export_index: ExportIndex,
    pictures: Markup | None,
    licence: str,
    judged: Markup | None,
    judgements: Judgements,
) -> None:
    run, statistics = exporter.shown_run, exporter.statistics
    card = render_card(
        export_index, run, statistics, exporter.columns.kinds, licence=licence, sheet=pictures is not None
    )
    destination.write("README.md", card.encode())
    destination.write("overview.png", overview_png(statistics, export_index.outcomes))
    page = render_report(export_index, run, statistics, pictures, judged, judgements.by_control)
    destination.write("report.html", page.encode())

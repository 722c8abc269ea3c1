"""Commands that prove a run and take its data set out."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from producer.cli.endings import TIMEOUT, code_of_export, require_waiting
from producer.cli.running import AS_JSON, RUN

if TYPE_CHECKING:
    from producer.exports.dataset import Exported

if TYPE_CHECKING:
    from producer.runs.checking import Proof


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--deep", is_flag=True, help="Read every object and digest it again.")
@click.option("--export", "dest", metavar="DEST", help="Prove an export instead; with RUN also against its records.")
@AS_JSON
def check(run_id: str | None, deep: bool, dest: str | None, as_json: bool) -> None:
    """Prove that every planned row of RUN has one outcome and everything done its object; or prove an export.

    Ends with 1 when something is not as it should be, and when items or sources failed.
    """
    if dest is not None:
        sys.exit(_check_export(dest, run_id, as_json=as_json))
    if run_id is None:
        raise click.UsageError("name a RUN, or an export with --export DEST")
    import msgspec

    from posemill.storage.store import open_store
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json
    from producer.runs.checking import check as check_run

    proof = check_run(open_store(local_settings().store, many_reads=True), run_id, deep=deep)
    if as_json:
        print_json({**msgspec.to_builtins(proof), "complete": proof.complete})
    else:
        _print_proof(proof)
    sys.exit(0 if proof.complete and not proof.failures else 1)


def _print_proof(proof: "Proof") -> None:
    from posemill.contract.stages import STAGES

    for fault in proof.faults:
        click.echo(f"{fault.kind}: {fault.key}: {fault.message}")
    for failed in proof.failed:
        click.echo(f"failed: {failed.row} ({failed.name}): {failed.message}")
    if proof.failures > len(proof.failed):
        click.echo(f"{proof.failures - len(proof.failed)} more failed: posemill failures {proof.run_id}")
    found = "; ".join(f"{STAGES[stage].rows}: {_in_words(counts) or 'none'}" for stage, counts in proof.counts.items())
    click.echo(f"{proof.run_id}: {proof.verdict}; {found}; {proof.objects} objects looked at")


def _check_export(dest: str, run_id: str | None, *, as_json: bool) -> int:
    """Prove an export; gives the exit status."""
    import msgspec

    from posemill.storage.store import open_store
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json
    from producer.exports.proof import check_export
    from producer.exports.writing.destinations import open_destination

    settings = local_settings()  # also sets boto3's variables, for an s3:// prefix
    proof = check_export(open_destination(dest), open_store(settings.store) if run_id else None, run_id or "")
    if as_json:
        print_json({**msgspec.to_builtins(proof), "complete": proof.complete})
    else:
        for fault in proof.faults:
            click.echo(f"{fault.kind}: {fault.key}: {fault.message}")
        verdict = "complete and unchanged" if proof.complete else f"{len(proof.faults)} faults"
        click.echo(f"{dest}: {verdict}; {_in_words(proof.samples) or 'no samples'}; {proof.files} files read")
    return 0 if proof.complete else 1


def _in_words(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number)


@click.command()
@RUN
@click.argument("dest")
@click.option(
    "--format",
    "form",
    type=click.Choice(["webdataset", "parquet", "imagefolder", "fill50k", "preference"]),
    default="imagefolder",
    show_default=True,
    help="Layout of the data set.",
)
@click.option("--shard-size", default=1000, show_default=True, help="Samples in a shard.")
@click.option(
    "--image-format",
    type=click.Choice(["png", "jpeg", "webp"]),
    default="png",
    show_default=True,
    help="Of images; control images are PNG.",
)
@click.option("--quality", default=95, show_default=True, help="Of JPEG and WebP.")
@click.option("--where", default="", metavar="FILTER", help="Take only samples such as 'people == 1 and score > 0.5'.")
@click.option("--validation", default=0.0, show_default=True, help="Share of the sources in the validation split.")
@click.option("--test", default=0.0, show_default=True, help="Share of the sources in the test split.")
@click.option("--drop-near-duplicates", is_flag=True, help="Leave out an image that is nearly one taken before.")
@click.option("--relabel", is_flag=True, help="Keypoints are those found in the image by its judge, not the control's.")
@click.option("--captions", is_flag=True, help="Texts are the manifest's captions, where it has them.")
@click.option("--with-source", is_flag=True, help="Also write source images.")
@click.option("--with-provenance", is_flag=True, help="Also say which worker made what, when, and where it is stored.")
@click.option("--licence", default="other", show_default=True, help="The data set's, by the Hub's name for it.")
@click.option("--watch", is_flag=True, help="Export while the run goes on, and wait for its end.")
@TIMEOUT
@click.option("--partial", is_flag=True, help="Of a run that is not over, was cancelled or has failed items: 0 too.")
@AS_JSON
def export(
    run_id: str, dest: str, form: str, image_format: str, licence: str, watch: bool, timeout_seconds: float | None,
    partial: bool, as_json: bool, **choices: Any,
) -> None:  # fmt: skip
    """Write RUN's images to DEST, a folder or an s3:// prefix, as a data set with card and report.

    Ends with 1 when items have failed or done items had to be refused (their pictures are not what the records say),
    and with another status when the run is not over; what there is is written all the same.
    """
    from posemill.storage.store import open_store
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json
    from producer.exports.dataset import export_run
    from producer.exports.samples.options import Form, ImageFormat, Options

    require_waiting(timeout_seconds, waits=watch, option="--watch")
    options = Options(form=Form(form), image_format=ImageFormat(image_format), **choices)
    store = open_store(local_settings().store, many_reads=True)
    exported = export_run(store, run_id, dest, options, watch=watch, timeout_seconds=timeout_seconds, licence=licence)
    if as_json:
        print_json(exported)
    else:
        unfinished = "" if exported.complete else f"; {_unfinished(exported)}"
        for split in ("validation", "test"):
            if choices[split] and exported.samples and not exported.splits[split]:
                click.echo(f"note: --{split} {choices[split]:g} caught none of the sources; there are too few of them")
        click.echo(
            f"{exported.samples} samples in {dest} ({form}); {exported.skipped} items are not done or filtered, "
            f"{exported.refused} refused; {exported.near_duplicates} near-duplicates flagged{unfinished}"
        )
    sys.exit(code_of_export(exported, partial=partial))


def _unfinished(exported: "Exported") -> str:
    return "the run was cancelled" if exported.cancelled else "the run is not over: export it again when it is"


@click.command("open")
@RUN
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where it goes.  [default: RUN-page]")
@click.option("--no-browser", is_flag=True, help="Only write the page.")
@AS_JSON
def open_page(run_id: str, out: Path | None, no_browser: bool, as_json: bool) -> None:
    """Write RUN's contact sheet, of what it has made by now, and show it in a browser."""
    import webbrowser

    from posemill.contract.keys import checked_run_id
    from posemill.storage.store import open_store
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json
    from producer.exports.run_page import write_run_page

    folder = out or Path(f"{checked_run_id(run_id)}-page")
    picture, page = write_run_page(open_store(local_settings().store, many_reads=True), run_id, folder)
    if as_json:
        print_json({"run_id": run_id, "page": str(page), "picture": str(picture)})
    else:
        click.echo(f"Look at {page} or {picture}.")
        if not no_browser:
            webbrowser.open(page.resolve().as_uri())


COMMANDS = (check, export, open_page)

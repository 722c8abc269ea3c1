"""Commands that prove a run and take its data set out."""

import sys
from pathlib import Path

import click

from producer.commands.running import AS_JSON, RUN


@click.command()
@RUN
@click.option("--deep", is_flag=True, help="Read every object and digest it again.")
@AS_JSON
def check(run_id: str, deep: bool, as_json: bool) -> None:
    """Prove that every planned row of RUN has one outcome and everything done its object."""
    import msgspec

    from posemill.storage import open_store
    from producer.checking import check as check_run
    from producer.here import local_settings
    from producer.printing import print_json

    proof = check_run(open_store(local_settings().store), run_id, deep=deep)
    if as_json:
        print_json({**msgspec.to_builtins(proof), "complete": proof.complete})
    else:
        for fault in proof.faults:
            click.echo(f"{fault.kind}: {fault.key}: {fault.message}")
        sources, items = (", ".join(f"{n} {outcome}" for outcome, n in counts.items() if n) or "none"
                          for counts in (proof.sources, proof.items))  # fmt: skip
        verdict = "complete and unchanged" if proof.complete else f"{len(proof.faults)} faults"
        click.echo(f"{run_id}: {verdict}; sources: {sources}; items: {items}; {proof.objects} objects looked at")
    sys.exit(0 if proof.complete else 1)


@click.command()
@RUN
@click.argument("dest", type=click.Path(file_okay=False, path_type=Path))
@click.option("--format", "form", type=click.Choice(["imagefolder"]), default="imagefolder", show_default=True,
              help="Layout of the data set.")  # fmt: skip
@click.option("--contact-sheet/--no-contact-sheet", default=True, show_default=True, help="Also draw one.")
@AS_JSON
def export(run_id: str, dest: Path, form: str, contact_sheet: bool, as_json: bool) -> None:
    """Write RUN's images to the folder DEST as a data set."""
    from posemill.storage import open_store
    from producer.exporting import export_imagefolder
    from producer.here import local_settings
    from producer.printing import print_json

    store = open_store(local_settings().store)
    exported = export_imagefolder(store, run_id, dest)
    if contact_sheet:
        _write_sheet(store, run_id, dest)
    if as_json:
        print_json(exported)
    else:
        click.echo(f"{exported.samples} samples in {dest} ({form}); {exported.skipped} items are not done")


def _write_sheet(store, run_id: str, dest: Path) -> None:  # type: ignore[no-untyped-def]
    from producer.contact_sheet import write_contact_sheet
    from producer.exporting import sheet_rows

    rows = sheet_rows(store, run_id, dest)
    if rows:
        write_contact_sheet(rows, folder=dest, title=run_id, subtitle="source, pose, and images with prompt and seed")


COMMANDS = (check, export)

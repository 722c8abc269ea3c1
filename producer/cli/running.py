"""Commands that start runs and steer them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posemill.exit_codes import ExitCode
from producer.cli.endings import TIMEOUT, code_of_submission, require_waiting, wait_for

if TYPE_CHECKING:
    from posemill.contract.records import Item, Plan
    from producer.runs.handle import RunHandle
    from producer.submitting.rehearsal import Rehearsal

RUN = click.argument("run_id", metavar="RUN")
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("recipe", type=click.Path(dir_okay=False))
@click.option("--run-id", help="Name the run; submitting the same recipe under it again adds nothing.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@click.option("--strict", is_flag=True, help="Refuse the whole run at the first bad row.")
@click.option("--dry-run", is_flag=True, help="Count and show what would be made; write nothing.")
@click.option("--wait", is_flag=True, help="Wait until the run has ended.")
@TIMEOUT
@click.option("--allow-empty", is_flag=True, help="With nothing to read where the sources should be, do nothing: 0.")
@AS_JSON
def submit(recipe: str, dry_run: bool, wait: bool, allow_empty: bool, as_json: bool, **choices: Any) -> None:
    """Submit RECIPE, a YAML file."""
    from posemill.errors import NothingToDo

    require_waiting(choices["timeout_seconds"], waits=wait, option="--wait")
    try:
        code = _rehearse(recipe, as_json=as_json, **choices) if dry_run else _submit(
            recipe, wait=wait, as_json=as_json, **choices)  # fmt: skip
    except NothingToDo as error:
        if not allow_empty:
            raise
        _say_nothing_to_do(str(error), as_json=as_json)
        code = ExitCode.DONE
    sys.exit(code)


def _submit(
    recipe: str, *, run_id: str | None, overrides: tuple[str, ...], strict: bool, wait: bool,
    timeout_seconds: float | None, as_json: bool,
) -> ExitCode:  # fmt: skip
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import PlanningBar, print_json, print_status, status_values
    from producer.submitting.submission import submit as submit_recipe

    settings = local_settings()
    with PlanningBar() as bar:
        handle = submit_recipe(
            recipe, run_id=run_id, overrides=overrides, strict=strict, settings=settings, progress=bar.show
        )
    plan = handle.plan
    changes = [handle.changes.words] if handle.changes else []
    for note in [*changes, *_repeats(plan, []), *_skipped(plan)]:
        click.echo(f"note: {note}", err=True)
    if wait:
        return wait_for(handle, timeout_seconds=timeout_seconds, as_json=as_json)
    status = handle.status()
    if as_json:
        print_json(status_values(status))
    else:
        print_status(status)
        click.echo(f"Watch it with `posemill status {handle.id} --watch`.", err=True)
    return code_of_submission(status)


def _say_nothing_to_do(message: str, *, as_json: bool) -> None:
    from producer.cli.printing import print_json

    print_json({"run_id": None, "nothing_to_do": message}) if as_json else click.echo(f"Nothing to do: {message}")


@click.command()
@RUN
@click.option("--wait", is_flag=True, help="Wait until the run has ended.")
@TIMEOUT
@AS_JSON
def resume(run_id: str, wait: bool, timeout_seconds: float | None, as_json: bool) -> None:
    """Rebuild RUN's ledger from storage and go on with it."""
    require_waiting(timeout_seconds, waits=wait, option="--wait")
    handle = _handle(run_id)
    handle.resume()
    if wait:
        sys.exit(wait_for(handle, timeout_seconds=timeout_seconds, as_json=as_json))
    _show(handle, as_json=as_json)


@click.command()
@RUN
@click.option("--wait", is_flag=True, help="Wait until the run has ended.")
@TIMEOUT
@AS_JSON
def retry(run_id: str, wait: bool, timeout_seconds: float | None, as_json: bool) -> None:
    """Make RUN's failed sources and items again; what is done or rejected stays."""
    require_waiting(timeout_seconds, waits=wait, option="--wait")
    handle = _handle(run_id)
    failed = handle.retry()
    if not as_json:
        click.echo(f"{failed} failed rows go out again." if failed else "Nothing has failed.", err=True)
    if wait:
        sys.exit(wait_for(handle, timeout_seconds=timeout_seconds, as_json=as_json))
    _show(handle, as_json=as_json)


@click.command()
@RUN
@AS_JSON
def cancel(run_id: str, as_json: bool) -> None:
    """Stop RUN; what is done stays."""
    handle = _handle(run_id)
    handle.cancel()
    _show(handle, as_json=as_json)


@click.command()
@RUN
@AS_JSON
def pause(run_id: str, as_json: bool) -> None:
    """Start no more batches of RUN until it is unpaused."""
    handle = _handle(run_id)
    handle.pause()
    _show(handle, as_json=as_json)


@click.command()
@RUN
@AS_JSON
def unpause(run_id: str, as_json: bool) -> None:
    """Go on with a paused RUN."""
    handle = _handle(run_id)
    handle.unpause()
    _show(handle, as_json=as_json)


@click.command()
@click.argument("recipe", type=click.Path(dir_okay=False))
@click.option("-n", "count", type=click.IntRange(1, 100), default=8, show_default=True, help="Sources.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="preview", show_default=True,
              help="Where the contact sheet and the control images go.")  # fmt: skip
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key of the recipe.")
@AS_JSON
def preview(recipe: str, count: int, out: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Make the control images of an even sample of RECIPE's sources here, and show them on a contact sheet."""
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json, print_table
    from producer.local.preview import preview as make_preview

    made = make_preview(recipe, out, count=count, overrides=overrides, settings=local_settings())
    if as_json:
        print_json(made)
        return
    rows = [(made.sources[one.source_number], one.kind, one.reason or "usable", f"{one.seconds:.2f} s", one.message)
            for one in made.controls]  # fmt: skip
    print_table("", ["source", "control", "", "time", ""], rows)
    click.echo(f"Look at {made.contact_sheet}.")


def _rehearse(recipe: str, *, overrides: tuple[str, ...], strict: bool, as_json: bool, **_: object) -> ExitCode:
    """Show what the submission would do; gives the exit status."""
    import msgspec

    from producer.cli.local_settings import local_settings
    from producer.cli.printing import duration, print_json, print_table
    from producer.submitting.rehearsal import rehearse

    local_settings()
    found = rehearse(recipe, overrides=overrides, strict=strict)
    code = ExitCode.DONE if found.items else ExitCode.FAILED
    if as_json:
        print_json({**msgspec.to_builtins(found), "messages": found.messages})
        return code
    click.echo(
        f"{found.sources} sources, {found.items} items, {' + '.join(map(str, found.batches.values()))} batches, "
        f"{found.messages} messages, {found.upload_bytes} bytes to upload; {found.refused_rows} rows refused"
    )
    if found.device_time:
        click.echo(
            f"about {duration(found.device_time.of(found.items))} on one device, by the "
            f"{found.device_time.seconds_an_image:.2g} s that an image took in run {found.device_time.run_id}"
        )
    rows = [(item.id, _source_of(item, found), item.seed, item.prompt, item.negative_prompt)
            for item in found.first_items]  # fmt: skip
    print_table("", ["item", "source", "seed", "prompt", "negative prompt"], rows)
    for note in [*found.notes, *_repeats(found, found.first_repeated)]:
        click.echo(f"note: {note}")
    for refused in found.first_refused:
        click.echo(f"refused: {refused.message}")
    for skipped in _skipped(found):
        click.echo(skipped)
    return code


def _source_of(item: "Item", found: "Rehearsal") -> str:
    """The name of what an item is made of, where it is known."""
    return "-" if item.source_number is None else found.first_sources.get(item.source_number, "-")


def _repeats(found: "Rehearsal | Plan", places: list[str]) -> list[str]:
    """What was wanted more than once, in a sentence or none."""
    if not found.repeated_items:
        return []
    more = ", …" if found.repeated_rows > len(places) else ""
    shown = f" ({', '.join(places)}{more})" if places else ""
    rows = f"; {found.repeated_rows} rows bring nothing new{shown}" if found.repeated_rows else ""
    return [f"{found.repeated_items} items are wanted more than once and made once{rows}"]


def _skipped(found: "Rehearsal | Plan") -> list[str]:
    """What of the sources' folder was passed over, in a line for each reason."""
    return [f"skipped: {files.count} {files.reason} (first: {files.first})" for files in found.skipped]


def _handle(run_id: str) -> "RunHandle":
    from producer.cli.local_settings import local_settings
    from producer.runs.handle import open_handle

    return open_handle(run_id, local_settings())


def _show(handle: "RunHandle", *, as_json: bool) -> None:
    from producer.cli.printing import print_json, print_status, status_values

    status = handle.status()
    print_json(status_values(status)) if as_json else print_status(status)


COMMANDS = (submit, preview, resume, retry, cancel, pause, unpause)

"""The command that judges the images of a run that is over."""

import shlex
import sys
from typing import Any

import click

from producer.cli.endings import TIMEOUT, code_of_submission, require_waiting, wait_for


class CheckText(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.4 on
    """A check with its options, as `pose min_oks=0.7 detector=dwpose`."""

    name = "check"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """Raises click's BadParameter."""
        try:
            name, *options = shlex.split(str(value))
        except ValueError:
            self.fail(f"{value!r} is no check; write it as 'pose min_oks=0.7'", param, ctx)
        found: dict[str, Any] = {"check": name}
        for option in options:
            key, equals, text = option.partition("=")
            if not equals or not key or key in found:
                self.fail(f"{value!r}: write each option once, as key=value", param, ctx)
            found[key] = _number_or_text(text)
        return found


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--check", "checks", type=CheckText(), multiple=True, metavar="'NAME [KEY=VALUE]…'",
              help="A check that images must pass; several in order. Without: the run's own, or pose.")  # fmt: skip
@click.option("--retry", is_flag=True, help="Make the rejects again; else no image is made.")
@click.option("--tries", type=click.IntRange(1, 20), help="With --retry: images for a reject, with the one there is.")
@click.option("--run-id", "new_run_id", metavar="ID", help="Name the run that judges; the same checks find it again.")
@click.option("--wait", is_flag=True, help="Wait until all are judged.")
@TIMEOUT
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(
    run_id: str, checks: tuple[dict[str, Any], ...], retry: bool, tries: int | None, new_run_id: str | None,
    wait: bool, timeout_seconds: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Judge the images of RUN, which is over, in a run of its own; RUN stays as it is."""
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json, print_status, status_values
    from producer.submitting.judging import judge_run

    require_waiting(timeout_seconds, waits=wait, option="--wait")
    if tries is not None and not retry:
        raise click.UsageError("--tries goes with --retry")
    handle = judge_run(
        run_id, checks=checks, retry=retry, tries=tries, new_run_id=new_run_id, settings=local_settings()
    )
    if wait:
        sys.exit(wait_for(handle, timeout_seconds=timeout_seconds, as_json=as_json))
    status = handle.status()
    if as_json:
        print_json(status_values(status))
    else:
        print_status(status)
        click.echo(f"Watch it with `posemill status {handle.id} --watch`.", err=True)
    sys.exit(code_of_submission(status))


COMMANDS = (verify,)

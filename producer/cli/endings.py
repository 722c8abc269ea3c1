"""How a run's end, and waiting for it, becomes an exit status."""

import math
from typing import TYPE_CHECKING, Any

import click

from posemill.exit_codes import ExitCode

if TYPE_CHECKING:
    from producer.exports.dataset import Exported
    from producer.runs.handle import RunHandle, Status


class Seconds(click.FloatRange):
    """A number of seconds, 0 or more; `nan`, of which nothing is more, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises click's BadParameter."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


TIMEOUT = click.option("--timeout", "timeout_seconds", type=Seconds(min=0), metavar="SECONDS",
                       help=f"Wait no longer; then the status is {ExitCode.NOT_OVER}.")  # fmt: skip


class WaitInterrupted(KeyboardInterrupt):
    """Ctrl-C while a run was waited for; the run goes on."""


def require_waiting(timeout_seconds: float | None, *, waits: bool, option: str) -> None:
    """Raises UsageError for a --timeout with nothing to wait for."""
    if timeout_seconds is not None and not waits:
        raise click.UsageError(f"--timeout goes with {option}")


def wait_for(handle: "RunHandle", *, timeout_seconds: float | None, as_json: bool) -> ExitCode:
    """Wait with bars, show how the run ended, and say so as an exit status. Raises NotOver and RunPaused."""
    from producer.cli.printing import ProgressBars, print_json, print_status, status_values

    try:
        with ProgressBars() as bars:
            status = handle.wait(timeout_seconds=timeout_seconds, report=bars.show)
    except KeyboardInterrupt as error:
        raise WaitInterrupted(
            f"run {handle.id} goes on without you: `posemill status {handle.id} --watch` looks again, "
            f"`posemill cancel {handle.id}` stops it"
        ) from error
    print_json(status_values(status)) if as_json else print_status(status)
    return code_of(status)


def code_of(status: "Status") -> ExitCode:
    """How a run stands, as an exit status."""
    from posemill.contract.records import RunState

    snapshot = status.snapshot
    if snapshot.state is RunState.CANCELLED:
        return ExitCode.CANCELLED
    if snapshot.state is RunState.PAUSED and snapshot.reason:
        return ExitCode.PAUSED
    if snapshot.state is not RunState.COMPLETE:
        return ExitCode.NOT_OVER
    return ExitCode.FAILED if status.failed else ExitCode.DONE


def code_of_submission(status: "Status") -> ExitCode:
    """Of one that nobody waits for: it is well begun, unless the run is over already or has nothing to make."""

    code = code_of(status)
    if code is not ExitCode.NOT_OVER:
        return code
    return ExitCode.DONE if status.snapshot.last.rows else ExitCode.FAILED


def code_of_export(exported: "Exported", *, partial: bool) -> ExitCode:
    """`partial`: what there is is wanted; only what could not be written is a failure."""
    if exported.refused:
        return ExitCode.FAILED
    if partial:
        return ExitCode.DONE
    if not exported.complete:
        return ExitCode.CANCELLED if exported.cancelled else ExitCode.NOT_OVER
    return ExitCode.FAILED if exported.failed else ExitCode.DONE

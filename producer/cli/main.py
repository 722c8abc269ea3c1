"""The `posemill` command: its group, and the one place where an error becomes a sentence and an exit status."""

import io
import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from posemill import __version__
from posemill.exit_codes import ExitCode
from posemill.last_words import last_words
from producer.cli import beginning, judging, local, models, results, running, stores, watching
from producer.cli.usage_examples import epilog

HELP = """Photographs of people and prompts in, pose-conditioned image data sets out.

\b
Exit status:
""" + "\n".join(f"{code:5} {code.words}" for code in ExitCode)


class OutputClosed(Exception):
    """Nobody reads the output any more: click and rich would end as if items had failed."""


class Commands(click.Group):
    """The commands, with a closed output told from all else."""

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Click's own, with a closed output told from all else."""
        with _output_open():
            return super().make_context(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        """Click's own, with a closed output told from all else."""
        with _output_open():
            return super().invoke(ctx)


@contextmanager
def _output_open() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosed from error
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):
            raise OutputClosed from ended.__context__
        raise


@click.group(
    cls=Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="posemill")
@click.option("--dir", "directory", type=click.Path(exists=True, file_okay=False), envvar="POSEMILL_DIR",
              help="Where `posemill up` runs, if not here; for cron.")  # fmt: skip
@click.option("--traceback", is_flag=True, help="With an error that is unforeseen, print where it was raised.")
def posemill(directory: str | None, **_: bool) -> None:
    """All commands; HELP is what they share."""
    if directory:
        from producer.cli.local_settings import lead_to

        lead_to(directory)


for room in (beginning, local, models, running, judging, watching, results, stores):
    for command in room.COMMANDS:
        command.epilog = epilog(command.name or "")
        posemill.add_command(command)


def main() -> None:
    """The `posemill` command; ends the process with its exit status."""
    _print_any_letter()
    try:
        status = _run()
        sys.stdout.flush()  # a full disk or a closed pipe speaks up here, and not while Python ends
    except (KeyboardInterrupt, click.Abort) as error:
        status = _say_interrupted(error)
    except Exception as error:  # noqa: BLE001  # the door: whatever it is, it leaves as a sentence
        status = _say(error)
    _close_output()
    sys.exit(status)


def _run() -> int:
    try:
        posemill.main(standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except SystemExit as ended:  # commands end with their status
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except click.ClickException as error:
        error.show()
        _say_as_json("usage", error.format_message(), ExitCode.WRONG_USAGE)
        return ExitCode.WRONG_USAGE
    return 0


def _say(error: Exception) -> int:
    cause = error.__cause__ if isinstance(error, OutputClosed) and error.__cause__ else error
    words = last_words(cause)
    if not words.is_known and "--traceback" in sys.argv:
        traceback.print_exception(error)
    with suppress(OSError):
        click.echo(f"posemill: {words.sentence}", err=True)
    if not isinstance(error, OutputClosed):
        _say_as_json(str(getattr(cause, "code", words.status.name.lower())), words.sentence, words.status)
    return words.status


def _say_interrupted(error: BaseException) -> int:
    """What goes on without the one who pressed Ctrl-C, where something does."""
    words = str(error.__cause__ or error)  # click wraps the interrupt
    if words:
        with suppress(OSError):
            click.echo(f"posemill: {words}", err=True)
    _say_as_json("interrupted", words or "interrupted", ExitCode.INTERRUPTED)
    return ExitCode.INTERRUPTED


def _say_as_json(code: str, message: str, status: ExitCode) -> None:
    """A program that asked for JSON finds the error where it looks for the answer."""
    if "--json" not in sys.argv:
        return
    error = {"error": {"code": code, "message": message, "exit_status": int(status)}}
    with suppress(OSError):
        click.echo(json.dumps(error, indent=2))


def _print_any_letter() -> None:
    """Letters that a terminal's encoding lacks are printed as their code; without an output (`>&-`) nothing is."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # until the end
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _close_output() -> None:
    """What nobody reads any more is dropped, so that Python's own last flush has nothing to complain of."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

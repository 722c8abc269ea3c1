"""The `posemill` command: its group, and the exit status of every error."""

import sys

import click

from posemill import __version__
from posemill.errors import PermanentError, PosemillError
from producer.commands import local, results, running, watching

ENDED_WITH_FAILURES = 1  # the run ended, with failed items
WRONG_USAGE = 2  # command, recipe or run id
UNREACHABLE = 3  # a service


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="posemill")
def posemill() -> None:
    """Photographs of people and prompts in, pose-conditioned image data sets out.

    Exit status: 0 done, 1 the run ended with failed items, 2 wrong usage or recipe, 3 a service cannot be reached.
    """


for command in (*local.COMMANDS, *running.COMMANDS, *watching.COMMANDS, *results.COMMANDS):
    posemill.add_command(command)


def main() -> None:
    try:
        posemill.main(standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(WRONG_USAGE)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except PosemillError as error:
        click.echo(f"posemill: {error}", err=True)
        sys.exit(WRONG_USAGE if isinstance(error, PermanentError) else UNREACHABLE)

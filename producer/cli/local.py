"""Commands about this machine: demo, up, worker, doctor, health."""

import os
import sys
import time
from pathlib import Path

import click

from producer.cli.running import AS_JSON

STAGES = click.argument("stage", type=click.Choice(["detect", "generate", "verify"]))


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default="demo-output", show_default=True,
              help="Where the data set and the contact sheet go.")  # fmt: skip
def demo(recipe: Path | None, out: Path) -> None:
    """Run RECIPE (or the one that ships) with services and workers of its own; leave its data set in a folder."""
    from producer.cli.printing import ProgressBars, print_status
    from producer.local.demo import run_demo

    begun = time.monotonic()
    with ProgressBars() as bars:
        result = run_demo(recipe, out, say=lambda line: click.echo(line, err=True), report=bars.show)
    print_status(result.status)
    seconds = time.monotonic() - begun
    click.echo(f"Checked: {result.proof.verdict}. {result.exported.samples} samples in {out}/ after {seconds:.0f} s.")
    click.echo(f"Look at {result.contact_sheet} or contact_sheet.html beside it.")
    sys.exit(1 if result.status.failed or not result.proof.complete else 0)


@click.command()
@click.option("--detect", "detect_workers", type=click.IntRange(0), default=1, show_default=True, help="Processes.")
@click.option("--generate", "generate_workers", type=click.IntRange(0), default=1, show_default=True, help="Processes.")
def up(detect_workers: int, generate_workers: int) -> None:
    """Keep Redis, S3 and workers on this machine until Ctrl-C; data stay in .posemill/."""
    import signal
    import threading

    from posemill.contract.keys import Stage
    from producer.cli.local_settings import services_folder
    from producer.local.local_fleet import local_fleet

    folder, ended = services_folder(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with local_fleet(folder, workers={Stage.DETECT: detect_workers, Stage.GENERATE: generate_workers}):
        click.echo(f"Up. Data and logs are in {folder.resolve()}; posemill commands in this folder find the services.")
        click.echo("Submit with `posemill submit RECIPE --wait` in another terminal; end with Ctrl-C.")
        while not ended.wait(1.0):
            pass
        click.echo("Stopping; workers finish or hand back what they hold.")


@click.command()
@STAGES
@click.option("--concurrency", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option("--queue", help="Consume this queue instead of the stage's own.")
def worker(stage: str, concurrency: int, queue: str | None) -> None:
    """Work on one stage's batches until SIGTERM."""
    from posemill.processes.own_modules import module_command
    from producer.cli.local_settings import local_settings

    local_settings()
    more = ["--queue", queue] if queue else []
    command = module_command("workers", stage, "--concurrency", str(concurrency), *more)
    os.execv(command[0], command)


@click.command()
@AS_JSON
def doctor(as_json: bool) -> None:
    """Say what is installed, reachable and misconfigured, and what to do about it."""
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json, print_table
    from producer.local.doctor import examine

    findings = examine(local_settings)
    if as_json:
        print_json(findings)
    else:
        print_table("", ["", "what", "found", "to do"], [(f.verdict, f.what, f.found, f.advice) for f in findings])
    sys.exit(3 if any(finding.verdict == "wrong" for finding in findings) else 0)


@click.command()
@STAGES
@click.option("--limit-seconds", default=900.0, show_default=True, help="Longest time without a step of work.")
def health(stage: str, limit_seconds: float) -> None:
    """Exit 0 while this machine's workers of STAGE make progress; for container health checks."""
    import socket

    from posemill.contract.keys import Stage
    from posemill.queue.ledger import open_ledger
    from producer.cli.local_settings import local_settings
    from producer.local.liveness import trouble

    ledger = open_ledger(local_settings().redis_url.get_secret_value())
    found = trouble(ledger.workers(), socket.gethostname(), Stage(stage), limit_seconds=limit_seconds)
    click.echo(found or "progress is made")
    sys.exit(1 if found else 0)


COMMANDS = (demo, up, worker, doctor, health)

"""Commands that look at runs."""

import sys
import time
from typing import TYPE_CHECKING

import click

from producer.cli.endings import TIMEOUT, require_waiting, wait_for
from producer.cli.running import AS_JSON, RUN

if TYPE_CHECKING:
    from posemill.settings import Settings


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--watch", is_flag=True, help="Go on until the run has ended.")
@TIMEOUT
@AS_JSON
def status(run_id: str | None, watch: bool, timeout_seconds: float | None, as_json: bool) -> None:
    """Show RUN's progress, or the open runs and the workers."""
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json, print_status, status_values
    from producer.runs.handle import open_handle

    require_waiting(timeout_seconds, waits=watch and run_id is not None, option="RUN --watch")
    settings = local_settings()
    if run_id is None:
        _show_all(settings, as_json=as_json)
        return
    handle = open_handle(run_id, settings)
    if watch:
        sys.exit(wait_for(handle, timeout_seconds=timeout_seconds, as_json=as_json))
    shown = handle.status()
    print_json(status_values(shown)) if as_json else print_status(shown)


@click.command()
@AS_JSON
def runs(as_json: bool) -> None:
    """List all runs in storage."""
    from posemill.queue.ledger import open_ledger
    from posemill.queue.store_identity import require_same_store
    from posemill.storage.store import open_store
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json, print_table
    from producer.runs.handle import run_ids

    settings = local_settings()
    ledger = open_ledger(settings.redis_url.get_secret_value())
    store = open_store(settings.store)
    require_same_store(store, ledger)
    known = [(run_id, ledger.state(run_id)) for run_id in run_ids(store)]
    if as_json:
        print_json([{"run_id": run_id, "state": state} for run_id, state in known])
        return
    print_table("", ["run", "state"], [(run_id, state or "not in Redis; resume it") for run_id, state in known])


@click.command()
@RUN
@AS_JSON
def failures(run_id: str, as_json: bool) -> None:
    """List what RUN refused, rejected or failed to make, and why."""
    from posemill.contract.records import RefusedRow, SourceResult
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json_line
    from producer.runs.handle import open_handle

    for failure in open_handle(run_id, local_settings()).failures():
        if as_json:
            print_json_line({"kind": type(failure).__name__, "record": failure})
        elif isinstance(failure, RefusedRow):
            click.echo(f"row     refused   {failure.message}")
        elif isinstance(failure, SourceResult):
            click.echo(f"source  {failure.outcome:9} {failure.name}: {failure.reason} {failure.message}".rstrip())
        else:
            click.echo(f"item    {failure.outcome:9} {failure.id} ({failure.source_name}): {failure.message}")


def _show_all(settings: "Settings", *, as_json: bool) -> None:
    from posemill.contract.keys import Stage
    from posemill.queue.ledger import open_ledger
    from producer.cli.printing import print_json, print_table

    ledger = open_ledger(settings.redis_url.get_secret_value())
    snapshots = [snapshot for run_id in ledger.open_runs() if (snapshot := ledger.snapshot(run_id))]
    workers = ledger.workers()
    if as_json:
        print_json({"runs": snapshots, "workers": workers})
        return
    rows = [(s.run_id, s.state, *(f"{s.stages[stage].finished}/{s.stages[stage].rows}" for stage in Stage))
            for s in snapshots]  # fmt: skip
    print_table("Open runs", ["run", "state", "detect", "generate"], rows)
    beats = [(worker, beat["stage"], beat["batches"], f"{time.time() - beat['seen']:.0f} s ago",
              ", ".join(beat.get("resident", [])) or "-") for worker, beat in workers.items()]  # fmt: skip
    print_table("\nWorkers", ["worker", "stage", "batches", "seen", "in memory"], beats)


COMMANDS = (status, runs, failures)

"""Commands that look at runs."""

import sys
import time
from typing import TYPE_CHECKING

import click

from producer.cli.endings import TIMEOUT, require_waiting, wait_for
from producer.cli.running import AS_JSON, RUN

if TYPE_CHECKING:
    from posemill.contract.keys import Stage
    from posemill.queue.progress import Snapshot
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
    shown, rounds = handle.status(), handle.rounds()
    print_json(status_values(shown, rounds)) if as_json else print_status(shown, rounds)


@click.command()
@click.option("--state", default="", metavar="STATE", help="Only runs that are running, paused, complete, cancelled, …")
@click.option("--name", "pattern", default="", metavar="GLOB", help="Only runs whose id or name matches.")
@click.option("--since", metavar="AGE", help="Only runs submitted since then, such as 12h or 90d.")
@click.option("--sizes", is_flag=True, help="Also what each run's objects take; lists all of them.")
@AS_JSON
def runs(state: str, pattern: str, since: str | None, sizes: bool, as_json: bool) -> None:
    """List the runs in storage, the newest first: state, age, and images by outcome."""
    import msgspec

    from posemill.queue.ledger import open_ledger
    from posemill.queue.store_identity import require_same_store
    from posemill.storage.store import open_store
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json, print_runs
    from producer.runs.listing import is_wanted, list_runs, parse_age

    age = parse_age(since) if since else None
    settings = local_settings()
    ledger = open_ledger(settings.redis_url.get_secret_value())
    store = open_store(settings.store)
    require_same_store(store, ledger)
    found = [one for one in list_runs(store, ledger, with_sizes=sizes)
             if is_wanted(one, state=state, pattern=pattern, since=age)]  # fmt: skip
    found.sort(key=lambda one: one.created_at.timestamp() if one.created_at else 0.0, reverse=True)
    print_json([{**msgspec.to_builtins(one), "advice": one.advice} for one in found]) if as_json else print_runs(found)


@click.command()
@RUN
@click.option("--most", type=click.IntRange(0), default=10, show_default=True, help="Shown of each reason; 0: all.")
@AS_JSON
def failures(run_id: str, most: int, as_json: bool) -> None:
    """List what RUN refused, rejected or failed to make, by reason."""
    from producer.cli.local_settings import local_settings
    from producer.cli.printing import print_json_line
    from producer.runs.grouping import by_reason
    from producer.runs.handle import open_handle

    found = open_handle(run_id, local_settings()).failures()
    if as_json:
        for failure in found:
            print_json_line({"kind": type(failure).__name__, "record": failure})
        return
    for group in by_reason(found, most=most):
        click.echo(f"{group.count} {group.rows} {group.outcome}: {group.reason}")
        for line in group.shown:
            click.echo(f"  {line}")
        if group.count > len(group.shown):
            click.echo(f"  … and {group.count - len(group.shown)} more (--most 0 shows all)")


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
    rows = [(s.run_id, s.state, *(_finished(s, stage) for stage in Stage))
            for s in snapshots]  # fmt: skip
    print_table("Open runs", ["run", "state", *Stage], rows)
    beats = [(worker, beat["stage"], beat["batches"], f"{time.time() - beat['seen']:.0f} s ago",
              ", ".join(beat.get("resident", [])) or "-") for worker, beat in workers.items()]  # fmt: skip
    print_table("\nWorkers", ["worker", "stage", "batches", "seen", "in memory"], beats)


def _finished(snapshot: "Snapshot", stage: "Stage") -> str:
    counts = snapshot.stages.get(stage)
    return f"{counts.finished}/{counts.rows}" if counts else "-"


COMMANDS = (status, runs, failures)

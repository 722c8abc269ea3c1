"""How runs look in a terminal."""

import sys
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from posemill.contract.keys import Stage
from posemill.contract.records import Plan, RunState
from posemill.contract.rounds import RoundProgress
from posemill.contract.stages import STAGES
from posemill.queue.progress import Snapshot
from producer.runs.handle import Status

if TYPE_CHECKING:
    from posemill.hub.fetching import Progress as FetchProgress
    from producer.runs.listing import RunOverview

SAY_SECONDS = 10.0  # between two lines where there is no terminal
PIPE_WIDTH = 200  # characters a line where there is no terminal


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_json_line(value: Any) -> None:
    """Print a value as JSON in one line."""
    click.echo(msgspec.json.encode(value).decode())


def print_table(
    title: str, columns: list[str], rows: Iterable[Iterable[object]], *, optional: tuple[str, ...] = ()
) -> None:
    """Print rows below their headings; where the terminal is too narrow, `optional` columns go, the last one first."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    cells = [[str(value) for value in row] for row in rows]
    kept = fitting_columns(columns, cells, optional, width=console.width)
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for place in kept:
        table.add_column(columns[place])
    for row in cells:
        table.add_row(*(Text(row[place]) for place in kept))  # as it is: rich would take [brackets] for its markup
    console.print(table)


def fitting_columns(columns: list[str], cells: list[list[str]], optional: tuple[str, ...], *, width: int) -> list[int]:
    """The places of the columns that fit side by side; `optional` ones are given up, the last one first."""
    widths = [max(map(len, [name, *(row[place] for row in cells)])) for place, name in enumerate(columns)]
    kept = list(range(len(columns)))
    for name in reversed(optional):
        if sum(widths[place] + 1 for place in kept) - 1 <= width:
            break
        kept.remove(columns.index(name))
    return kept


def print_runs(found: "list[RunOverview]") -> None:
    """Print a list of runs for a person."""
    sizes = [f"{one.size_bytes / 1e6:.1f} MB" if one.size_bytes is not None else "" for one in found]
    rows = [(one.run_id, one.state, _age(one), one.done, one.items, one.rejected, one.failed, one.sources, size)
            for one, size in zip(found, sizes, strict=True)]  # fmt: skip
    shown = [["-" if value is None else value for value in row] for row in rows]
    columns = ["run", "state", "age", "done", "of", "rejected", "failed", "sources", "size"]
    if not any(sizes):
        columns, shown = columns[:-1], [row[:-1] for row in shown]
    optional = [name for name in ("failed", "rejected", "age", "size", "sources") if name in columns]
    print_table("", columns, shown, optional=tuple(optional))
    for one in found:
        if one.advice:
            click.echo(f"{one.run_id}: {one.advice}")


def _age(one: "RunOverview") -> str:
    return duration((datetime.now(UTC) - one.created_at).total_seconds()) if one.created_at else "-"


def status_values(status: Status, rounds: Sequence[RoundProgress] = ()) -> dict[str, Any]:
    """A run's status as --json prints it."""
    snapshot = status.snapshot
    judged = judging(snapshot)
    return {
        "run_id": snapshot.run_id,
        "state": snapshot.state,
        "reason": snapshot.reason,
        "refused_rows": snapshot.refused_rows,
        "repeated_items": snapshot.repeated_items,
        "stages": {
            stage: {**msgspec.to_builtins(counts), "finished": counts.finished}
            for stage, counts in snapshot.stages.items()
        },
        **({"accepted_share": judged[0], "images_an_item": judged[1]} if judged else {}),
        **({"rounds": msgspec.to_builtins(rounds)} if rounds else {}),
        "remaining_seconds": status.remaining_seconds,
        "images_a_second": status.images_a_second,
    }


def print_status(status: Status, rounds: Sequence[RoundProgress] = ()) -> None:
    """Print a run's counts for a person."""
    snapshot = status.snapshot
    click.echo(f"{snapshot.run_id}: {snapshot.state}" + (f", {snapshot.reason}" if snapshot.reason else ""))
    rows = []
    for stage, counts in snapshot.stages.items():
        share = f"{100 * counts.finished / counts.rows:.1f} %" if counts.rows else "-"
        finished = f"{counts.finished}/{counts.rows} {STAGES[stage].rows}"
        rows.append([stage, finished, share, counts.done, counts.rejected,
                     counts.failed, counts.leased, counts.sent, counts.waiting])  # fmt: skip
    columns = ["stage", "finished", "", "done", "rejected", "failed", "working", "queued", "waiting"]
    judged = judging(snapshot)
    if judged:
        columns.append("again")
        rows = [[*row, counts.again] for row, counts in zip(rows, snapshot.stages.values(), strict=True)]
    print_table("", columns, rows, optional=("rejected", "failed", "working", "queued", "", "waiting"))
    if judged:
        click.echo(f"{100 * judged[0]:.0f} % of the images pass, {judged[1]:.2f} images for each item that is settled")
    if any(one.open for one in rounds):
        told = (f"{one.open} of {one.images} open in round {number}" for number, one in enumerate(rounds, start=1))
        click.echo("; ".join(told))
    if snapshot.refused_rows:
        click.echo(f"{snapshot.refused_rows} rows were refused; `posemill failures {snapshot.run_id}` says why")
    if snapshot.repeated_items:
        click.echo(f"{snapshot.repeated_items} items are wanted more than once and made once")
    if status.remaining_seconds is not None and status.remaining_seconds > 0:
        speed = f", {status.images_a_second:.3g} images a second" if status.images_a_second else ""
        click.echo(f"about {duration(status.remaining_seconds)} left{speed}")


def judging(snapshot: Snapshot) -> tuple[float, float] | None:
    """Share of judged images that passed, and images for each item with a final outcome; None where nobody judged."""
    counts = snapshot.last
    settled, made = counts.done + counts.rejected, counts.done + counts.rejected + counts.again
    if not settled or not any(STAGES[stage].planned_by is not stage for stage in snapshot.stages):
        return None
    return counts.done / made, made / settled


def duration(seconds: float) -> str:
    """Seconds in words, as exact as an estimate deserves."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86400:.1f} days"


class ProgressBars:
    """A bar for each stage, fed with statuses; plain lines now and then where there is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console, disable=not self._console.is_terminal,
        )  # fmt: skip
        self._bars: dict[Stage, Any] = {}  # the stages that the run has
        self._last_line = ""

    def __enter__(self) -> "ProgressBars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, status: Status) -> None:
        """Draw a run's progress, a bar for each stage."""
        for stage, counts in status.snapshot.stages.items():
            if stage not in self._bars:
                self._bars[stage] = self._progress.add_task(stage, total=None, note="")
            self._progress.update(self._bars[stage], total=counts.rows, completed=counts.finished, note=_note(status))
        if not self._console.is_terminal:
            self._show_line(status)

    def _show_line(self, status: Status) -> None:
        stages = status.snapshot.stages
        line = ", ".join(f"{stage} {counts.finished}/{counts.rows}" for stage, counts in stages.items())
        noted = f"{line} {status.snapshot.state}"
        if noted != self._last_line:
            self._last_line = noted
            self._console.print(f"{line}  {_note(status)}", highlight=False, markup=False)


class PlanningBar:
    """What a submission has read so far; nothing where there is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(), TextColumn("planning"), TextColumn("{task.fields[note]}"), TimeElapsedColumn(),
            console=console, disable=not console.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=None, note="reading the sources")

    def __enter__(self) -> "PlanningBar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, plan: Plan) -> None:
        """Say how far the plan is."""
        note = f"{plan.sources:,} sources, {plan.items:,} items"
        self._progress.update(self._task, note=note + f", {plan.refused_rows:,} refused" * bool(plan.refused_rows))


class FetchingBar:
    """How far a model is that is fetched; a line every few seconds where there is no terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        self._is_terminal = console.is_terminal
        self._said = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
            console=console, disable=not console.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "FetchingBar":
        from posemill.hub.downloads import without_bars_of_the_client

        without_bars_of_the_client()
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, progress: "FetchProgress") -> None:
        """Say how far it is."""
        self._progress.update(
            self._task, description=progress.model, completed=progress.done_bytes, total=progress.total_bytes
        )
        if not self._is_terminal and time.monotonic() - self._said >= SAY_SECONDS:
            self._said = time.monotonic()
            click.echo(f"fetching {progress}", err=True)


def _note(status: Status) -> str:
    if status.snapshot.state is RunState.PAUSED:
        return f"paused{': ' * bool(status.snapshot.reason)}{status.snapshot.reason}"
    if all(counts.finished >= counts.rows for counts in status.snapshot.stages.values()):
        return "done"
    if status.remaining_seconds is None:
        return "estimating the time"
    speed = f", {status.images_a_second:.3g} images/s" if status.images_a_second else ""
    return f"about {duration(status.remaining_seconds)} left{speed}"

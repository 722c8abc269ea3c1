"""A run on workers with timed devices, and how busy the devices were."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from posemill.contract.keys import Stage
from posemill.processes.supervisor import Child, Supervisor
from posemill.queue.rebuild import read_layouts
from posemill.settings import Settings
from posemill.storage.run_documents import read_plan
from producer.local.services import EmbeddedServices
from producer.submitting.submission import submit
from tests.small_pictures import picture

REVISION = {f"{part}_revision": "0" * 40 for part in ("base", "controlnet")}  # looked up nowhere
Interval = tuple[float, float]


def device_intervals(*, devices: int, batches: int, batch_seconds: float, side: int) -> list[list[Interval]]:
    """Each device's batches as (begun, ended) seconds, from a whole run with real Redis and S3."""
    with _fleet(devices=devices, batch_seconds=batch_seconds, side=side) as (folder, log):
        handle = submit(_recipe(folder, batches), run_id="bench", settings=Settings())
        handle.wait(timeout_seconds=600)
        return [_read(path) for path in sorted(log.iterdir())]


def worker_seconds(*, batches: int, batch_seconds: float, side: int) -> tuple[float, int]:
    """Processor seconds of the one worker from its first batch to its last, and the images that it made meanwhile."""
    with _fleet(devices=1, batch_seconds=batch_seconds, side=side) as (folder, log):
        submit(_recipe(folder, batches), run_id="bench", settings=Settings()).wait(timeout_seconds=600)
        (path,) = log.iterdir()
        spent = [float(line.split()[2]) for line in path.read_text(encoding="ascii").splitlines()]
    return spent[-1] - spent[0], 8 * (len(spent) - 1)


def judged_run(*, batches: int, batch_seconds: float, side: int) -> tuple[list[Interval], float, int]:
    """The one device's batches of a run whose images are judged; how full the batches of later rounds were; images.

    The run's last batch does not count: nothing is left to fill it.
    """
    with _fleet(devices=1, batch_seconds=batch_seconds, side=side) as (folder, log):
        recipe = _recipe(folder, batches) | {"verify": {"tries": 3, "checks": [{"check": "sharpness"}]}}
        handle = submit(recipe, run_id="bench", settings=Settings())
        handle.wait(timeout_seconds=1200)
        store, run = handle.store, handle.run
        layout = read_layouts(store, run, read_plan(store, run.id))[Stage.GENERATE]
        later = [layout.rows_in(batch) for shard in range(layout.first_shards, layout.shards)
                 for batch in layout.batches_of(shard)][:-1]  # fmt: skip
        (intervals,) = (_read(path) for path in sorted(log.iterdir()))
        return intervals, sum(later) / (layout.slicing.batch_size * len(later)), layout.rows


@contextmanager
def _fleet(*, devices: int, batch_seconds: float, side: int) -> Iterator[tuple[Path, Path]]:
    """Services and workers with timed devices; gives a folder, and the one where devices write their times."""
    with tempfile.TemporaryDirectory(prefix="posemill-bench-") as name:
        folder = Path(name)
        log = folder / "device"
        log.mkdir()
        with EmbeddedServices(folder / "services") as services:
            os.environ.update(services.environment())
            os.environ.update(BENCH_BATCH_SECONDS=str(batch_seconds), BENCH_SIDE=str(side), BENCH_LOG=str(log))
            children = [_child("detect", 0), *(_child("generate", number) for number in range(devices))]
            with Supervisor(children, log_folder=folder / "logs"):
                yield folder, log


def busy_share(intervals: list[Interval], since: float, until: float) -> float:
    """The share of a span in which a device computed."""
    return sum(max(0.0, min(end, until) - max(begin, since)) for begin, end in intervals) / (until - since)


def _child(stage: str, number: int) -> Child:
    return Child(name=f"{stage}-{number}", command=(sys.executable, "-m", "benchmarks.device", stage))


def _recipe(folder: Path, batches: int) -> dict[str, Any]:
    """Batches of eight images each, from one source in eight items."""
    (folder / "sources").mkdir()
    for number in range(batches):
        (folder / "sources" / f"{number:05d}.png").write_bytes(picture(number))
    return {
        "name": "bench",
        "sources": str(folder / "sources"),
        "prompts": ["a dancer in a hall", "a chef in a kitchen"],
        "seeds": 4,
        "detect": {"detector": "openpose-thin", "batch_size": 4},
        "generate": {"base": "nobody/none", "controlnet": "nobody/none", **REVISION, "batch_size": 8},
    }


def _read(path: Path) -> list[Interval]:
    lines = path.read_text(encoding="ascii").splitlines()
    return [(float(begin), float(end)) for begin, end, _ in (line.split() for line in lines)]

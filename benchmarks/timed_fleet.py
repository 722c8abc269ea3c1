"""A run on workers with timed devices, and how busy the devices were."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from posemill.processes.supervisor import Child, Supervisor
from posemill.settings import Settings
from producer.local.services import EmbeddedServices
from producer.submitting.submission import submit
from tests.small_pictures import picture

REVISION = {f"{part}_revision": "0" * 40 for part in ("base", "controlnet")}  # looked up nowhere
Interval = tuple[float, float]


def device_intervals(*, devices: int, batches: int, batch_seconds: float, side: int) -> list[list[Interval]]:
    """Each device's batches as (begun, ended) seconds, from a whole run with real Redis and S3."""
    with tempfile.TemporaryDirectory(prefix="posemill-bench-") as name:
        folder = Path(name)
        log = folder / "device"
        log.mkdir()
        with EmbeddedServices(folder / "services") as services:
            os.environ.update(services.environment())
            os.environ.update(BENCH_BATCH_SECONDS=str(batch_seconds), BENCH_SIDE=str(side), BENCH_LOG=str(log))
            children = [_child("detect", 0), *(_child("generate", number) for number in range(devices))]
            with Supervisor(children, log_folder=folder / "logs"):
                handle = submit(_recipe(folder, batches), run_id="bench", settings=Settings())
                handle.wait(timeout_seconds=600)
        return [_read(path) for path in sorted(log.iterdir())]


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
    return [(float(begin), float(end)) for begin, end in (line.split() for line in lines)]

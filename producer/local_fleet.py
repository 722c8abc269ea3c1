"""Services and workers of one machine: the demo's and those of `posemill up`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posemill.deaths import DeathReports
from posemill.names import Stage
from posemill.settings import Settings
from posemill.supervisor import Child, Supervisor
from producer.services import EmbeddedServices


@contextmanager
def local_fleet(folder: Path, *, workers: dict[Stage, int]) -> Iterator[Settings]:
    """Redis, S3 and `workers` processes a stage, each its own process, until the block ends.

    Data and logs lie in `folder`. Sets this process's environment to the services for the time.
    """
    with EmbeddedServices(folder) as services:
        environment = services.environment()
        saved = {name: os.environ.get(name) for name in environment}
        os.environ.update(environment)
        reports = DeathReports(Settings())
        supervisor = Supervisor(worker_children(workers), log_folder=folder / "logs", on_end=reports)
        try:
            supervisor.start()
            yield Settings()
        finally:
            supervisor.stop(timeout_seconds=20)
            for name, value in saved.items():
                _restore(name, value)


def worker_children(workers: dict[Stage, int]) -> list[Child]:
    return [
        Child(name=f"{stage}-{number}", command=(sys.executable, "-m", "workers", stage.value, "--unsupervised"))
        for stage, processes in workers.items()
        for number in range(processes)
    ]


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value

"""Services and workers of one machine: the demo's and those of `posemill up`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from posemill.contract.keys import Stage
from posemill.processes.own_modules import module_command
from posemill.processes.supervisor import Child, Supervisor
from posemill.queue.death_reports import DeathReports
from posemill.settings import Settings, load_settings
from producer.local.sealed_environment import sealed
from producer.local.services import EmbeddedServices


@contextmanager
def local_fleet(folder: Path, *, workers: dict[Stage, int]) -> Iterator[Settings]:
    """Redis, S3 and `workers` processes a stage, each its own process, until the block ends.

    Data and logs lie in `folder`. For the time this process's environment is sealed and leads to the services.
    """
    before = dict(os.environ)
    try:
        _replace_environment(sealed(before, {}))  # the services are asked whether they are ready
        with EmbeddedServices(folder) as services:
            _replace_environment(sealed(before, services.environment()))
            settings = load_settings()
            reports = DeathReports(settings)
            supervisor = Supervisor(worker_children(workers), log_folder=folder / "logs", on_end=reports)
            try:
                supervisor.start()
                yield settings
            finally:
                supervisor.stop(timeout_seconds=20)
    finally:
        _replace_environment(before)


def worker_children(workers: dict[Stage, int]) -> list[Child]:
    """The worker processes of each stage, for a supervisor."""
    return [
        Child(name=f"{stage}-{number}", command=module_command("workers", stage.value, "--unsupervised"))
        for stage, processes in workers.items()
        for number in range(processes)
    ]


def _replace_environment(environment: Mapping[str, str]) -> None:
    for name in set(os.environ) - set(environment):
        del os.environ[name]
    os.environ.update(environment)

"""The Celery tasks, one for each stage: they hand ids to a StageWorker and nothing else."""

from collections.abc import Callable

from celery import Celery
from celery.signals import worker_shutting_down

from posemill.contract.keys import Stage, task_name
from workers.batches.anatomy import StageWorker


def declare_task(app: Celery, stage: Stage, worker: StageWorker) -> None:
    """Register the stage's task on the app."""

    @app.task(name=task_name(stage))
    def work_on_batch(run_id: str, batch: int) -> None:
        worker.do(run_id, batch)


def when_ending(act: Callable[[], None]) -> None:
    """Call `act` once the process is told to end."""
    worker_shutting_down.connect(lambda **_: act(), weak=False)

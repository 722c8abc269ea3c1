"""The Celery tasks, one for each stage: they hand ids to a StageWorker and nothing else."""

from celery import Celery

from posemill.names import Stage, task_name
from workers.stage import StageWorker


def declare_task(app: Celery, stage: Stage, worker: StageWorker) -> None:
    """Register the stage's task on the app."""

    @app.task(name=task_name(stage))
    def work_on_batch(run_id: str, batch: int) -> None:
        worker.do(run_id, batch)

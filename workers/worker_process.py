"""One worker process: consumes its stage's queue, keeps its leases, and stands for election as dispatcher."""

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from posemill.contract.keys import Stage, queue_name
from posemill.contract.stages import STAGES
from posemill.errors import ServiceError
from posemill.queue.celery_app import make_app
from posemill.queue.dispatcher import Dispatcher
from posemill.queue.opening import open_services
from posemill.queue.window import queue_length
from posemill.settings import Settings, worker_id
from workers.batches.anatomy import StageWorker
from workers.batches.batch_work import MakeWork
from workers.batches.heartbeat import Heartbeat
from workers.batches.leases import LeaseKeeper
from workers.batches.plan_reader import Slices
from workers.batches.row_process import RowProcess
from workers.batches.watchdog import Watchdog
from workers.batches.worker_group import WorkerGroup
from workers.stage_work import make_stage_work
from workers.tasks import declare_task, when_ending

log = logging.getLogger(__name__)


def consume(stage: Stage, *, queue: str | None, settings: Settings, make_work: MakeWork = make_stage_work) -> None:
    """Work until SIGTERM, also on the stages whose batches are taken beside this one's; `make_work` replaces the
    stages' own parts.

    Raises ServiceError when Redis or storage is not usable at the start, or when Celery gives up.
    """
    queues = queues_of(stage, queue)
    store, ledger = open_services(settings)
    app = make_app(settings.redis_url.get_secret_value())
    keeper, slices, device = LeaseKeeper(ledger, settings.lease_seconds), Slices(store), threading.Lock()

    def make_worker(own: Stage) -> StageWorker:
        return StageWorker(
            make_work(own, store, slices, settings, ledger),
            worker=worker_id(),
            store=store,
            ledger=ledger,
            slices=slices,
            keeper=keeper,
            settings=settings,
            row_process=RowProcess(make_work, own, settings),
            device=device,
        )

    workers = {own: make_worker(own) for own in queues}
    for own, worker in workers.items():
        declare_task(app, own, worker)
    group = WorkerGroup(list(workers.values()))
    watchdog = Watchdog(
        settings,
        held=lambda: len(keeper.held),
        stepped=lambda: group.stepped,
        queued=lambda: sum(queue_length(ledger.redis, name) for name in queues.values()),
    )
    loops = {
        "leases": keeper.run_until,
        "dispatcher": Dispatcher(store, ledger, app, settings).run_until,
        "watchdog": watchdog.run_until,
        "heartbeat": Heartbeat(ledger, stage=stage, queue=queues[stage], worker=group, keeper=keeper).run_until,
    }
    with _background_threads(loops):
        log.info("A %s worker is ready", stage)
        run = partial(app.worker_main, _celery_arguments(stage, list(queues.values()), settings))
        _run_until_asked(run, group, settings.drain_seconds)


def queues_of(stage: Stage, queue: str | None) -> dict[Stage, str]:
    """What a worker of a stage consumes, the first queue first: what is begun is finished before more is begun."""
    beside = {other: queue_name(other) for other, row in STAGES.items() if row.beside is stage}
    return beside | {stage: queue or queue_name(stage)}


@contextmanager
def _background_threads(loops: Mapping[str, Callable[[threading.Event], None]]) -> Iterator[None]:
    """Threads that run until the block ends."""
    stopped = threading.Event()
    threads = [threading.Thread(target=loop, args=(stopped,), name=name, daemon=True) for name, loop in loops.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join(timeout=5)


def _run_until_asked(run: Callable[[], None], worker: WorkerGroup, drain_seconds: float) -> None:
    """Celery's own loop, `run`. A first SIGTERM means to finish what is begun, a second one at once."""
    asked = threading.Event()

    def end() -> None:
        seconds = 0.0 if asked.is_set() else drain_seconds
        asked.set()
        begin_to_drain(worker, seconds)

    when_ending(end)
    run()
    if not asked.is_set():  # Celery logs an unrecoverable error and returns as if all were well
        raise ServiceError("the worker stopped consuming by itself; the log above says why")


def begin_to_drain(worker: WorkerGroup, drain_seconds: float) -> None:
    """Let what is on the device finish; after drain_seconds hand back what is left and end."""
    log.info("Ending: what is not done in %.0f s is handed back", drain_seconds)
    worker.drain()

    def end() -> None:
        try:
            worker.hand_back()
        finally:
            os._exit(0)

    timer = threading.Timer(drain_seconds, end)
    timer.daemon = True
    timer.start()


def _celery_arguments(stage: Stage, queues: list[str], settings: Settings) -> list[str]:
    return [
        "--quiet",  # no banner, which nobody can print on a full disk
        "worker",
        "--pool=threads",
        f"--concurrency={settings.worker_threads}",
        f"--queues={','.join(queues)}",
        f"--hostname={stage}-{worker_id().replace(':', '-')}@%h",
        "--loglevel=WARNING",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
    ]

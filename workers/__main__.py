"""`python -m workers STAGE`: worker processes under a supervisor."""

import argparse
import logging
import os
import sys

from posemill.contract.keys import Stage
from posemill.contract.stages import STAGES
from posemill.exit_codes import ExitCode
from posemill.last_words import last_words
from posemill.logs import set_up_logging
from posemill.processes.own_modules import module_command
from posemill.processes.supervisor import Child, Supervisor
from posemill.queue.death_reports import DeathReports
from posemill.queue.opening import open_services
from posemill.settings import in_sentences, load_settings, unknown_variables

log = logging.getLogger(__name__)


def main() -> int:
    """The worker's command line."""
    options = _parser().parse_args()
    set_up_logging()
    stage = Stage(options.stage)
    if not STAGES[stage].on_gpu or options.concurrency > 1:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads would starve the other processes
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process a core; more threads would only fight over it
    try:
        if options.unsupervised:
            return _consume(stage, options.queue)
        return _supervise(stage, options.concurrency, options.queue)
    except Exception as error:  # the door: whatever it is, it leaves as a sentence
        words = last_words(error)
        if not words.is_known:
            log.exception("The worker ends")  # a log may be long, and this is all that remains of it
        print(f"posemill worker: {words.sentence}", file=sys.stderr)
        return words.status


def _consume(stage: Stage, queue: str | None) -> int:
    """Be one worker process."""
    for sentence in in_sentences(unknown_variables(os.environ)):
        log.warning("%s", sentence)
    try:
        from workers.worker_process import consume

        consume(stage, queue=queue, settings=load_settings())
    except ImportError as error:
        print(f"posemill worker: {error}; install the workers' libraries: pip install 'posemill[workers]'",
              file=sys.stderr)  # fmt: skip
        return ExitCode.WRONG_USAGE
    return 0


def _supervise(stage: Stage, concurrency: int, queue: str | None) -> int:
    """Keep `concurrency` processes alive, and tell the ledger of those that died: one process has its watcher too."""
    settings = load_settings()
    open_services(settings)
    queue_options = ("--queue", queue) if queue else ()
    command = module_command("workers", stage.value, "--unsupervised", *queue_options)
    children = [
        Child(name=f"{stage}-{number}", command=command, final_statuses=(ExitCode.WRONG_USAGE,))
        for number in range(concurrency)
    ]
    return Supervisor(children, on_end=DeathReports(settings)).run_forever()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="posemill worker", description="Work on one stage's batches until SIGTERM.")
    parser.add_argument("stage", choices=[stage.value for stage in Stage])
    parser.add_argument("--concurrency", type=int, default=1, help="processes; one a core to detect, one a GPU else")
    parser.add_argument("--unsupervised", action="store_true", help="be one process that nobody here watches")
    parser.add_argument("--queue", help="consume this queue instead of the stage's own")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""A process that makes single rows and nothing else, watched by the worker that started it.

Where it ends while its watcher lives, the row that it was making is to blame: whatever ends the machine, or is aimed
at the worker, ends both.
"""

import logging
import multiprocessing
import pickle
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import msgspec

from posemill.contract.keys import Stage
from posemill.contract.records import BatchRecord, Run, decode, encode
from posemill.errors import PermanentError, RunFault, TransientError, in_words
from posemill.logs import set_up_logging
from posemill.processes.die_with_parent import ask_to_die_with_parent
from posemill.queue.ledger import Ledger, open_ledger
from posemill.settings import Settings
from posemill.storage.store import open_store
from workers.batches.batch_work import BatchWork, MakeWork, Results, read_set_aside
from workers.batches.plan_reader import Slices

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
START_SECONDS = 300.0  # imports of torch and diffusers on a busy disk


class RowProcessEnded(Exception):
    """It ended, or had to be ended, while it made a row; the message says how."""


class _Wanted(msgspec.Struct, frozen=True):
    run: bytes  # as in storage: pickle brings no default back as itself, and digests would be others
    batch: int
    row: int


class _Made(msgspec.Struct, frozen=True):
    results: Results
    made_with: dict[str, Any]


class RowProcess:
    """One process at a time; started when it is first needed, and again after it ended."""

    def __init__(self, make_work: MakeWork, stage: Stage, settings: Settings) -> None:
        self._arguments = (make_work, stage, settings)
        self._limit_seconds = settings.stuck_seconds
        self._context = multiprocessing.get_context("spawn")
        self._process: Any = None
        self._connection: Connection | None = None
        self.made_with: dict[str, Any] = {}  # of the last row

    def start(self, watch: Callable[[], None]) -> None:
        """Ready to make a row. Raises TransientError when it cannot be started, and what `watch` raises."""
        if self._process is not None:
            return
        ours, theirs = self._context.Pipe()
        self._process = self._context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._connection = ours
        try:
            answer = self._answer(watch, START_SECONDS)
        except RowProcessEnded as error:
            raise TransientError(f"no process for single rows can be started: {error}") from error
        if isinstance(answer, Exception):
            self.stop()
            raise answer

    def make(self, run: Run, batch: int, row: int, watch: Callable[[], None]) -> Results:
        """The row's result. Raises RowProcessEnded, what the row's making raised, and what `watch` raises."""
        assert self._connection is not None
        try:
            self._connection.send(_Wanted(encode(run), batch, row))
        except OSError as error:
            raise RowProcessEnded(self._end()) from error
        answer = self._answer(watch, self._limit_seconds)
        if isinstance(answer, Exception):
            raise answer
        self.made_with = answer.made_with
        return answer.results  # type: ignore[no-any-return]

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._end()

    def _answer(self, watch: Callable[[], None], limit_seconds: float) -> Any:
        assert self._connection is not None
        deadline = time.monotonic() + limit_seconds
        try:
            while not self._connection.poll(LOOK_SECONDS):
                watch()
                if time.monotonic() > deadline:
                    self.stop()
                    raise RowProcessEnded(f"no answer in {limit_seconds:.0f} s")
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise RowProcessEnded(self._end()) from error
        except RowProcessEnded:
            raise
        except BaseException:
            self.stop()
            raise

    def _end(self) -> str:
        """Forget the process, which has ended or is about to; gives how."""
        process, self._process = self._process, None
        if self._connection:
            self._connection.close()
        process.join(10)
        if process.exitcode is None:
            process.kill()
            process.join()
        return exit_words(process.exitcode)


def exit_words(status: int) -> str:
    """How a process ended."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"


def _serve(connection: Connection, make_work: MakeWork, stage: Stage, settings: Settings) -> None:
    """The process itself: one row after the other, until its watcher is gone."""
    ask_to_die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_up_logging()
    try:
        store = open_store(settings.store)
        ledger: Ledger = open_ledger(settings.redis_url.get_secret_value())
        work = make_work(stage, store, Slices(store), settings, ledger)
    except Exception as error:  # noqa: BLE001 (the process's boundary: its watcher raises it)
        connection.send(_portable(error))
        return
    connection.send("ready")
    while True:
        try:
            wanted = connection.recv()
        except EOFError:
            return
        try:
            run = decode(wanted.run, Run)
            kept = read_set_aside(store, run.id, stage, wanted.batch)
            answer: Any = _make(work, run, wanted.batch, wanted.row, kept)
        except Exception as error:
            log.warning("Row %d failed alone: %s", wanted.row, in_words(error), exc_info=True)
            answer = _portable(error)
        connection.send(answer)


def _make(work: BatchWork[Any], run: Run, batch: int, row: int, kept: BatchRecord | None) -> _Made:
    results = work.save(run, work.compute(run, work.load(run, batch, kept, row)))
    return _Made(results, work.made_with(run))


def _portable(error: Exception) -> Exception:
    """The error itself where it can be sent, else one of its kind with its words."""
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:  # noqa: BLE001 (pickle raises whatever a foreign class does)
        for kind in (TransientError, RunFault, PermanentError):
            if isinstance(error, kind):
                return kind(in_words(error))
        return RuntimeError(in_words(error))

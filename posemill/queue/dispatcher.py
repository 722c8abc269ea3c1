"""Keeps a bounded window of messages on the broker: one elected loop among the workers.

The producer runs a single `tick` at submission as well, so that an autoscaler that looks at the queue's length
can start the first worker.
"""

import logging
import threading
import time
from typing import Any
from uuid import uuid4

import redis
from celery import Celery

from posemill.contract import keys as names
from posemill.contract.keys import Priority, RunKeys, Stage
from posemill.contract.records import Run, RunState, ShardHeader
from posemill.contract.stages import LAST_STAGE, STAGES
from posemill.errors import PosemillError, TransientError, in_words
from posemill.queue.celery_app import SEND_ERRORS, send_batches
from posemill.queue.ledger import Ledger
from posemill.queue.progress import Snapshot
from posemill.queue.rebuild import rebuild
from posemill.queue.rounds import Rounds
from posemill.queue.run_states import finish_retry, pause_for_fault
from posemill.queue.window import Window, take
from posemill.settings import Settings
from posemill.storage.run_documents import read_run, read_shard
from posemill.storage.store import Store

log = logging.getLogger(__name__)

LOCK_SECONDS = 10  # an elected dispatcher that dies is replaced after that
PACE_SECONDS = 1.0  # between two samples of the pace
ABANDONED_SECONDS = 10.0  # a retry that has not ended by then is gone on with


class PlanReader:
    """Reads runs and plan shard headers from storage and keeps the last few."""

    def __init__(self, store: Store, keep: int = 64) -> None:
        self._store = store
        self._keep = keep
        self._runs: dict[str, Run] = {}
        self._headers: dict[tuple[str, Stage, int], ShardHeader] = {}
        self._submissions: dict[str, str] = {}

    def follow(self, run_id: str, submission: str) -> None:
        """Forget what was read of an earlier run under the same id."""
        if self._submissions.get(run_id) == submission:
            return
        self._runs.pop(run_id, None)
        self._headers = {kept: header for kept, header in self._headers.items() if kept[0] != run_id}
        _make_room(self._submissions, self._keep)
        self._submissions[run_id] = submission

    def run(self, run_id: str) -> Run:
        """Raises NotFound and UnreadableRecord."""
        if run_id not in self._runs:
            _make_room(self._runs, self._keep)
            self._runs[run_id] = read_run(self._store, run_id)
        return self._runs[run_id]

    def needs(self, run_id: str, stage: Stage, batch: int) -> list[int]:
        """Batches of the stage before that this one must wait for. Raises NotFound and UnreadableRecord."""
        if STAGES[stage].planned_by is not stage:
            return [batch]
        slicing = self.run(run_id).slicing[stage]
        shard, position = divmod(batch, slicing.batches_a_shard)
        if (run_id, stage, shard) not in self._headers:
            _make_room(self._headers, self._keep)
            self._headers[run_id, stage, shard] = read_shard(self._store, run_id, stage, shard)[0]
        return self._headers[run_id, stage, shard].needs[position]


def _make_room(kept: dict[Any, Any], keep: int) -> None:
    while len(kept) >= keep:
        del kept[next(iter(kept))]


class Dispatcher:
    """Sends what is due, as long as it holds the lock."""

    def __init__(self, store: Store, ledger: Ledger, app: Celery, settings: Settings) -> None:
        self._ledger = ledger
        self._app = app
        self._settings = settings
        self._store = store
        self._plan = PlanReader(store)
        self._rounds = Rounds(store, ledger)
        self._id = uuid4().hex
        self._paced = 0.0

    def run_until(self, stopped: threading.Event) -> None:
        """Look again and again; any failure is logged and the next look is a new chance."""
        while not stopped.wait(self._settings.tick_seconds):
            try:
                if self._elected():
                    self.tick()
            except (PosemillError, redis.RedisError, OSError) as error:
                log.warning("The dispatcher could not do its round: %s", error)
                stopped.wait(1.0)
            except Exception:  # Celery's own too: a loop that dies unseen would leave every run standing
                log.warning("The dispatcher could not do its round", exc_info=True)
                stopped.wait(1.0)
        self._resign()

    def tick(self) -> None:
        """One round over all open runs."""
        pace_due = time.monotonic() - self._paced > PACE_SECONDS
        for run_id in self._ledger.open_runs():
            self._look_after(run_id, pace_due=pace_due)
        if pace_due:
            self._paced = time.monotonic()

    def _look_after(self, run_id: str, *, pace_due: bool) -> None:
        """One run's trouble stays with it: it is paused with its reason, and the others go on."""
        try:
            snapshot = self._ledger.snapshot(run_id)
            if snapshot is None:
                self._ledger.forget(run_id)
                return
            if pace_due:
                self._ledger.note_pace(run_id, {stage: one.finished for stage, one in snapshot.stages.items()})
            if snapshot.state is RunState.RUNNING:
                self._advance(run_id, snapshot)
            elif snapshot.state is RunState.RETRYING and self._ledger.state_age_seconds(run_id) > ABANDONED_SECONDS:
                log.warning("A retry was left halfway; it goes on", extra={"run_id": run_id})
                finish_retry(self._store, self._ledger, run_id)
        except SEND_ERRORS:
            raise  # every run would meet it
        except (TransientError, OSError) as error:
            log.warning("The run cannot go on now: %s", error, extra={"run_id": run_id})
        except PosemillError as error:
            pause_for_fault(self._store, self._ledger, run_id, in_words(error))
        except Exception as error:  # a fault of our own, or a run that no posemill wrote
            log.exception("The run cannot go on", extra={"run_id": run_id})
            pause_for_fault(self._store, self._ledger, run_id, in_words(error))

    def _advance(self, run_id: str, snapshot: Snapshot) -> None:
        """Take back what was lost, then send up to the window; close the run when all is done."""
        self._plan.follow(run_id, snapshot.submission)
        if LAST_STAGE in snapshot.stages and self._rounds.advance(self._plan.run(run_id), snapshot):
            return  # there is more to do than the snapshot says
        if all(counts.batches_done >= counts.batches for counts in snapshot.stages.values()):
            self._close(run_id, snapshot)
            return
        run = self._plan.run(run_id)
        for stage in snapshot.stages:
            queue = run.queues[stage]
            window = Window(self._ledger, run_id, stage, queue, self._settings.window)
            lost = window.take_back(self._settings.resend_seconds)
            if lost:
                log.warning("%d %s batches were lost and go out again", lost, stage, extra={"run_id": run_id})
            for priority, batches in self._choose(window, snapshot.stages[stage].end, Priority[run.priority.upper()]):
                window.mark_sent(batches)
                send_batches(self._app, stage, queue, run_id, batches, priority=priority)

    def _close(self, run_id: str, snapshot: Snapshot) -> None:
        """Complete is what storage says: where a record is missing, the ledger is made again."""
        if LAST_STAGE in snapshot.stages and not self._rounds.are_over(self._plan.run(run_id)):
            return
        for stage, counts in snapshot.stages.items():
            written = sum(1 for _ in self._store.list(RunKeys(run_id).records(stage)))
            if written < counts.batches:
                log.warning("%d of %d %s records stand; the ledger is made again", written, counts.batches, stage,
                            extra={"run_id": run_id})  # fmt: skip
                rebuild(self._store, self._ledger, run_id)
                return
        if self._ledger.complete(run_id):
            log.info("The run is complete", extra={"run_id": run_id})

    def _choose(self, window: Window, end: int, own: Priority) -> list[tuple[Priority, list[int]]]:
        """Batches that may start now: due retries before all others, then passed-over ones, then new ones."""
        room = window.room()
        if room <= 0:
            return []
        again = window.due(room)
        room -= len(again)
        passed_over = window.passed_over()
        chosen = take(passed_over, room, self._ready(window, passed_over).__contains__)[0]
        fresh, looked = window.fresh(end)
        room -= len(chosen)
        ready = self._ready(window, fresh if room > 0 else [])
        started, passed = take(fresh, room, ready.__contains__, limit_passed=window.limit - len(passed_over))
        seen = started + passed
        if seen or not fresh:
            window.advance(passed, max(seen) + 1 if seen else looked)
        return [(priority, found) for priority, found in ((Priority.AGAIN, again), (own, chosen + started)) if found]

    def _ready(self, window: Window, batches: list[int]) -> set[int]:
        """Those of the batches that wait for nothing any more; asked of Redis in one go."""
        if not window.waits:
            return set(batches)
        return window.ready({batch: self._plan.needs(window.run_id, window.stage, batch) for batch in batches})

    def _elected(self) -> bool:
        client = self._ledger.redis
        if client.set(names.DISPATCHER, self._id, nx=True, ex=LOCK_SECONDS):
            return True
        if client.get(names.DISPATCHER) != self._id:
            return False
        return bool(client.expire(names.DISPATCHER, LOCK_SECONDS))

    def _resign(self) -> None:
        try:
            if self._ledger.redis.get(names.DISPATCHER) == self._id:
                self._ledger.redis.delete(names.DISPATCHER)
        except redis.RedisError:
            log.info("The dispatcher's lock runs out by itself")

"""Keeps a bounded window of messages on the broker: one elected loop among the workers.

The producer runs a single `tick` at submission as well, so that an autoscaler that looks at the queue's length
can start the first worker.
"""

import logging
import threading
import time
from uuid import uuid4

import redis
from celery import Celery

from posemill import names
from posemill.app import send_batches
from posemill.errors import PosemillError
from posemill.ledger import Ledger
from posemill.names import Priority, RunKeys, Stage
from posemill.progress import Snapshot
from posemill.records import Run, RunState, ShardHeader, decode, decode_header
from posemill.settings import Settings
from posemill.storage import Store
from posemill.window import Window, take

log = logging.getLogger(__name__)

LOCK_SECONDS = 10  # an elected dispatcher that dies is replaced after that
PACE_SECONDS = 1.0  # between two samples of the pace


class PlanReader:
    """Reads runs and plan shard headers from storage and keeps the last few."""

    def __init__(self, store: Store, keep: int = 64) -> None:
        self._store = store
        self._keep = keep
        self._runs: dict[str, Run] = {}
        self._headers: dict[str, ShardHeader] = {}

    def run(self, run_id: str) -> Run:
        if run_id not in self._runs:
            self._runs[run_id] = decode(self._store.get(RunKeys(run_id).run), Run)
        return self._runs[run_id]

    def needs(self, run_id: str, batch: int) -> list[int]:
        """Detect batches that a generate batch must wait for."""
        slicing = self.run(run_id).slicing[Stage.GENERATE]
        shard, position = divmod(batch, slicing.batches_a_shard)
        key = RunKeys(run_id).shard(Stage.GENERATE, shard)
        if key not in self._headers:
            while len(self._headers) >= self._keep:
                del self._headers[next(iter(self._headers))]
            self._headers[key] = decode_header(self._store.get(key))
        return self._headers[key].needs[position]


class Dispatcher:
    """Sends what is due, as long as it holds the lock."""

    def __init__(self, store: Store, ledger: Ledger, app: Celery, settings: Settings) -> None:
        self._ledger = ledger
        self._app = app
        self._settings = settings
        self._plan = PlanReader(store)
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
            snapshot = self._ledger.snapshot(run_id)
            if snapshot is None:
                self._ledger.forget(run_id)
                continue
            if pace_due:
                self._ledger.note_pace(run_id, {stage: snapshot.stages[stage].finished for stage in Stage})
            if snapshot.state is RunState.RUNNING:
                self._try_to_advance(run_id, snapshot)
        if pace_due:
            self._paced = time.monotonic()

    def _try_to_advance(self, run_id: str, snapshot: Snapshot) -> None:
        """One run's trouble must not stop the others."""
        try:
            self._advance(run_id, snapshot)
        except PosemillError as error:
            log.warning("The run cannot go on: %s", error, extra={"run_id": run_id})

    def _advance(self, run_id: str, snapshot: Snapshot) -> None:
        """Take back what was lost, then send up to the window; close the run when all is done."""
        if all(counts.batches_done >= counts.batches for counts in snapshot.stages.values()):
            self._ledger.set_state(run_id, RunState.COMPLETE)
            log.info("The run is complete", extra={"run_id": run_id})
            return
        run = self._plan.run(run_id)
        for stage in Stage:
            queue = run.queues[stage]
            window = Window(self._ledger.redis, run_id, stage, queue, self._settings.window)
            lost = window.take_back(self._settings.resend_seconds)
            if lost:
                log.warning("%d %s batches were lost and go out again", lost, stage, extra={"run_id": run_id})
            for priority, batches in self._choose(
                window, snapshot.stages[stage].batches, Priority[run.priority.upper()]
            ):
                window.mark_sent(batches)
                send_batches(self._app, stage, queue, run_id, batches, priority=priority)

    def _choose(self, window: Window, batches: int, own: Priority) -> list[tuple[Priority, list[int]]]:
        """Batches that may start now: due retries before all others, then passed-over ones, then new ones."""
        room = window.room()
        if room <= 0:
            return []
        again = window.due(room)
        room -= len(again)
        passed_over = window.passed_over()
        chosen = take(passed_over, room, self._ready(window, passed_over).__contains__)[0]
        fresh, end = window.fresh(batches)
        room -= len(chosen)
        ready = self._ready(window, fresh if room > 0 else [])
        started, passed = take(fresh, room, ready.__contains__, limit_passed=window.limit - len(passed_over))
        seen = started + passed
        if seen or not fresh:
            window.advance(passed, max(seen) + 1 if seen else end)
        return [(priority, found) for priority, found in ((Priority.AGAIN, again), (own, chosen + started)) if found]

    def _ready(self, window: Window, batches: list[int]) -> set[int]:
        """Those of the batches that wait for no source; asked of Redis in one go."""
        if window.stage is Stage.DETECT:
            return set(batches)
        return window.detected({batch: self._plan.needs(window.run_id, batch) for batch in batches})

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

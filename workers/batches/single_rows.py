"""A batch made row by row, so that a row that cannot be made, or that ends its process, takes no neighbour along."""

import logging
import time
from collections.abc import Callable
from typing import Any

from posemill.contract.records import BatchRecord, Run
from posemill.errors import PermanentError, TransientError, in_words
from posemill.queue.ledger import History, Ledger
from posemill.settings import Settings
from workers.batches.attempts import gave_up, is_device_lost, is_of_no_row, is_out_of_delays
from workers.batches.batch_work import BatchWork, Results
from workers.batches.row_process import RowProcess, RowProcessEnded

log = logging.getLogger(__name__)

TRANSIENT_TRIES = 3  # of a row alone, once its batch has had all its delays
FIRST_PAUSE_SECONDS = 1.0  # after a process ended; doubles, so that a burst of kills does not meet one row only
LONGEST_PAUSE_SECONDS = 30.0
LOOK_SECONDS = 0.25


class SingleRows:
    """One batch's rows, each made alone."""

    def __init__(
        self,
        work: BatchWork[Any],
        run: Run,
        batch: int,
        history: History,
        settings: Settings,
        *,
        watch: Callable[[], None],
    ) -> None:
        """`watch` is called again and again, and raises what is to end the attempt."""
        self._work = work
        self._run = run
        self._batch = batch
        self._history = history
        self._settings = settings
        self._watch = watch
        self._rows = len(work.failed(run, batch, PermanentError("")))

    def make_here(self, kept: BatchRecord | None, compute: Callable[[list[Any]], list[Any]]) -> Results:
        """In this process: what went wrong before was an error."""

        def make(row: int) -> Results:
            loaded = self._work.load(self._run, self._batch, kept, row)
            return self._work.save(self._run, compute(loaded))

        return self._each(make)

    def make_isolated(self, process: RowProcess, ledger: Ledger) -> Results:
        """In a process that makes nothing else: what went wrong before was a process's death."""
        process.start(self._watch)
        try:
            return self._each(lambda row: self._survived(row, process, ledger))
        finally:
            process.stop()

    def _each(self, make: Callable[[int], Results]) -> Results:
        results: list[Any] = []
        for row in range(self._rows):
            results += self._made_or_failed(row, make)
        return results

    def _made_or_failed(self, row: int, make: Callable[[int], Results]) -> Results:
        """The row's own result; an error that says nothing about the row is raised."""
        tries = TRANSIENT_TRIES if is_out_of_delays(self._history, self._settings) else 1
        for number in range(1, tries + 1):
            self._watch()
            try:
                return make(row)
            except TransientError as error:
                if tries == 1:
                    raise
                if number == tries:
                    words = f"given up after {self._history.delays} delays; the last one: {in_words(error)}"
                    return self._failed(row, PermanentError(words))
                self._pause(number)
            except Exception as error:
                if is_of_no_row(error) or is_device_lost(error):
                    raise
                log.warning("Row %d failed alone: %s", row, in_words(error), exc_info=True)
                return self._failed(
                    row, error if isinstance(error, PermanentError) else PermanentError(in_words(error))
                )
        raise AssertionError("unreachable")

    def _survived(self, row: int, process: RowProcess, ledger: Ledger) -> Results:
        """The row's result, made by a process that outlived it; a failed one after so many that did not."""
        ends = self._history.rows.get(str(row), [])
        while len(ends) < self._settings.max_row_deaths:
            process.start(self._watch)
            try:
                return process.make(self._run, self._batch, row, self._watch)
            except RowProcessEnded as error:
                words = str(error)
            except Exception as error:
                if not is_device_lost(error):
                    raise
                words = in_words(error)
                process.stop()  # it can compute nothing any more
            log.warning("Row %d ended the process that made it alone: %s", row, words)
            ends = ledger.note_row_death(self._run.id, self._work.stage, self._batch, row, words)
            if len(ends) < self._settings.max_row_deaths:
                self._pause(len(ends))
        return self._failed(row, PermanentError(gave_up(ends)))

    def _failed(self, row: int, error: PermanentError) -> Results:
        return self._work.failed(self._run, self._batch, error)[row : row + 1]

    def _pause(self, times: int) -> None:
        seconds = min(FIRST_PAUSE_SECONDS * 2 ** (times - 1), LONGEST_PAUSE_SECONDS)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._watch()
            time.sleep(LOOK_SECONDS)

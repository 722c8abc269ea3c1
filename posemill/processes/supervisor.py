"""Keeps child processes alive: starts them, restarts what dies, ends them together."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from posemill.processes.child import Child, Failing, KeptChild, RestartPolicy

__all__ = ["Child", "Failing", "RestartPolicy", "Supervisor"]

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.1
HURRY_SECONDS = 5.0  # that children have after a second signal


def log_failing(failing: Failing) -> None:
    """Note a process that ended with an error."""
    logger.error("%s", failing, extra={"child": failing.name})


class Supervisor:
    """Starts each child as a process group of its own and restarts it, after a growing delay, when it dies.

    Output goes to `<log_folder>/<name>.log`, or where the parent's goes when there is no folder.
    `on_failing` is called once for each row of quick deaths, `on_end` with process id and exit status for each
    child that ended by itself; both from the monitor thread, which they must not hold up.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        log_folder: Path | None = None,
        restart: RestartPolicy | None = None,
        on_failing: Callable[[Failing], None] = log_failing,
        on_end: Callable[[int, int], object] = lambda pid, status: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        restart = restart or RestartPolicy()
        self._kept = {child.name: KeptChild(child, log_folder, restart, clock, on_end) for child in children}
        if len(self._kept) != len(children):
            raise ValueError(f"children need names of their own: {[child.name for child in children]}")
        self._log_folder = log_folder
        self._on_failing = on_failing
        self._lock = threading.Lock()
        self._stopping = False
        self._hurry = False
        self._kill_at_once = False
        self._ended = threading.Event()
        # Every child is started from this thread and it outlives them all: Linux sends the signal of
        # die_with_parent when the starting *thread* ends, not when the process does.
        self._monitor = threading.Thread(target=self._look_after_children, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start every child, each for the first time."""
        if self._log_folder:
            self._log_folder.mkdir(parents=True, exist_ok=True)
        self._monitor.start()

    def stop(self, timeout_seconds: float | None = 10.0, *, signal_number: int = signal.SIGTERM) -> None:
        """Asks every child to end, waits (None: for ever), then kills the groups of those that have not."""
        with self._lock:
            self._stopping = True
        self._ask_to_end(signal_number)
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while not self._kill_at_once and not self._all_ended():
            if self._hurry:
                self._hurry = False
                deadline = time.monotonic() + HURRY_SECONDS
                self._ask_to_end(signal_number)
            if deadline is not None and time.monotonic() >= deadline:
                break
            time.sleep(0.02)
        with self._lock:
            for kept in self._kept.values():
                kept.kill()
        self._ended.set()
        if self._monitor.is_alive():
            self._monitor.join()

    def run_forever(self, *, stop_timeout_seconds: float | None = None) -> int:
        """Starts the children and returns when SIGTERM or SIGINT has ended them; main thread only.

        Gives 0, or the status of a child that is not worth starting again. The first signal is handed on to the
        children, which may finish what they are doing; so is the second, after which they are killed soon; a third
        kills them at once.
        """
        received: list[int] = []

        def receive(number: int, frame: FrameType | None) -> None:
            self._hurry = len(received) == 1
            self._kill_at_once = len(received) > 1
            received.append(number)

        with ExitStack() as stack:
            for number in (signal.SIGTERM, signal.SIGINT):
                stack.callback(signal.signal, number, signal.signal(number, receive))
            self.start()
            while not received and self.final_status is None:
                time.sleep(LOOK_EVERY_SECONDS)
            self.stop(stop_timeout_seconds, signal_number=received[0] if received else signal.SIGTERM)
            return self.final_status or 0

    @property
    def final_status(self) -> int | None:
        """Of a child that is not worth starting again; None while there is none."""
        with self._lock:
            return next((kept.final_status for kept in self._kept.values() if kept.final_status is not None), None)

    def pid(self, name: str) -> int | None:
        """None while the child is dead and waits for its next start."""
        with self._lock:
            return self._kept[name].pid

    @property
    def failing(self) -> tuple[Failing, ...]:
        """Those that keep dying; a child leaves this list once it has lived long enough."""
        with self._lock:
            return tuple(kept.failing for kept in self._kept.values() if kept.failing)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _ask_to_end(self, signal_number: int) -> None:
        with self._lock:
            for kept in self._kept.values():
                kept.ask_to_end(signal_number)

    def _look_after_children(self) -> None:
        while not self._ended.is_set():
            for kept in self._kept.values():
                with self._lock:
                    failing = None if self._stopping else kept.look_after()
                if failing:
                    self._on_failing(failing)
            self._ended.wait(LOOK_EVERY_SECONDS)

    def _all_ended(self) -> bool:
        with self._lock:
            return all(kept.has_ended() for kept in self._kept.values())

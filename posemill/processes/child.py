"""One child process: how it is started, watched, restarted and ended.

Only processes started here are ever signalled, each through its own process group and never after its
process id was given back to the system.
"""

import logging
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from posemill.processes import die_with_parent

logger = logging.getLogger(__name__)

LAST_LINES = 12
NOT_STARTED = 127  # the exit status a shell gives to a command it cannot start


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process that a supervisor keeps alive."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)  # may hold secrets
    inherit_env: bool = True  # False: the child sees `env` and nothing else
    final_statuses: tuple[int, ...] = ()  # exit statuses after which starting it again cannot help


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """How long a supervisor waits before it starts a process again."""

    first_delay_seconds: float = 0.2
    longest_delay_seconds: float = 10.0
    steady_after_seconds: float = 30.0  # a death before this age is a quick one
    failing_after: int = 5  # quick deaths in a row

    def delay_seconds(self, quick_deaths: int) -> float:
        """How long to wait before the next start: doubled with each quick death in a row."""
        doublings = min(max(quick_deaths - 1, 0), 30)
        return min(self.first_delay_seconds * 2.0**doublings, self.longest_delay_seconds)


@dataclass(frozen=True, kw_only=True)
class Failing:
    """A child that keeps dying soon after it starts; it is still being restarted."""

    name: str
    exit_status: int  # negative: the signal that ended it
    quick_deaths: int
    log_path: Path | None
    last_lines: tuple[str, ...]  # of its log; empty when it has none

    def __str__(self) -> str:
        where = f"its log {self.log_path} ends:\n  " if self.log_path else "its output is above"
        return (
            f"{self.name} died {self.quick_deaths} times in a row, last with status {self.exit_status}; "
            f"{where}" + "\n  ".join(self.last_lines)
        )


class KeptChild:
    """One child and what became of it so far; guarded by the supervisor's lock."""

    def __init__(
        self,
        child: Child,
        log_folder: Path | None,
        restart: RestartPolicy,
        clock: Callable[[], float],
        on_end: Callable[[int, int], object],
    ) -> None:
        self.failing: Failing | None = None
        self.final_status: int | None = None
        self._on_end = on_end
        self._child = child
        self._log_path = log_folder / f"{child.name}.log" if log_folder else None
        self._restart = restart
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = clock()
        self._quick_deaths = 0

    @property
    def pid(self) -> int | None:
        """Of the process that was started last; None before the first."""
        return self._process.pid if self._process else None

    def look_after(self) -> Failing | None:
        """One round: starts the child, or plans its next start when it has died."""
        if self.final_status is not None:
            return None
        if self._process is None:
            return self._start() if self._clock() >= self._start_at else None
        if not self.has_ended():
            if self._clock() - self._started_at >= self._restart.steady_after_seconds:
                self._quick_deaths, self.failing = 0, None
            return None
        pid, status = self._process.pid, self.kill()  # what is left of its group must not meet its successor
        self._on_end(pid, status)
        if status in self._child.final_statuses:
            self.final_status = status
            return None
        return self._postpone(status)

    def has_ended(self) -> bool:
        """Whether the process that ran last has ended, and none was started since."""
        return self._process is None or _has_exited(self._process)

    def ask_to_end(self, signal_number: int) -> None:
        """The child alone is asked: its own children are its own to end."""
        if self._process is not None and not _has_exited(self._process):
            os.kill(self._process.pid, signal_number)

    def kill(self) -> int:
        """Ends the whole group and returns the child's exit status."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM when only a zombie is left
            os.killpg(process.pid, signal.SIGKILL)
        return process.wait()

    def _start(self) -> Failing | None:
        self._started_at = self._clock()
        try:
            self._process = self._spawn()
        except OSError as error:  # no process to be had, or no log to be written
            logger.error("%s cannot be started: %s", self._child.name, error)
            return self._postpone(NOT_STARTED)
        return None

    def _spawn(self) -> subprocess.Popen[bytes]:
        child = self._child
        with ExitStack() as stack:
            log = stack.enter_context(self._log_path.open("ab")) if self._log_path else None
            return subprocess.Popen(
                (sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid()), *child.command),
                env={**os.environ, **child.env} if child.inherit_env else dict(child.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if log else None,
                process_group=0,
            )

    def _postpone(self, status: int) -> Failing | None:
        """Plans the next start and returns what to report when the child has begun to fail."""
        age_seconds = self._clock() - self._started_at
        is_quick = age_seconds < self._restart.steady_after_seconds
        self._quick_deaths = self._quick_deaths + 1 if is_quick else 0
        delay_seconds = self._restart.delay_seconds(self._quick_deaths)
        self._start_at = self._clock() + delay_seconds
        logger.warning(
            "%s ended with status %d after %.1f s; starting it again in %.1f s",
            *(self._child.name, status, age_seconds, delay_seconds),
            extra={"child": self._child.name},
        )
        return self._note_failing(status)

    def _note_failing(self, status: int) -> Failing | None:
        if self._quick_deaths < self._restart.failing_after:
            return None
        is_new = self.failing is None
        self.failing = Failing(
            name=self._child.name,
            exit_status=status,
            quick_deaths=self._quick_deaths,
            log_path=self._log_path,
            last_lines=last_lines(self._log_path) if self._log_path else (),
        )
        return self.failing if is_new else None


def last_lines(path: Path, count: int = LAST_LINES) -> tuple[str, ...]:
    """The end of a text file that may be missing, large or cut off in the middle of a character."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(path.stat().st_size - count * 400, 0))
        return tuple(deque(file.read().decode(errors="replace").splitlines(), maxlen=count))
    return ()


def _has_exited(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process is dead, leaving it a zombie where possible, so that its id stays its own."""
    if process.returncode is not None:
        return True
    if not hasattr(os, "waitid"):  # macOS before Python 3.13
        return process.poll() is not None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # something else in this program has waited for it
        return process.poll() is not None

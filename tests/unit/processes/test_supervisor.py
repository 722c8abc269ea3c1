"""The supervisor keeps its children alive and ends them, and nothing else; all with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from posemill.processes.supervisor import Child, Failing, RestartPolicy, Supervisor

HASTY = RestartPolicy(first_delay_seconds=0.01, longest_delay_seconds=0.05)
SLEEP = ("sleep", "60")


class Clock:
    """Time that passes only when a test says so."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def start() -> Iterator[Callable[..., Supervisor]]:
    started: list[Supervisor] = []

    def start_supervisor(*children: Child, **options: object) -> Supervisor:
        supervisor = Supervisor(children, **{"restart": HASTY, **options})  # type: ignore[arg-type]
        started.append(supervisor)
        supervisor.start()
        return supervisor

    yield start_supervisor
    for supervisor in started:
        supervisor.stop(0)


def wait_until(holds: Callable[[], object], *, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that is dead but not yet waited for does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return state.stdout.strip() != "" and not state.stdout.startswith("Z")


def pid_of(supervisor: Supervisor, name: str, *, other_than: int | None = None) -> int:
    wait_until(lambda: supervisor.pid(name) not in (None, other_than))
    pid = supervisor.pid(name)
    assert pid is not None
    return pid


def python(code: str, *, name: str = "child") -> Child:
    return Child(name=name, command=(sys.executable, "-c", code))


def shell(script: str, *, name: str = "child", **options: object) -> Child:
    return Child(name=name, command=("sh", "-c", script), **options)  # type: ignore[arg-type]


def test_a_killed_child_comes_back(start: Callable[..., Supervisor]) -> None:
    supervisor = start(Child(name="child", command=SLEEP))
    first = pid_of(supervisor, "child")
    os.kill(first, signal.SIGKILL)
    assert is_alive(pid_of(supervisor, "child", other_than=first))


def test_what_a_dead_child_left_running_ends_before_the_child_comes_back(
    start: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = start(shell(f"sleep 60 & echo $! >> {tmp_path}/pids; wait"))
    wait_until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("\n"))
    grandchild = int((tmp_path / "pids").read_text())
    first = pid_of(supervisor, "child")
    os.kill(first, signal.SIGKILL)
    pid_of(supervisor, "child", other_than=first)
    wait_until(lambda: not is_alive(grandchild))


def test_stop_ends_everything_it_started_and_nothing_else(start: Callable[..., Supervisor]) -> None:
    with subprocess.Popen(SLEEP) as stranger:
        supervisor = start(Child(name="a", command=SLEEP), Child(name="b", command=SLEEP))
        pids = [pid_of(supervisor, name) for name in ("a", "b")]
        supervisor.stop()
        assert not any(is_alive(pid) for pid in pids)
        assert is_alive(stranger.pid)
        stranger.kill()


def test_stop_lets_a_child_finish_in_its_own_way(start: Callable[..., Supervisor], tmp_path: Path) -> None:
    supervisor = start(shell("trap 'echo farewell; exit' TERM; echo up; sleep 60 & wait"), log_folder=tmp_path)
    wait_until(lambda: "up" in read(tmp_path / "child.log"))
    supervisor.stop()
    assert read(tmp_path / "child.log") == "up\nfarewell\n"


def test_stop_kills_a_child_that_does_not_listen(start: Callable[..., Supervisor], tmp_path: Path) -> None:
    supervisor = start(shell("trap '' TERM; echo up; sleep 60"), log_folder=tmp_path)
    wait_until(lambda: "up" in read(tmp_path / "child.log"))
    pid = pid_of(supervisor, "child")
    supervisor.stop(0.1)
    assert not is_alive(pid)


def test_a_child_that_keeps_dying_is_reported_once_with_the_end_of_its_log(
    start: Callable[..., Supervisor], tmp_path: Path
) -> None:
    reports: list[Failing] = []
    start(shell("echo no luck; exit 3"), log_folder=tmp_path, on_failing=reports.append)
    wait_until(lambda: read(tmp_path / "child.log").count("no luck") > 7)
    [failing] = reports
    assert (failing.name, failing.exit_status, failing.quick_deaths) == ("child", 3, 5)
    assert "no luck" in str(failing)
    assert str(tmp_path / "child.log") in str(failing)


def test_a_command_that_does_not_exist_is_reported_by_name(start: Callable[..., Supervisor], tmp_path: Path) -> None:
    supervisor = start(Child(name="child", command=("no-such-command",)), log_folder=tmp_path)
    wait_until(lambda: supervisor.failing)
    assert "cannot run no-such-command" in str(supervisor.failing[0])


def test_a_child_that_lives_long_enough_no_longer_counts_as_failing(
    start: Callable[..., Supervisor], tmp_path: Path
) -> None:
    clock = Clock()
    policy = RestartPolicy(first_delay_seconds=0, failing_after=1)
    once = shell(f"test -e {tmp_path}/tried && exec sleep 60; touch {tmp_path}/tried")
    supervisor = start(once, restart=policy, clock=clock)
    wait_until(lambda: supervisor.failing)
    pid_of(supervisor, "child")
    clock.seconds += policy.steady_after_seconds
    wait_until(lambda: not supervisor.failing)


@pytest.mark.parametrize(
    ("quick_deaths", "delay_seconds"),
    [
        pytest.param(0, 0.2, id="after a long life"),
        pytest.param(1, 0.2, id="first"),
        pytest.param(2, 0.4, id="doubles"),
        pytest.param(6, 6.4, id="still doubles"),
        pytest.param(7, 10.0, id="longest"),
        pytest.param(10**6, 10.0, id="never overflows"),
    ],
)
def test_the_delay_doubles_up_to_its_longest(quick_deaths: int, delay_seconds: float) -> None:
    assert RestartPolicy().delay_seconds(quick_deaths) == pytest.approx(delay_seconds)


def test_a_child_sees_the_environment_it_is_given(
    start: Callable[..., Supervisor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTER", "outer")
    script = 'echo "$OUTER $INNER"; exec /bin/sleep 60'
    start(
        shell(script, name="heir", env={"INNER": "inner"}),
        shell(script, name="orphan", env={"INNER": "inner"}, inherit_env=False),
        log_folder=tmp_path,
    )
    wait_until(lambda: read(tmp_path / "heir.log") == "outer inner\n")
    wait_until(lambda: read(tmp_path / "orphan.log") == " inner\n")


def test_two_children_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="names of their own"):
        Supervisor([Child(name="twin", command=SLEEP), Child(name="twin", command=SLEEP)])


FOREGROUND = """
import sys
from posemill.processes.supervisor import Child, Supervisor
script = sys.argv[1]
Supervisor([Child(name="child", command=("sh", "-c", script))]).run_forever()
print("all ended", flush=True)
"""


@pytest.fixture
def run_forever() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """A supervisor in a program of its own, whose child prints its process id first."""
    programs: list[subprocess.Popen[str]] = []

    def run(script: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", FOREGROUND, script]
        programs.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return programs[-1]

    yield run
    for program in programs:
        program.kill()
        program.wait()
        if program.stdout:
            program.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_run_forever_hands_the_signal_on_and_waits(
    run_forever: Callable[[str], subprocess.Popen[str]], number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    program = run_forever(f"trap 'echo child got {name}; exit' {name}; echo $$; while :; do sleep 0.05; done")
    assert next_line(program).isdigit()
    program.send_signal(number)
    assert program.communicate(timeout=10)[0] == f"child got {name}\nall ended\n"
    assert program.returncode == 0


def test_a_second_signal_kills_at_once(run_forever: Callable[[str], subprocess.Popen[str]]) -> None:
    program = run_forever("trap 'echo busy' TERM; echo $$; while :; do sleep 0.05; done")
    child = int(next_line(program))
    program.terminate()
    assert next_line(program) == "busy"
    program.terminate()
    assert program.communicate(timeout=10)[0].endswith("all ended\n")
    assert not is_alive(child)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_children_end_with_a_supervisor_that_is_killed(
    run_forever: Callable[[str], subprocess.Popen[str]],
) -> None:
    program = run_forever("trap '' TERM; echo $$; exec sleep 60")
    child = int(next_line(program))
    program.kill()
    wait_until(lambda: not is_alive(child))


def next_line(program: subprocess.Popen[str]) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""

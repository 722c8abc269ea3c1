"""The process for single rows, started for real: however a row ends it, its watcher learns how."""

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from posemill.contract.identity import control_digest
from posemill.contract.keys import Stage
from posemill.contract.records import BatchRecord, Outcome, Run, SourceResult, decode, encode
from posemill.errors import LeaseLost, PermanentError, PosemillError, TransientError
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from posemill.storage.store import Store
from tests.conftest import wait_until
from tests.planned import make_run
from workers.batches.plan_reader import Slices
from workers.batches.row_process import RowProcess, RowProcessEnded

FINE, KILLED, CRASHED, LEFT, HANGING, WRONG, BAD = range(7)  # rows


class Rows:
    """Each row does what its number says."""

    stage = Stage.DETECT
    resident: list[str] = []  # noqa: RUF012

    def load(self, run: Run, batch: int, kept: BatchRecord | None, row: int | None = None) -> list[int]:
        return [row or 0]

    def compute(self, run: Run, loaded: list[int]) -> list[int]:
        match loaded[0]:
            case 1:
                os.kill(os.getpid(), signal.SIGKILL)
            case 2:
                ctypes.string_at(0)
            case 3:
                os._exit(3)
            case 4:
                time.sleep(3600)
            case 5:
                raise RuntimeError("it cannot be made")
            case 6:
                raise OddError("odd", 1)
        return loaded

    def save(self, run: Run, computed: list[int]) -> list[SourceResult]:
        return [SourceResult(source_number=row, name=str(os.getpid()), outcome=Outcome.DONE) for row in computed]

    def failed(self, run: Run, batch: int, error: PosemillError) -> list[SourceResult]:
        return []

    def made_with(self, run: Run) -> dict[str, Any]:
        return {"by": "a test", "control": control_digest("a source", run.detects[0])}

    def pinned(self, run, batch):
        return run

    def fetch(self, run, loaded, watch) -> None:
        pass

    def unload(self) -> None:
        return


class OddError(PermanentError):
    """pickle cannot bring it back: it wants two arguments."""

    def __init__(self, word: str, number: int) -> None:
        super().__init__(f"{word} {number}")


def make_rows(stage: Stage, store: Store, slices: Slices, settings: Settings, ledger: Ledger) -> Rows:
    return Rows()


def die_at_once(stage: Stage, store: Store, slices: Slices, settings: Settings, ledger: Ledger) -> Rows:
    os._exit(9)


def refuse(stage: Stage, store: Store, slices: Slices, settings: Settings, ledger: Ledger) -> Rows:
    raise TransientError("the weights are on their way")


def patient() -> None:
    """Nothing ends the attempt."""


@pytest.fixture
def process(settings: Settings) -> Iterator[RowProcess]:
    started = RowProcess(make_rows, Stage.DETECT, settings.model_copy(update={"stuck_seconds": 1.0}))
    yield started
    started.stop()


def make(process: RowProcess, row: int) -> Any:
    process.start(patient)
    return process.make(make_run("r"), 0, row, patient)


def test_rows_are_made_one_after_the_other_in_one_process(process: RowProcess) -> None:
    first, second = (make(process, FINE)[0] for _ in range(2))
    assert first.outcome is Outcome.DONE
    assert first.name == second.name != str(os.getpid())


def test_a_row_made_alone_has_the_identity_that_it_has_in_company(process: RowProcess) -> None:
    run = make_run("r")
    process.start(patient)
    for wanted in (run, decode(encode(run), Run)):
        process.make(wanted, 0, FINE, patient)
        assert process.made_with["control"] == control_digest("a source", run.detects[0])


@pytest.mark.parametrize(
    ("row", "words"),
    [(KILLED, "signal 9 (SIGKILL)"), (CRASHED, "signal 11 (SIGSEGV)"), (LEFT, "exit status 3"),
     (HANGING, "no answer in 1 s")],
    ids=["killed", "crashed", "left", "hanging"],
)  # fmt: skip
def test_a_row_that_ends_its_process_is_told_with_how_and_the_next_row_has_a_new_one(
    process: RowProcess, row: int, words: str
) -> None:
    with pytest.raises(RowProcessEnded) as ended:
        make(process, row)
    assert str(ended.value) == words
    assert make(process, FINE)[0].outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("row", "kind", "words"),
    [(WRONG, RuntimeError, "it cannot be made"), (BAD, PermanentError, "odd 1")],
    ids=["plain", "not-portable"],
)
def test_an_error_of_a_row_comes_back_as_one_of_its_kind_and_ends_nothing(
    process: RowProcess, row: int, kind: type[Exception], words: str
) -> None:
    before = make(process, FINE)[0].name
    with pytest.raises(kind, match=words):
        make(process, row)
    assert make(process, FINE)[0].name == before


def test_what_the_watcher_raises_ends_the_process(process: RowProcess) -> None:
    pid = int(make(process, FINE)[0].name)

    def lose() -> None:
        raise LeaseLost("it is gone")

    with pytest.raises(LeaseLost):
        process.make(make_run("r"), 0, HANGING, lose)
    wait_until(lambda: not is_alive(pid), seconds=5)


@pytest.mark.parametrize(("start", "words"), [(die_at_once, "exit status 9"), (refuse, "on their way")])
def test_a_process_that_cannot_be_started_is_no_row_s_fault(settings: Settings, start: Any, words: str) -> None:
    with pytest.raises(TransientError, match=words):
        RowProcess(start, Stage.DETECT, settings).start(patient)


def watch(settings: Settings, connection: Any) -> None:
    """A watcher that is about to be killed; tells its row process's id."""
    process = RowProcess(make_rows, Stage.DETECT, settings)
    connection.send(int(make(process, FINE)[0].name))
    process.make(make_run("r"), 0, HANGING, patient)


def test_the_process_dies_with_its_watcher(settings: Settings) -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    watcher = multiprocessing.get_context("spawn").Process(target=watch, args=(settings, theirs))
    watcher.start()
    pid = ours.recv()
    assert is_alive(pid)
    watcher.kill()
    watcher.join()
    wait_until(lambda: not is_alive(pid), seconds=5)


def is_alive(pid: int) -> bool:
    """A zombie is not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

"""Exit codes that can be scripted, command by command: the real command line, real services, stand-in models."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from posemill.contract.keys import RunKeys
from posemill.contract.records import RunState
from posemill.exit_codes import ExitCode
from posemill.queue.ledger import Ledger
from posemill.queue.run_states import pause_for_fault
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.cli import main as cli
from producer.runs.checking import check
from producer.submitting.submission import submit
from tests.chaos.runs import chaos_workers, images, recipe, write_sources
from tests.chaos.worker import ERROR
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Runs a command line; gives exit status, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["posemill", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run


@pytest.fixture
def wanted(tmp_path: Path) -> Path:
    """A recipe of two items."""
    return write_recipe(tmp_path, ["one"])


@pytest.fixture
def workers(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(ROOT)
    with chaos_workers(tmp_path / "logs"):
        yield


def write_recipe(folder: Path, prompts: list[str], **changes: Any) -> Path:
    values = recipe(write_sources(folder / "in", 2), prompts=prompts, seeds=1) | changes
    (folder / "recipe.yaml").write_text(json.dumps(values))
    return folder / "recipe.yaml"


@contextmanager
def another_shell(*words: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "producer", *words]
    shell = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=_as_in_a_terminal,  # noqa: PLW1509  # it sets a signal's handler and nothing else
    )  # fmt: skip
    try:
        yield shell
    finally:
        shell.kill()
        shell.communicate()


def _as_in_a_terminal() -> None:
    """Ctrl-C reaches it, also where the tests run in the background of a script, which ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def first_line(shell: "subprocess.Popen[str]") -> str:
    """Of its progress: it waits from then on."""
    assert shell.stderr
    return shell.stderr.readline()


def test_a_run_whose_items_are_all_done_ends_with_0_in_every_command(
    call: Call, wanted: Path, workers: None, tmp_path: Path
) -> None:
    assert call("submit", str(wanted), "--run-id", "r", "--wait", "--timeout", "100")[0] == ExitCode.DONE
    for words in (
        ["status", "r", "--watch"],
        ["check", "r"],
        ["export", "r", str(tmp_path / "out")],
        ["failures", "r"],
        ["retry", "r", "--wait"],
        ["resume", "r", "--wait"],
        ["submit", str(wanted), "--run-id", "r"],
    ):
        assert call(*words)[0] == ExitCode.DONE, words


def test_a_deleted_run_that_is_submitted_again_has_its_images_made_again(
    call: Call, wanted: Path, workers: None, store: Store
) -> None:
    words = ("submit", str(wanted), "--run-id", "r", "--wait", "--timeout", "100")
    assert call(*words)[0] == ExitCode.DONE
    before = images(store, "r")
    for info in list(store.list(RunKeys("r").root)):
        store.delete(info.key)
    assert call(*words)[0] == ExitCode.DONE
    assert (len(before), images(store, "r")) == (2, before)
    assert check(store, "r", deep=True).complete


def test_failed_items_end_every_waiting_command_and_an_export_with_1(
    call: Call, workers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = write_recipe(tmp_path, ["one", ERROR])
    assert call("submit", str(failing), "--run-id", "r", "--wait", "--timeout", "100")[0] == ExitCode.FAILED
    assert call("status", "r", "--watch")[0] == ExitCode.FAILED
    assert call("export", "r", str(tmp_path / "out"))[0] == ExitCode.FAILED
    assert call("export", "r", str(tmp_path / "out"), "--partial")[0] == ExitCode.DONE


def test_a_recipe_whose_every_row_is_refused_is_1(call: Call, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"source": "missing.png"}\n{broken\n')
    refused = str(write_recipe(tmp_path, ["one"], sources=str(tmp_path / "rows.jsonl")))
    for words in (["--dry-run"], ["--run-id", "r"], ["--run-id", "r", "--wait"]):
        assert call("submit", refused, *words)[0] == ExitCode.FAILED, words


@pytest.mark.parametrize("more", [[], ["--dry-run"], ["--wait"]], ids=" ".join)
def test_an_empty_folder_is_7_unless_it_may_be_empty(call: Call, tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "empty").mkdir()
    empty = str(write_recipe(tmp_path, ["one"], sources=str(tmp_path / "empty")))
    status, output, _ = call("submit", empty, "--json", *more)
    assert (status, json.loads(output)["error"]["code"]) == (ExitCode.NOTHING_TO_DO, "nothing_to_do")
    assert call("submit", empty, "--allow-empty", *more)[0] == ExitCode.DONE


def test_a_run_that_does_not_end_in_time_is_6_and_goes_on(call: Call, wanted: Path, tmp_path: Path) -> None:
    status, output, _ = call("submit", str(wanted), "--run-id", "r", "--wait", "--timeout", "0.1", "--json")
    assert (status, json.loads(output)["error"]["code"]) == (ExitCode.NOT_OVER, "not_over")
    for words in (
        ["status", "r", "--watch"],
        ["resume", "r", "--wait"],
        ["export", "r", str(tmp_path / "a"), "--watch"],
    ):
        assert call(*words, "--timeout", "0")[0] == ExitCode.NOT_OVER, words
    assert call("export", "r", str(tmp_path / "b"))[0] == ExitCode.NOT_OVER
    assert call("export", "r", str(tmp_path / "b"), "--partial")[0] == ExitCode.DONE
    assert json.loads(call("status", "r", "--json")[1])["state"] == RunState.RUNNING


def test_a_cancelled_run_is_4_for_whoever_waits_for_it_submits_or_exports_it(
    call: Call, wanted: Path, tmp_path: Path
) -> None:
    with another_shell("submit", str(wanted), "--run-id", "r", "--wait") as waiting:
        first_line(waiting)
        assert call("cancel", "r")[0] == ExitCode.DONE
        assert waiting.wait(timeout=60) == ExitCode.CANCELLED
    for words in (
        ["status", "r", "--watch"],
        ["submit", str(wanted), "--run-id", "r"],
        ["export", "r", str(tmp_path / "a")],
        ["export", "r", str(tmp_path / "a"), "--watch"],
    ):
        assert call(*words)[0] == ExitCode.CANCELLED, words


def test_a_fault_that_pauses_a_run_is_5_and_named(
    call: Call, wanted: Path, settings: Settings, store: Store, ledger: Ledger, tmp_path: Path
) -> None:
    submit(wanted, run_id="r", settings=settings)
    pause_for_fault(store, ledger, "r", "the model is missing")
    for words in (["status", "r", "--watch"], ["submit", str(wanted), "--run-id", "r", "--wait"],
                  ["export", "r", str(tmp_path / "a"), "--watch"]):  # fmt: skip
        status, _, errors = call(*words)
        assert status == ExitCode.PAUSED, words
        assert "the model is missing" in errors
    assert call("submit", str(wanted), "--run-id", "r")[0] == ExitCode.PAUSED


def test_watching_says_when_a_run_is_paused_and_ctrl_c_says_that_it_goes_on(wanted: Path, settings: Settings) -> None:
    handle = submit(wanted, run_id="r", settings=settings)
    with another_shell("status", "r", "--watch") as watching:
        assert "paused" not in first_line(watching)
        handle.pause()
        assert "paused" in first_line(watching)
        watching.send_signal(signal.SIGINT)
        _, errors = watching.communicate(timeout=60)
    assert watching.returncode == ExitCode.INTERRUPTED
    assert "run r goes on" in errors
    assert "posemill cancel r" in errors
    wait_until(lambda: handle.status().snapshot.state is RunState.PAUSED)

"""The scripts in examples/, run as a reader runs them, against real services and workers."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from posemill import check, open_run
from posemill.contract.records import RunState
from posemill.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_script(folder: Path, *words: str) -> str:
    """What a script says, run in a folder that is not the checkout."""
    command = [sys.executable, str(EXAMPLES / words[0]), *words[1:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_submit_and_wait_makes_a_whole_data_set(fleet: Settings, tmp_path: Path) -> None:
    said = run_script(tmp_path, "submit_and_wait.py")
    assert "2 photographs, 16 images wanted" in said
    assert "proof: complete" in said
    rows = pq.read_table(tmp_path / "dataset" / "train").num_rows
    assert f"{rows} samples in" in said
    assert rows > 0


def test_an_orchestrator_s_task_that_is_repeated_finds_its_run_and_adds_nothing(
    fleet: Settings, tmp_path: Path
) -> None:
    first = run_script(tmp_path, "orchestrator_task.py", "2026-11-26")
    shards = {path: path.stat().st_mtime_ns for path in (tmp_path / "daily/2026-11-26").rglob("*.tar")}
    assert shards
    assert run_script(tmp_path, "orchestrator_task.py", "2026-11-26") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "daily/2026-11-26").rglob("*.tar")} == shards
    run = open_run("daily-2026-11-26", settings=fleet)
    assert run.status().snapshot.state is RunState.COMPLETE
    assert check(run.id, deep=True, settings=fleet).complete


def test_every_script_in_the_examples_is_run_by_a_test_here() -> None:
    mentioned = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in mentioned] == []

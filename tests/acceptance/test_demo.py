"""The newcomer's command, run as a newcomer runs it."""

import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

POSEMILL = (sys.executable, "-m", "posemill")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str], set[int]]:
    """The demo's folder, what it printed, and the processes that were there before."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    before = set(psutil.pids())
    command = [*POSEMILL, "demo", "--out", str(folder)]
    done = subprocess.run(command, cwd=folder.parent, capture_output=True, text=True, timeout=170, check=False)
    return folder, done, before


def test_the_demo_ends_well_and_says_where_to_look(
    demo: tuple[Path, subprocess.CompletedProcess[str], set[int]],
) -> None:
    _, done, _ = demo
    assert done.returncode == 0, done.stderr
    assert "complete" in done.stdout
    assert "contact_sheet" in done.stdout


def test_the_demo_leaves_a_data_set_and_a_contact_sheet(
    demo: tuple[Path, subprocess.CompletedProcess[str], set[int]],
) -> None:
    folder, _, _ = demo
    lines = pq.read_table(folder / "train/metadata.parquet").to_pylist()
    assert {line["source"] for line in lines} == {"astronaut.png", "cameraman.png"}
    assert len(list((folder / "train/images").glob("*/*.png"))) == len(lines)
    assert len(list((folder / "train/poses").glob("*/*.json"))) == 2
    page = (folder / "contact_sheet.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image") >= len(lines)


def test_the_demo_stops_everything_it_started(demo: tuple[Path, subprocess.CompletedProcess[str], set[int]]) -> None:
    names = ("valkey-server", "weed", "workers")
    left = [
        process for pid in set(psutil.pids()) - demo[2] if (process := _described(pid)) and "posemill-demo" in process
    ]
    assert not [process for process in left if any(name in process for name in names)]


def _described(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        return " ".join([*process.cmdline(), *process.environ().values()])
    except psutil.Error:
        return ""

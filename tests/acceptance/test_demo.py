"""The newcomer's command, run as a newcomer runs it."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

POSEMILL = (sys.executable, "-m", "posemill")


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the command left behind, and what ran while it was at work."""

    folder: Path
    status: int
    printed: str
    processes: list[tuple[psutil.Process, str]]  # each with its command line


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo") / "out"
    command = [*POSEMILL, "demo", "--out", str(folder)]
    running = subprocess.Popen(command, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert running.stdout
    printed, processes = "", list[tuple[psutil.Process, str]]()
    for line in running.stdout:
        printed += line
        if line.startswith("Submitted"):
            children = psutil.Process(running.pid).children(recursive=True)
            processes = [(child, " ".join(child.cmdline())) for child in children if child.is_running()]
    status = running.wait(timeout=60)
    return Demo(folder=folder, status=status, printed=printed, processes=processes)


def test_the_demo_ends_well_and_says_where_to_look(demo: Demo) -> None:
    assert demo.status == 0, demo.printed
    assert "complete" in demo.printed
    assert "contact_sheet" in demo.printed


def test_the_demo_leaves_a_data_set_and_a_contact_sheet(demo: Demo) -> None:
    lines = pq.read_table(demo.folder / "train/metadata.parquet").to_pylist()
    assert {line["source"] for line in lines} == {"astronaut.png", "cameraman.png"}
    assert len(list((demo.folder / "train/images").glob("*/*.png"))) == len(lines)
    assert len(list((demo.folder / "train/poses").glob("*/*.json"))) == 2
    page = (demo.folder / "contact_sheet.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert page.count("data:image") >= len(lines)


def test_the_demo_closes_the_loop(demo: Demo) -> None:
    lines = pq.read_table(demo.folder / "train/metadata.parquet").to_pylist()
    assert len(lines) >= 14, "of sixteen items"
    assert max(line["tries"] for line in lines) > 1, "an image that did not pass, and another that did"
    assert min(line["oks"] for line in lines) > 0.5
    assert 'alt="did not pass: ' in (demo.folder / "contact_sheet.html").read_text()


def test_the_demo_stops_everything_it_started(demo: Demo) -> None:
    commands = [command for _, command in demo.processes]
    for name in ("valkey-server", "weed", "workers detect", "workers generate"):
        assert any(name in command for command in commands), f"{name} must have run: {commands}"
    assert [command for process, command in demo.processes if process.is_running()] == []

"""`start_time`: how long `posemill --help` takes as a whole process, against an empty Python."""

import statistics
import subprocess
import sys
from collections.abc import Iterable

from benchmarks.figure import Figure, alternate, median_ratio

ROUNDS = 15
HELP = "import sys; sys.argv = ['posemill', '--help']; from producer.cli.main import posemill; posemill()"


def measure() -> Iterable[Figure]:
    """Alternate both; the first of each fills the file cache and is not counted."""
    ours, peer = alternate(lambda: _run(HELP), lambda: _run("pass"), ROUNDS + 1)
    yield Figure(
        name="start_time", value=round(median_ratio(ours[1:], peer[1:]), 2), unit="ratio", goal="<= 10",
        peer="python -c pass",
        detail={"seconds": round(statistics.median(ours[1:]), 3), "peer_seconds": round(statistics.median(peer[1:]), 3),
                "rounds": ROUNDS},
    )  # fmt: skip


def _run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

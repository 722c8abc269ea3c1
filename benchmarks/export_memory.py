"""`export_memory`: peak memory of exporting 100,000 small samples, against 10,000."""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.figure import Figure
from producer.exports.exporting import Exporter
from producer.exports.samples.options import Form, Options
from producer.exports.writing.destinations import FolderDestination
from tests.synthetic_run import RUN_ID, SyntheticStore

FEW, MANY = 10_000, 100_000  # samples


def measure() -> Iterable[Figure]:
    """Each in a process of its own, which makes the run up as it is read: 64 different images of 64 pixels."""
    few, many = _peak_mib(FEW), _peak_mib(MANY)
    yield Figure(
        name="export_memory", value=round(many / few, 3), unit="ratio", goal="<= 1.1",
        peer=f"the same export of {FEW:,} samples",
        detail={"samples": MANY, "mib": round(many, 1), "peer_mib": round(few, 1), "format": "webdataset"},
    )  # fmt: skip


def _peak_mib(samples: int) -> float:
    command = [sys.executable, "-m", "benchmarks.export_memory", str(samples)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _export(samples: int) -> None:
    """Export and print this process's peak memory in MiB."""
    items = samples * 10 // 9  # nine in ten are done
    with tempfile.TemporaryDirectory(prefix="posemill-bench-") as folder:
        options = Options(form=Form.WEBDATASET)
        exporter = Exporter(SyntheticStore(items), RUN_ID, FolderDestination(Path(folder)), options)
        manifest = exporter.export()
        exporter.commit(manifest)
        assert sum(manifest.samples.values()) == samples
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    _export(int(sys.argv[1]))

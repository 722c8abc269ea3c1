"""`python -m benchmarks.submitting MANIFEST RUN_ID`: one submission, and what it cost this process, as JSON."""

import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.timed_fleet import REVISION
from posemill.settings import Settings
from producer.submitting.submission import submit

WHO = ("a dancer", "a chef", "a child on a swing", "two boxers", "a violinist", "an old man with a stick", "a welder")
WHERE = ("in a sunlit hall", "on a wet street at night", "in a kitchen", "on a beach", "in a snowy forest")
HOW = ("film photograph", "oil painting", "pencil sketch, highly detailed", "wide angle, golden hour")


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """What one submission cost."""

    items: int
    seconds: float  # of `submit`, from the recipe to the first messages
    peak_mib: float  # the most memory that the process had at once


def write_manifest(path: Path, rows: int) -> Path:
    """A .jsonl in which each row names a photograph in a bucket and has a prompt of its own."""
    with path.open("w", encoding="ascii") as lines:
        for row in range(rows):
            source = f"s3://photographs/people/{row // 1000:06d}/{row:010d}.jpg"
            prompt = f"{WHO[row % 7]} {WHERE[row % 5]}, {HOW[row % 4]}, number {row}"
            lines.write(json.dumps({"source": source, "prompt": prompt}) + "\n")
    return path


def recipe_of(sources: Path, **more: Any) -> dict[str, Any]:
    """A recipe over a manifest; its models are none, so nothing is asked of a hub."""
    return {
        "name": "bench",
        "sources": str(sources),
        "detect": {"detector": "openpose-thin"},
        "generate": {"base": "nobody/none", "controlnet": "nobody/none", **REVISION},
        **more,
    }


def submitted_apart(manifest: Path, run_id: str) -> Submitted:
    """Submit in a process of its own, with this one's environment."""
    command = [sys.executable, "-m", "benchmarks.submitting", str(manifest), run_id]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Submitted(**json.loads(done.stdout.splitlines()[-1]))


def peak_mib() -> float:
    """The most memory that this process had at once (Linux: getrusage would count its parent's before exec)."""
    found = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found, "the system does not say how much memory a process had"
    return int(found[1]) / 1024


if __name__ == "__main__":
    started = time.perf_counter()
    handle = submit(recipe_of(Path(sys.argv[1])), run_id=sys.argv[2], settings=Settings())
    seconds = time.perf_counter() - started
    print(json.dumps({"items": handle.plan.items, "seconds": seconds, "peak_mib": peak_mib()}))

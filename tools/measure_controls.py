"""`python -m tools.measure_controls`: seconds and memory of every detector on this machine, for docs/controls.md.

Weights are drawn from a seed (tests/drawn_weights.py), which cost what real ones cost. Each detector has a process of
its own, with one thread, as detect workers run. dwpose is not among them: its real networks are not drawn.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
PHOTOGRAPH = Path(__file__).parents[1] / "examples" / "photos" / "astronaut.png"
NO_WEIGHTS = ("openpose-thin", "keypoints", "canny", "as-is")
DETECTORS = (
    "openpose",
    "openpose-thin",
    "keypoints",
    "canny",
    "depth",
    "normal",
    "hed",
    "scribble",
    "mlsd",
    "seg",
    "as-is",
)


def main() -> int:
    if len(sys.argv) == 3:
        print(json.dumps(_measure(sys.argv[1], Path(sys.argv[2]))))
        return 0
    print("| detector | seconds a photograph | seconds to load | memory, MiB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in DETECTORS:
            done = subprocess.run(
                [sys.executable, "-m", "tools.measure_controls", name, folder],
                capture_output=True, text=True, check=True, env=os.environ | {"HF_HOME": folder},
            )  # fmt: skip
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"| `{name}` | {found['seconds']:.2f} | {found['loading']:.1f} | {found['mebibytes']} |", flush=True)
    return 0


def _measure(name: str, folder: Path) -> dict[str, float]:
    """One detector's median of a few photographs of 512 pixels, and the most memory that the process had."""
    import torch

    from posemill.contract.specs import DetectSpec
    from workers.detecting.detectors import load_detector
    from workers.images.content import Content

    torch.set_num_threads(1)
    weights = _weights(name, folder)
    begun = time.monotonic()
    detector = load_detector(DetectSpec(detector=name, weights=weights))
    loading = time.monotonic() - begun
    content = _pose() if name == "keypoints" else PHOTOGRAPH.read_bytes()
    detector.detect([Content(content)])
    seconds = []
    for _ in range(ROUNDS):
        begun = time.monotonic()
        detector.detect([Content(content)])
        seconds.append(time.monotonic() - begun)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {"seconds": statistics.median(seconds), "loading": loading, "mebibytes": most}


def _pose() -> bytes:
    """A person of 18 keypoints, as OpenPose JSON."""
    points = [value for n in range(18) for value in (150 + 40 * (n % 4), 60 + 20 * n, 1)]
    people = [{"pose_keypoints_2d": points}]
    return json.dumps({"canvas_width": 512, "canvas_height": 512, "people": people}).encode()


def _weights(name: str, folder: Path) -> str | None:
    """A folder with the detector's weights; they are drawn in another process, whose memory does not count here."""
    if name in NO_WEIGHTS:
        return None
    place = folder / {"normal": "depth", "scribble": "hed"}.get(name, name)
    if not place.exists():
        place.mkdir()
        call = {
            "openpose": "write_openpose(p)",
            "depth": "write_midas(p)",
            "hed": "write_hed(p)",
            "mlsd": "write_mlsd(p)",
            "seg": "write_upernet(p, depths=(3, 3, 27, 3), hidden_sizes=(96, 192, 384, 768), hidden=512)",
        }[place.name]
        code = f"from pathlib import Path; from tests.drawn_weights import *; p = Path({str(place)!r}); {call}"
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return str(place)


if __name__ == "__main__":
    sys.exit(main())

"""`loop_gain`: what judging brings, by a measure that took no part in it: the drawn world's own."""

import io
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figure import Figure
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, ItemResult, JudgedResult, Outcome, decode
from posemill.pictures.poses import to_openpose_json
from posemill.storage.store import Store
from producer.local.local_fleet import local_fleet
from producer.submitting.submission import submit
from tools.embedded.data import SQUARE
from tools.embedded.evaluate import Pair, held_out_pairs
from tools.embedded.measure import limbs_on_figure
from tools.figures.evaluating import as_pose

POSES, TRIES = 200, 3
MIN_OKS = 0.7
RIGHT = 0.95  # of the points along the limbs lie on the figure


def measure() -> Iterable[Figure]:
    """A whole run of the embedded model over poses that no training saw, one image each, judged by `figures`."""
    pairs = held_out_pairs(POSES, seed=1)
    with tempfile.TemporaryDirectory(prefix="posemill-bench-") as name:
        folder = Path(name)
        manifest = write_poses(folder / "poses", pairs)
        recipe = {
            "name": "bench", "sources": str(manifest), "detect": {"detector": "keypoints"},
            "generate": {"model": "embedded"},
            "verify": {"tries": TRIES, "checks": [{"check": "pose", "detector": "figures", "min_oks": MIN_OKS}]},
        }  # fmt: skip
        with local_fleet(folder / "fleet", workers={Stage.DETECT: 1, Stage.GENERATE: 1}) as settings:
            handle = submit(recipe, run_id="bench", settings=settings)
            handle.wait(timeout_seconds=1800)
            scores = list(scored(handle.store, "bench", pairs))
    first = [score >= RIGHT for judged, score in scores if judged.try_number == 1]
    by_try = {n: [j for j, _ in scores if j.try_number <= n and j.outcome is Outcome.DONE] for n in (1, TRIES)}
    kept = [score >= RIGHT for judged, score in scores if judged.outcome is Outcome.DONE]
    yield Figure(
        name="loop_gain", value=round(float(np.mean(kept) / np.mean(first)), 3), unit="ratio", goal=">= 1",
        peer="the same images without a judge: one try each",
        detail={"right_without_judging": round(float(np.mean(first)), 3),
                "right_of_those_kept": round(float(np.mean(kept)), 3),
                "accepted_after_one_try": len(by_try[1]) / POSES, "accepted_after_three": len(by_try[TRIES]) / POSES,
                "images_made": len(scores), "poses": POSES, "min_oks": MIN_OKS,
                "right": f"{RIGHT:.0%} of the points along the limbs lie on the figure"},
    )  # fmt: skip


def write_poses(folder: Path, pairs: list[Pair]) -> Path:
    """A pose file for each pair, and the manifest that names it with its prompt."""
    folder.mkdir(parents=True)
    rows = []
    for number, pair in enumerate(pairs):
        name = f"{number:04d}.json"
        (folder / name).write_text(json.dumps(to_openpose_json(as_pose(pair.people, SQUARE))))
        rows.append(json.dumps({"source": name, "prompt": pair.prompt}))
    manifest = folder / "rows.jsonl"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def scored(store: Store, run_id: str, pairs: list[Pair]) -> Iterable[tuple[JudgedResult, float]]:
    """Every image with its verdict and the drawn world's measure of it."""
    keys = RunKeys(run_id)
    for info in store.list(keys.records(Stage.VERIFY)):
        judged = decode(store.get(info.key), BatchRecord)
        made = decode(store.get(keys.record(Stage.GENERATE, judged.batch)), BatchRecord)
        for verdict, item in zip(judged.judged, made.items, strict=True):
            if item.image is not None:
                yield verdict, _measure(store, item, pairs[int(Path(item.source_name).stem)])


def _measure(store: Store, item: ItemResult, pair: Pair) -> float:
    assert item.image is not None
    picture = np.asarray(Image.open(io.BytesIO(store.get(item.image.key))).convert("RGB"))
    return limbs_on_figure(picture, pair.people, pair.request)

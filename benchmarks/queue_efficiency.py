"""`queue_efficiency`: a whole run's images a second against the same pipeline and batches in a bare loop."""

import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.figure import Figure, alternate, median_ratio
from benchmarks.photographs import composed, square
from posemill.contract.keys import Stage
from posemill.settings import Settings
from producer.local.local_fleet import local_fleet
from producer.runs.handle import RunHandle
from producer.submitting.submission import submit
from workers.batches.plan_reader import Slices
from workers.generating.generate_work import GenerateWork
from workers.generating.pipelines import load_pipeline
from workers.models.placement import choose_placement

ROUNDS, SOURCES, SEEDS, BATCH = 3, 4, 16, 8
PROMPTS = ["a red figure on a blue background", "a dancer in green, standing in the desert", "a chef in white at night"]
IMAGES = SOURCES * SEEDS * len(PROMPTS)


def measure() -> Iterable[Figure]:
    """Each round is a run of new photographs, so detecting them, planning and storing are in its time."""
    with (
        tempfile.TemporaryDirectory(prefix="posemill-bench-") as name,
        local_fleet(Path(name) / "fleet", workers=dict.fromkeys(Stage, 1)) as settings,
    ):
        photographs = iter([square(picture) for picture in composed(SOURCES * (ROUNDS + 1), seed=7)])
        rounds = iter(range(ROUNDS + 1))

        def run() -> RunHandle:
            handle = submit(_recipe(Path(name) / f"round-{next(rounds)}", photographs), settings=settings)
            handle.wait(timeout_seconds=600)
            return handle

        bare = _bare_loop(run(), settings)  # the first run warms the fleet up and gives the loop its batches
        seconds, bare_seconds = alternate(run, bare, ROUNDS)
    yield Figure(
        name="queue_efficiency", value=round(median_ratio(bare_seconds, seconds), 3), unit="ratio", goal=">= 0.90",
        peer="the same pipeline, batches and threads in a loop; nothing detected, nothing stored",
        detail={"images_a_second": round(IMAGES / statistics.median(seconds), 2),
                "bare_images_a_second": round(IMAGES / statistics.median(bare_seconds), 2),
                "images": IMAGES, "batch": BATCH, "seconds": _rounded(seconds),
                "bare_seconds": _rounded(bare_seconds)},
    )  # fmt: skip


def _recipe(folder: Path, photographs: Iterable[Image.Image]) -> dict[str, Any]:
    folder.mkdir()
    for number, picture in zip(range(SOURCES), photographs, strict=False):
        picture.save(folder / f"{number}.png")
    return {"name": "bench", "sources": str(folder), "prompts": PROMPTS, "seeds": SEEDS,
            "generate": {"model": "embedded", "batch_size": BATCH}}  # fmt: skip


def _bare_loop(handle: RunHandle, settings: Settings) -> Any:
    """A loop over the pipeline calls of a finished run."""
    run, store = handle.run, handle.store
    pipeline = load_pipeline(run.generate, choose_placement(settings))
    work = GenerateWork(store, Slices(store), settings, load_pipeline=lambda spec: pipeline)
    batches = [work.load(run, number, None) for number in range(handle.plan.batches[Stage.GENERATE])]

    def loop() -> None:
        for batch in batches:
            work.compute(run, batch)

    return loop


def _rounded(rounds: list[float]) -> list[float]:
    return [round(seconds, 1) for seconds in rounds]

"""`python -m benchmarks.device STAGE`: a worker process whose device takes a set time and no processor.

BENCH_BATCH_SECONDS: of device time a batch. BENCH_SIDE: of its pictures, in pixels. BENCH_LOG: a folder where each
process notes when its device began and ended each batch, in seconds of the system's monotonic clock, and its processor
time by then.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from posemill.catalogue.checks import Option
from posemill.contract.identity import digest
from posemill.contract.keys import Stage
from posemill.contract.specs import DetectSpec, GenerateSpec
from posemill.errors import BadInput
from posemill.logs import set_up_logging
from posemill.pictures.poses import Person, Pose
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from posemill.storage.store import Store
from workers.batches.batch_work import BatchWork
from workers.batches.plan_reader import Slices
from workers.detecting.detect_work import DetectWork
from workers.detecting.detectors import Detection, each_alone
from workers.generating.generate_work import GenerateWork
from workers.generating.pipeline_calls import Call, Pictures
from workers.images.content import Content
from workers.judging.check import ItemFacts, Judgement, Models
from workers.judging.judge_work import JudgeWork
from workers.worker_process import consume

BATCH_SECONDS = float(os.environ.get("BENCH_BATCH_SECONDS", "1.0"))
SIDE = int(os.environ.get("BENCH_SIDE", "512"))
REJECTED = 0.3  # of the images that are judged
LOG = Path(os.environ.get("BENCH_LOG", "."))


class QuickDetector:
    """Finds one person in anything."""

    def detect(self, sources: Sequence[Content]) -> list[Detection | BadInput]:
        return each_alone(self._detect, sources)

    def _detect(self, source: Content) -> Detection:
        pose = Pose(width=SIDE, height=SIDE, people=(Person(body=((0.5, 0.5, 0.9), *(None for _ in range(17)))),))
        return Detection(pose=pose, control_image=Image.new("RGB", (SIDE, SIDE), "navy"), source_size=(SIDE, SIDE))


def photograph_like(side: int) -> NDArray[np.float32]:
    """A picture, 0 to 1, that compresses as photographs do."""
    rng = np.random.default_rng(0)
    shapes = cv2.resize(rng.random((16, 16, 3), np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 0.012, (side, side, 3)).astype(np.float32)
    return np.asarray(np.clip(shapes + grain, 0, 1), np.float32)


class TimedPipeline:
    """Waits as a device does, without the interpreter's lock; its pictures compress as photographs do."""

    made_with: dict[str, object] = {"device": "none", "dtype": "float32", "revisions": {}}  # noqa: RUF012

    def __init__(self) -> None:
        self._picture = photograph_like(SIDE)
        self._log = (LOG / f"{os.getpid()}.txt").open("a", encoding="ascii", buffering=1)

    def __call__(self, call: Call, spec: GenerateSpec) -> Pictures:
        begun = time.monotonic()
        time.sleep(BATCH_SECONDS)
        self._log.write(f"{begun} {time.monotonic()} {time.process_time()}\n")
        count = len(call.prompts)
        pixels = np.broadcast_to(self._picture, (count, *self._picture.shape))
        return Pictures(pixels=pixels, unsafe=[False] * count, truncated=[False] * count)


class SeededJudge:
    """Rejects three images of ten, by what they are of; looking costs nothing."""

    @classmethod
    def load(cls, options: Mapping[str, Option], models: Models) -> Self:
        return cls()

    def __init__(self) -> None:
        self._seen = 0

    def judge(self, picture: Image.Image, facts: ItemFacts) -> Judgement:
        self._seen += 1
        passed = int(digest([self._seen])[:4], 16) / 0xFFFF >= REJECTED
        return Judgement(passed=passed, reason=None if passed else "not_sharp", figures={"seen": self._seen})


def make_work(stage: Stage, store: Store, slices: Slices, settings: Settings, ledger: Ledger) -> BatchWork[Any]:
    if stage is Stage.VERIFY:
        return JudgeWork(store, slices, load_check=lambda *_: SeededJudge.load({}, Models()))
    if stage is Stage.DETECT:
        return DetectWork(store, slices, settings, load_detector=_load_detector)
    return GenerateWork(store, slices, settings, load_pipeline=_load_pipeline)


def _load_detector(spec: DetectSpec) -> QuickDetector:
    return QuickDetector()


def _load_pipeline(spec: GenerateSpec) -> TimedPipeline:
    return TimedPipeline()


if __name__ == "__main__":
    set_up_logging()
    consume(Stage(sys.argv[1]), queue=None, settings=Settings(), make_work=make_work)

"""`python -m tests.chaos.worker STAGE`: a real worker process whose detector and pipeline cost nothing.

Pixels follow from prompt, seed and control image alone. A prompt may ask for trouble: see TROUBLE. A source whose bytes
end with NOBODY shows no person. The environment may ask for trouble as well: see tests/chaos/tampering.py.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from PIL import Image, ImageDraw

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
from tests.chaos.tampering import tamper
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

log = logging.getLogger("workers.device")  # of those whose INFO is shown

SIDE = 32  # pixels
SECONDS = float(os.environ.get("CHAOS_SECONDS", "0.02"))  # of device time for each row
KILL, HANG, ERROR, BLACK, NAN = "kill the worker", "hang", "raise an error", "black", "not a number"
TROUBLE = (KILL, HANG, ERROR, BLACK, NAN)  # prompts
NOBODY = b"nobody"
REJECTED = 0.3  # of the images that are judged


class FixedDetector:
    """Finds one person at a place that the source's bytes choose."""

    def detect(self, sources: Sequence[Content]) -> list[Detection | BadInput]:
        return each_alone(self._detect, sources)

    def _detect(self, source: Content) -> Detection:
        log.info("On the device")
        time.sleep(SECONDS)
        place = int(digest(source.content.hex())[:4], 16) / 0xFFFF
        people = () if source.content.endswith(NOBODY) else (Person(body=((place, place, 0.9), *[None] * 17)),)
        control = Image.new("RGB", (SIDE, SIDE))
        ImageDraw.Draw(control).point((int(place * (SIDE - 1)), int(place * (SIDE - 1))), "white")
        pose = Pose(width=SIDE, height=SIDE, people=people)
        return Detection(pose=pose, control_image=control, source_size=(SIDE, SIDE))


class FixedPipeline:
    """Noise that the prompt and the seed choose, on the control image."""

    made_with: dict[str, object] = {"device": "none", "dtype": "float32", "revisions": {}}  # noqa: RUF012

    def __call__(self, call: Call, spec: GenerateSpec) -> Pictures:
        time.sleep(SECONDS * len(call.prompts))
        images = [_paint(*row) for row in zip(call.prompts, call.seeds, call.controls[0], strict=True)]
        return Pictures(pixels=np.stack(images), unsafe=[False] * len(images), truncated=[False] * len(images))


def _paint(prompt: str, seed: int, control: Image.Image) -> Any:
    if prompt == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
    if prompt == HANG:
        time.sleep(3600)
    if prompt == ERROR:
        _mark_error()
        raise RuntimeError("this item cannot be made")
    if prompt in (BLACK, NAN):
        return np.full((SIDE, SIDE, 3), np.nan if prompt == NAN else 0.0, np.float32)
    noise = np.random.default_rng(int(digest(prompt, seed), 16)).random((SIDE, SIDE, 3), np.float32)
    return np.clip(noise + np.asarray(control, np.float32) / 255, 0, 1)


def _mark_error() -> None:
    """Tell whoever watches CHAOS_ERRORS of an error that is about to be raised, and give it time to do harm."""
    if folder := os.environ.get("CHAOS_ERRORS"):
        Path(folder, str(time.time_ns())).touch()
        time.sleep(0.2)


def make_work(stage: Stage, store: Store, slices: Slices, settings: Settings, ledger: Ledger) -> BatchWork[Any]:
    if stage is Stage.DETECT:
        return DetectWork(store, slices, settings, load_detector=_load_detector)
    if stage is Stage.VERIFY:
        return JudgeWork(store, slices, load_check=lambda *_: FixedCheck())
    return GenerateWork(store, slices, settings, load_pipeline=_load_pipeline)


class FixedCheck:
    """Passes a picture or not as its pixels choose."""

    @classmethod
    def load(cls, options: Mapping[str, Option], models: Models) -> Self:
        return cls()

    def judge(self, picture: Image.Image, facts: ItemFacts) -> Judgement:
        time.sleep(SECONDS)
        share = int(digest(picture.tobytes().hex())[:4], 16) / 0xFFFF
        passed = share >= REJECTED
        return Judgement(
            passed=passed,
            reason=None if passed else "pose_mismatch",
            figures={"share": share, "oks_mean": share},
            score=share,
            found_keypoints=(Person(body=((share, share, 0.9), *(None,) * 17)),),
        )


def _load_detector(spec: DetectSpec) -> FixedDetector:
    return FixedDetector()


def _load_pipeline(spec: GenerateSpec) -> FixedPipeline:
    return FixedPipeline()


if __name__ == "__main__":
    set_up_logging()
    tamper(os.environ, sys.argv[1])
    consume(Stage(sys.argv[1]), queue=None, settings=Settings(), make_work=make_work)

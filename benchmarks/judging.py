"""`verify_rate`: images a second that one core judges by their poses, against the bare detector."""

import statistics
import threading
from collections.abc import Iterable
from io import BytesIO

import cv2
import msgspec
import torch
from PIL import Image

from benchmarks.figure import Figure, alternate, median_ratio, seconds_of
from benchmarks.photographs import composed, square
from posemill.catalogue.checks import options_of
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import (
    BatchRecord,
    CheckSpec,
    ControlResult,
    Item,
    ItemResult,
    Outcome,
    ShardHeader,
    Slicing,
    Source,
    SourceResult,
    VerifySpec,
    encode,
    encode_shard,
)
from posemill.contract.specs import DetectSpec
from posemill.pictures.poses import to_openpose_json
from tests.memory_store import MemoryStore
from tests.planned import make_run
from workers.batches.plan_reader import Slices
from workers.detecting.annotators.posing import PoseDetector
from workers.detecting.detectors import load_detector
from workers.judging.check import Models, load_check
from workers.judging.checks.looking import look
from workers.judging.judge_work import JudgeWork

IMAGES, ROUNDS = 32, 5
DETECTOR = "movenet"


def measure() -> Iterable[Figure]:
    """The stage's own part, from stored PNG to record, on images of 512 pixels that show what was wanted."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    assert threading.active_count() == 1
    pictures = [square(picture) for picture in composed(IMAGES, seed=11)]
    detector = load_detector(DetectSpec(detector=DETECTOR))
    assert isinstance(detector, PoseDetector)
    spec = DetectSpec(detector=DETECTOR)
    store = _stored(pictures, detector, spec)
    run = msgspec.json.decode(store.get(RunKeys("r").run), type=type(make_run("r")))
    work = JudgeWork(store, Slices(store), load_check=lambda one, _: load_check(one.check, one.options, Models()))

    def judge() -> None:
        results = work.save(run, work.compute(run, work.load(run, 0, None)))
        assert all(result.outcome is Outcome.DONE for result in results)

    poses = detector.finder.detect(pictures, spec)

    def bare() -> None:
        for picture, pose in zip(pictures, poses, strict=True):
            look(detector.finder, picture, spec, pose)

    judge(), bare()
    seconds, bare_seconds = alternate(judge, bare, ROUNDS)
    one_look = seconds_of(lambda: detector.finder.detect(pictures, spec))
    yield Figure(
        name="verify_rate", value=round(median_ratio(bare_seconds, seconds), 3), unit="ratio", goal=">= 0.7",
        peer="the bare detector on the same decoded pictures, looking where the judge looks",
        detail={"images_a_second": round(IMAGES / statistics.median(seconds), 1),
                "bare_images_a_second": round(IMAGES / statistics.median(bare_seconds), 1),
                "one_look_images_a_second": round(IMAGES / one_look, 1), "detector": DETECTOR, "images": IMAGES,
                "rounds": ROUNDS},
    )  # fmt: skip


def _stored(pictures: list[Image.Image], detector: PoseDetector, spec: DetectSpec) -> MemoryStore:
    """A run of one batch, whose images show the poses of their controls."""
    verify = VerifySpec(
        checks=(CheckSpec(check="pose", options=options_of("pose", {"detector": DETECTOR, "people": "any"})),), tries=1
    )
    slicing = {stage: Slicing(batch_size=IMAGES, shard_size=IMAGES) for stage in Stage}
    run = msgspec.structs.replace(make_run("r"), slicing=slicing, verify=verify)
    store, keys = MemoryStore(), RunKeys("r")
    sources, items, made, planned = [], [], [], []
    for number, (picture, pose) in enumerate(zip(pictures, detector.finder.detect(pictures, spec), strict=True)):
        stream = BytesIO()
        picture.save(stream, "PNG")
        image = store.put(keys.image(f"{number:032x}"), stream.getvalue())
        control = ControlResult(kind="openpose", detector=DETECTOR, width=picture.width, height=picture.height)
        found = store.put(f"pose/{number}", msgspec.json.encode(to_openpose_json(pose)))
        sources.append(
            SourceResult(source_number=number, name="", outcome=Outcome.DONE, controls=[control], pose=found)
        )
        planned.append(Source(name="", identity=str(number)))
        items.append(Item(id=f"{number:032x}", prompt="", seed=0, source_number=number))
        made.append(
            ItemResult(id=f"{number:032x}", outcome=Outcome.DONE, image=image, source_number=number,
                       width=picture.width, height=picture.height)
        )  # fmt: skip
    store.put(keys.run, encode(run))
    store.put(keys.shard(Stage.DETECT, 0), encode_shard(ShardHeader(first=0, rows=IMAGES, needs=[[]]), planned))
    store.put(keys.shard(Stage.GENERATE, 0), encode_shard(ShardHeader(first=0, rows=IMAGES, needs=[[0]]), items))
    for stage, results in ((Stage.DETECT, sources), (Stage.GENERATE, made)):
        record = BatchRecord(run_id="r", stage=stage, batch=0, attempt=1, worker="", finished_at="", made_with={},
                             results=results)  # type: ignore[arg-type]  # of one kind each  # fmt: skip
        store.put(keys.record(stage, 0), encode(record))
    return store

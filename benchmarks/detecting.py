"""`detect_speedup`: photographs to control image and pose, against the model card's loop; the worse of two networks."""

import io
import statistics
from collections.abc import Iterable

import torch
from controlnet_aux import OpenposeDetector
from controlnet_aux.open_pose.body import Body
from controlnet_aux.open_pose.model import bodypose_model
from PIL import Image

from benchmarks.figure import Figure, alternate
from benchmarks.photographs import real, square
from posemill.contract.specs import DetectSpec
from workers.detecting.annotators.openpose import ExactThinBody, Openpose, load_openpose_thin
from workers.detecting.annotators.posing import PoseDetector
from workers.detecting.openpose.body_network import BatchedBody, quick_dtype
from workers.images.content import Content

BATCH = 8
ROUNDS = 5


def measure() -> Iterable[Figure]:
    """Alternate both ways over the same eight photographs of 512 pixels, for either network."""
    torch.set_num_threads(1)  # one process a core, as detect workers run
    photographs = [square(picture) for picture in real()]
    pictures = (photographs * BATCH)[:BATCH]
    detail: dict[str, object] = {"pictures": BATCH, "rounds": ROUNDS, "threads": 1}
    ratios = []
    for name, library, ours in (
        ("thin", OpenposeDetector(ExactThinBody()), load_openpose_thin(device="cpu")),
        ("cmu", OpenposeDetector(_cmu_body()), _ours_cmu()),
    ):
        ours_seconds, library_seconds = _compare(name, library, ours, pictures)
        ratios.append(library_seconds / ours_seconds)
        detail[name] = {
            "images_a_second": round(BATCH / ours_seconds, 2),
            "library_images_a_second": round(BATCH / library_seconds, 2),
            "ratio": round(ratios[-1], 2),
            "dtype": str(next(iter(ours.body.model.parameters())).dtype),
        }
    yield Figure(
        name="detect_speedup", value=round(min(ratios), 2), unit="ratio", goal=">= 4",
        peer="openpose(image) of controlnet_aux, one picture a call", detail=detail,
    )  # fmt: skip


def _compare(name: str, library: OpenposeDetector, ours: Openpose, pictures: list[Image.Image]) -> tuple[float, float]:
    """Median seconds of both for all pictures."""
    detector = PoseDetector(ours, DetectSpec(detector=f"openpose-{name}"))
    sources = [_png(picture) for picture in pictures]

    def card() -> None:
        for source in sources:
            library(Image.open(io.BytesIO(source)).convert("RGB"))

    def sources_again() -> None:
        detector.detect([Content(source) for source in sources])

    sources_again()
    seconds, card_seconds = alternate(sources_again, card, ROUNDS)
    return statistics.median(seconds), statistics.median(card_seconds)


def _cmu_body() -> Body:
    """The CMU network with weights from a seed: the same cost, and nobody is found."""
    torch.manual_seed(0)
    body = Body.__new__(Body)  # its own constructor wants a file of weights
    body.model = bodypose_model().eval()
    return body


def _ours_cmu() -> Openpose:
    return Openpose(OpenposeDetector(BatchedBody(_cmu_body().model, dtype=quick_dtype("cpu"))))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()

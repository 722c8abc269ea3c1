"""`card_speedup`: the whole job against the model card's script, one image a call and one detection an image."""

import statistics
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from diffusers import StableDiffusionControlNetPipeline
from PIL import Image

from benchmarks.figure import Figure, alternate, median_ratio
from benchmarks.photographs import composed, square
from posemill.catalogue.models import MODELS, local_path
from posemill.contract.keys import Stage
from producer.local.local_fleet import local_fleet
from producer.submitting.submission import submit
from workers.detecting.annotators.openpose import load_openpose_thin

ROUNDS, SOURCES, SIDE = 2, 4, 128
MODEL = MODELS["embedded"]
CLOTHES, PLACES = ("red", "blue", "green", "white"), ("in the desert", "at night", "in the snow", "on a yellow wall")
PROMPTS = [f"a dancer in {colour}, standing {place}" for colour in CLOTHES for place in PLACES]


def measure() -> Iterable[Figure]:
    """Detect, generate and store 16 prompts on each of 4 photographs; both sides are warm."""
    with (
        tempfile.TemporaryDirectory(prefix="posemill-bench-") as name,
        local_fleet(Path(name) / "fleet", workers=dict.fromkeys(Stage, 1)) as settings,
    ):
        photographs = [square(picture) for picture in composed(SOURCES * (ROUNDS + 1), seed=11)]
        folders = [_write(Path(name) / f"photos-{number}", photographs, number) for number in range(ROUNDS + 1)]
        ours, card = iter(folders), _card_script(Path(name) / "card")

        def run() -> None:
            recipe = {
                "name": "bench",
                "sources": str(next(ours)),
                "prompts": PROMPTS,
                "generate": {"model": "embedded"},
            }
            submit(recipe, settings=settings).wait(timeout_seconds=600)

        run()
        seconds, card_seconds = alternate(run, lambda: card(folders[-1], PROMPTS), ROUNDS)
    images = SOURCES * len(PROMPTS)
    yield Figure(
        name="card_speedup", value=round(median_ratio(card_seconds, seconds), 2), unit="ratio", goal=">= 2",
        peer="the model card's script in a loop: openpose(image), then one pipeline call, for each image",
        detail={"images_a_second": round(images / statistics.median(seconds), 2),
                "card_images_a_second": round(images / statistics.median(card_seconds), 2),
                "images": images, "photographs": SOURCES, "prompts": len(PROMPTS), "rounds": ROUNDS},
    )  # fmt: skip


def _write(folder: Path, photographs: list[Image.Image], number: int) -> Path:
    folder.mkdir()
    for position, picture in enumerate(photographs[number * SOURCES : (number + 1) * SOURCES]):
        picture.save(folder / f"{position}.png")
    return folder


def _card_script(out: Path) -> Callable[[Path, list[str]], None]:
    """The card's steps with the networks that ship here; models are loaded once, as in the card."""
    out.mkdir()
    openpose = load_openpose_thin(device="cpu", exact=True).detector
    pipe = StableDiffusionControlNetPipeline.from_pretrained(
        local_path(MODEL.base), safety_checker=None, torch_dtype=torch.float32
    )
    pipe.set_progress_bar_config(disable=True)

    def script(photographs: Path, prompts: list[str]) -> None:
        for photograph in sorted(photographs.iterdir()):
            for number, prompt in enumerate(prompts):
                control = openpose(Image.open(photograph))
                image = pipe(
                    prompt, control, num_inference_steps=MODEL.num_inference_steps,
                    guidance_scale=MODEL.guidance_scale, width=SIDE, height=SIDE,
                ).images[0]  # fmt: skip
                image.save(out / f"{photograph.stem}-{number}.png")

    return script

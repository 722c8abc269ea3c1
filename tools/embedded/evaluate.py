"""The evaluation: 200 held-out pairs of pose and prompt, generated as users generate, then measured."""

import dataclasses
import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionControlNetPipeline
from numpy.typing import NDArray
from PIL import Image

from tools.embedded.data import HELD_OUT, SQUARE
from tools.embedded.measure import Score, can_score, limbs_on_figure, score
from tools.embedded.pose import Pose
from tools.embedded.words import Request, random_request, write_prompt
from tools.embedded.world import draw_control, draw_sample

PAIRS, BATCH = 200, 8
NUM_INFERENCE_STEPS = 20
GUIDANCE_SCALE = 3.0  # the shipped one
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One pose with one prompt, and the drawing that an ideal generator would come near to."""

    people: list[Pose]
    request: Request
    prompt: str
    control: Image.Image  # as controlnet_aux draws it, 512 pixels
    original: NDArray[np.uint8]


def held_out_pairs(count: int, seed: int = SEED) -> list[Pair]:
    """Return pairs that no training saw and that the measure can judge."""
    pairs: list[Pair] = []
    number = 0
    while len(pairs) < count:
        pair = held_out_pair(seed, number)
        number += 1
        if can_score(pair.people, pair.request, SQUARE.width, SQUARE.height):
            pairs.append(pair)
    return pairs


def held_out_pair(seed: int, number: int) -> Pair:
    """Return the held-out pair of a number."""
    key = (seed, HELD_OUT, SQUARE.width, SQUARE.height, number)
    drawing = draw_sample(SQUARE, key)
    return Pair(
        people=drawing.people,
        request=drawing.request,
        prompt=write_prompt(drawing.request, np.random.default_rng((*key, 1))),
        control=draw_control(drawing.people, SQUARE),
        original=drawing.picture,
    )


def load_pipeline(folder: Path) -> StableDiffusionControlNetPipeline:
    """Load the shipped folder in float32, as a CPU wants it."""
    pipeline = StableDiffusionControlNetPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def generate(
    pipeline: StableDiffusionControlNetPipeline,
    prompts: list[str],
    controls: list[Image.Image],
    seeds: list[int],
    guidance_scale: float = GUIDANCE_SCALE,
) -> list[NDArray[np.uint8]]:
    """Generate one picture for each prompt, control image and seed, in batches."""
    pictures: list[NDArray[np.uint8]] = []
    for start in range(0, len(prompts), BATCH):
        part = slice(start, start + BATCH)
        result = pipeline(
            prompts[part],
            controls[part],
            height=SQUARE.height,
            width=SQUARE.width,
            num_inference_steps=NUM_INFERENCE_STEPS,
            guidance_scale=guidance_scale,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds[part]],
        )
        pictures += [np.asarray(image) for image in result.images]
    return pictures


def generate_pairs(
    pipeline: StableDiffusionControlNetPipeline, pairs: list[Pair], guidance_scale: float = GUIDANCE_SCALE
) -> list[NDArray[np.uint8]]:
    """Generate the picture of each pair; the pair's place in the list is its seed."""
    prompts, controls = [pair.prompt for pair in pairs], [pair.control for pair in pairs]
    return generate(pipeline, prompts, controls, list(range(len(pairs))), guidance_scale)


def summarise(scores: list[Score]) -> dict[str, float]:
    """Return the shares over all pairs, 0..1."""
    both = [each.clothes_right and each.background_right for each in scores]
    means = {
        field.name: float(np.mean([getattr(each, field.name) for each in scores]))
        for field in dataclasses.fields(Score)
    }
    return {"both_colours_right": float(np.mean(both))} | {name: round(mean, 4) for name, mean in means.items()}


def score_all(pictures: list[NDArray[np.uint8]], pairs: list[Pair]) -> list[Score]:
    """Score each picture against its pair."""
    return [score(picture, pair.people, pair.request) for picture, pair in zip(pictures, pairs, strict=True)]


def shuffle(pairs: list[Pair]) -> list[Pair]:
    """Give each pair the pose of the next and the request of the one after that."""
    turned = zip(pairs, pairs[1:] + pairs[:1], pairs[2:] + pairs[:2], strict=True)
    return [dataclasses.replace(a, people=b.people, request=c.request) for a, b, c in turned]


def misplace(pairs: list[Pair]) -> list[Pair]:
    """Give each pair the pose of the next, but leave it its request."""
    return [dataclasses.replace(a, people=b.people) for a, b in zip(pairs, pairs[1:] + pairs[:1], strict=True)]


def validate_measure(pairs: list[Pair]) -> dict[str, dict[str, float]]:
    """Score the drawn originals: as they are, with everything shuffled, and with only the poses shuffled."""
    originals = [pair.original for pair in pairs]
    return {
        "originals": summarise(score_all(originals, pairs)),
        "originals_shuffled": summarise(score_all(originals, shuffle(pairs))),
        "originals_with_poses_shuffled": summarise(score_all(originals, misplace(pairs))),
    }


def share_moved(pipeline: StableDiffusionControlNetPipeline, pairs: list[Pair]) -> float:
    """Return the share of pairs whose figure moves when only the pose changes.

    Same prompt, same seed, the next pair's pose: each of the two pictures must fit its own pose better.
    """
    prompts, seeds = [pair.prompt for pair in pairs], list(range(len(pairs)))
    others = misplace(pairs)
    next_controls = [pair.control for pair in pairs[1:] + pairs[:1]]
    before = generate(pipeline, prompts, [pair.control for pair in pairs], seeds)
    after = generate(pipeline, prompts, next_controls, seeds)
    moved = [
        fits_better(a, pair.people, other.people, pair.request)
        and fits_better(b, other.people, pair.people, pair.request)
        for a, b, pair, other in zip(before, after, pairs, others, strict=True)
    ]
    return float(np.mean(moved))


def fits_better(picture: NDArray[np.uint8], own: list[Pose], other: list[Pose], request: Request) -> bool:
    """Tell whether more of the limbs of one pose than of the other lie on the figure."""
    return limbs_on_figure(picture, own, request) > limbs_on_figure(picture, other, request)


def recolour(pair: Pair, number: int) -> Pair:
    """Return the pair with another prompt: other clothes and another background colour."""
    rng = np.random.default_rng((SEED, HELD_OUT, number))
    request = random_request(rng)
    if request.clothes == pair.request.clothes or not can_score(pair.people, request, 128, 128):
        return recolour(pair, number + 1_000_000)
    return dataclasses.replace(pair, request=request, prompt=write_prompt(request, rng))


def share_recoloured(pipeline: StableDiffusionControlNetPipeline, pairs: list[Pair]) -> float:
    """Return the share of pairs that take on another prompt's colours at the same pose and seed."""
    others = [recolour(pair, number) for number, pair in enumerate(pairs)]
    return summarise(score_all(generate_pairs(pipeline, others), others))["both_colours_right"]


def seconds_an_image(pipeline: StableDiffusionControlNetPipeline, pairs: list[Pair]) -> float:
    """Time one warm batch."""
    generate_pairs(pipeline, pairs[:BATCH])
    started = time.perf_counter()
    generate_pairs(pipeline, pairs[:BATCH])
    return (time.perf_counter() - started) / BATCH


def seconds_a_pose() -> float:
    """Time one warm `openpose(image)` at 512 pixels: the CMU body network, untrained, so it finds nobody.

    A trained network costs the same, and the people that it finds cost a little more.
    """
    from controlnet_aux import OpenposeDetector
    from controlnet_aux.open_pose.body import Body
    from controlnet_aux.open_pose.model import bodypose_model

    body = Body.__new__(Body)  # its own constructor wants a file of weights
    body.model = bodypose_model().eval()
    detector, image = OpenposeDetector(body), Image.new("RGB", (512, 512))
    detector(image)
    started = time.perf_counter()
    detector(image)
    return time.perf_counter() - started


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of all weights, so that scores can be told from those of other weights."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def evaluate(folder: Path, sheet: Path) -> dict[str, Any]:
    """Score the shipped folder and write `evaluation.json` into it; draw a sheet of pictures to look at."""
    pipeline, pairs = load_pipeline(folder), held_out_pairs(PAIRS)
    pictures = generate_pairs(pipeline, pairs)
    results = {
        "weights_sha256": weights_digest(folder),
        "pairs": PAIRS,
        "num_inference_steps": NUM_INFERENCE_STEPS,
        "guidance_scale": GUIDANCE_SCALE,
        "generated": summarise(score_all(pictures, pairs)),
        **validate_measure(pairs),
        "moved_with_pose": share_moved(pipeline, pairs[:40]),
        "recoloured_with_prompt": share_recoloured(pipeline, pairs[:40]),
        "seconds_an_image": round(seconds_an_image(pipeline, pairs), 3),
        "seconds_a_pose": round(seconds_a_pose(), 3),
        "threads": torch.get_num_threads(),
    }
    draw_sheet(pictures[:48], pairs[:48], sheet)
    (folder / "evaluation.json").write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))
    return results


def draw_sheet(pictures: list[NDArray[np.uint8]], pairs: list[Pair], path: Path, columns: int = 12) -> None:
    """Save control images above generated pictures, to judge by eye."""
    cells = [
        np.concatenate([np.asarray(pair.control.resize((128, 128))), picture])
        for picture, pair in zip(pictures, pairs, strict=True)
    ]
    rows = [np.concatenate(cells[i : i + columns], axis=1) for i in range(0, len(cells), columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)

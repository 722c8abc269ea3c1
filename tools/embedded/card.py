"""The model card, written from the files that training and evaluation left in the shipped folder."""

import json
from pathlib import Path
from typing import Any

from tools.embedded.evaluate import BATCH
from tools.embedded.palette import BACKGROUNDS, CLOTHES
from tools.embedded.words import SCENES

CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
tags: [controlnet, openpose, cpu]
---

# embedded: a very small generator that follows the pose and the prompt

A `StableDiffusionControlNetPipeline` of {megabytes:.1f} MB in half precision that draws simple figures: the
control image (as `controlnet_aux` draws OpenPose bodies) says where they stand and how, the prompt says what they
wear and where they are. It exists so that posemill can be tried and tested without a GPU, a network or a download.

```python
pipeline = StableDiffusionControlNetPipeline.from_pretrained(folder, torch_dtype=torch.float32)
image = pipeline(
    "a dancer in green, standing in the desert",
    control_image,
    height=128,
    width=128,
    num_inference_steps={num_inference_steps},
    guidance_scale={guidance_scale},
).images[0]
```

Shipped settings: {num_inference_steps} UniPC steps, guidance scale {guidance_scale}, 128x128 pixels.

- Clothes: {clothes}, each with synonyms ("crimson", "scarlet").
- Backgrounds: the same colours, {extra}, plain, striped, checked, dotted or tiled; and {scenes}.
- People: one to three, whole or cut by the frame, at any scale. A limb without its keypoints is not drawn.

## How it was made

Everything was trained from nothing by `python -m tools.embedded train` on drawings made by the same folder:
{samples} samples of random jointed skeletons, each worded anew every time it was used. No photograph, no
downloaded weight and no person's likeness went in.

| module | parameters |
|---|---|
{parameters}

| training | steps | minutes |
|---|---|---|
| autoencoder | {autoencoder_steps} | {autoencoder_minutes} |
| text encoder, on prompts alone | {reader_steps} | {reader_minutes} |
| UNet and ControlNet, together | {denoiser_steps} | {denoiser_minutes} |

Machine: {machine}, other work running beside it.
Velocity prediction on a cosine schedule, Min-SNR weights, one-cycle rates, averaged weights, one prompt in ten left
out.

## How it scores

`python -m tools.embedded evaluate`: {pairs} held-out pairs of pose and prompt. Pairs whose clothes and background
share a colour, or that show hardly any limb or background, are left out: the measure cannot judge them.

| | generated | drawn originals | originals, shuffled | only poses shuffled | goal |
|---|---|---|---|---|---|
{scores}

| | reached | goal |
|---|---|---|
| same prompt and seed, another pose: the figure moves | {moved:.1%} | |
| same pose and seed, another prompt: both colours become the new prompt's | {recoloured:.1%} | |
| seconds an image (batch of {batch}, float32, {threads} threads) | {seconds_an_image:.2f} | < {seconds_a_pose:.2f} |

The last goal is the time of one `openpose(image)` at 512 px with the CMU body network on the same machine, timed
in the same run with an untrained network that finds nobody; finding people costs it a little more.

The measure (`tools/embedded/measure.py`) compares colours in CIELAB: the median along the clothed limbs and the
median far from every limb must each be nearest to the palette colour that the prompt named; a limb point is on the
figure when its colour is nearer to clothes or skin than to the background; a far point is on the background when
its colour is one of the background's.

## Limits

It knows one world. Words outside it are read and ignored, objects are never drawn, faces are two eyes and a nose,
hands are mittens. Skin and hair are chosen by the seed, not by the prompt. People in one picture are dressed alike.
Sizes far from 128 pixels are out of its reach.
"""

GOALS = {"both_colours_right": 0.95, "limbs_on_figure": 0.90, "far_on_background": 0.95}
LABELS = {
    "both_colours_right": "clothes and background colour both right",
    "clothes_right": "clothes colour right",
    "background_right": "background colour right",
    "limbs_on_figure": "points along the limbs that lie on the figure",
    "far_on_background": "points far from every limb that lie on the background",
}


def score_rows(results: dict[str, Any]) -> str:
    """Return the table of scores, one line a measure."""
    columns = ("generated", "originals", "originals_shuffled", "originals_with_poses_shuffled")
    rows = []
    for name, label in LABELS.items():
        goal = f"{GOALS[name]:.0%}" if name in GOALS else ""
        rows.append(" | ".join([f"| {label}", *(f"{results[column][name]:.1%}" for column in columns), goal]) + " |")
    return "\n".join(rows)


def compose_card(results: dict[str, Any], history: dict[str, Any], size_bytes: int) -> str:
    """Return the card's text; every figure comes from the two records."""
    return CARD.format(
        megabytes=size_bytes / 1e6,
        batch=BATCH,
        scores=score_rows(results),
        clothes=", ".join(CLOTHES),
        extra=" and ".join(name for name in BACKGROUNDS if name not in CLOTHES),
        scenes=", ".join(SCENES),
        samples=sum(history["samples"].values()),
        parameters="\n".join(f"| {name} | {count:,} |" for name, count in history["parameters"].items()),
        autoencoder_steps=history["autoencoder"]["steps"],
        autoencoder_minutes=history["autoencoder"]["minutes"],
        reader_steps=history["text_encoder"]["steps"],
        reader_minutes=history["text_encoder"]["minutes"],
        denoiser_steps=history["denoiser"]["steps"],
        denoiser_minutes=history["denoiser"]["minutes"],
        machine=history["machine"],
        moved=results["moved_with_pose"],
        recoloured=results["recoloured_with_prompt"],
        **{
            name: results[name]
            for name in (
                "pairs",
                "num_inference_steps",
                "guidance_scale",
                "seconds_an_image",
                "seconds_a_pose",
                "threads",
            )
        },
    )


def write_card(folder: Path) -> None:
    """Write the folder's README.md."""
    results = json.loads((folder / "evaluation.json").read_text())
    history = json.loads((folder / "training.json").read_text())
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "README.md")
    (folder / "README.md").write_text(compose_card(results, history, size))

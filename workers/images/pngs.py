"""Writes PNGs: the same pixels and settings always give the same bytes."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from posemill.contract.records import Item
from posemill.contract.specs import GenerateSpec


def encode_png(image: Image.Image, *, compress_level: int, texts: Mapping[str, str] | None = None) -> bytes:
    """An image as PNG, with texts in it."""
    chunks = PngImagePlugin.PngInfo()
    for name, text in (texts or {}).items():
        chunks.add_itxt(name, text) if not text.isascii() else chunks.add_text(name, text)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=compress_level, pnginfo=chunks)
    return buffer.getvalue()


def to_image(pixels: NDArray[np.float32]) -> Image.Image:
    """An 8-bit picture of float pixels in 0..1, [height, width, 3]."""
    return Image.fromarray((pixels * 255).round().clip(0, 255).astype(np.uint8))


def image_texts(item: Item, spec: GenerateSpec, size: tuple[int, int], made_with: Mapping[str, Any]) -> dict[str, str]:
    """The text chunks of an item's PNG: `parameters` as image tools read it, and `posemill` with everything.

    Only what is the same at every attempt: seconds and the worker's name stand in the record alone.
    """
    controlnets = ", ".join(net.controlnet for net in spec.controlnets)
    lines = [item.prompt]
    if item.negative_prompt:
        lines.append(f"Negative prompt: {item.negative_prompt}")
    lines.append(
        f"Steps: {spec.num_inference_steps}, Sampler: {spec.scheduler}, CFG scale: {spec.guidance_scale}, "
        f"Seed: {item.seed}, Size: {size[0]}x{size[1]}, Model: {spec.base}, ControlNet: {controlnets}, "
        f"Version: posemill"
    )
    everything = {"item_id": item.id, "prompt": item.prompt, "negative_prompt": item.negative_prompt,
                  "seed": item.seed, "made_with": made_with}  # fmt: skip
    return {"parameters": "\n".join(lines), "posemill": json.dumps(everything, ensure_ascii=True, sort_keys=True)}

"""A PNG is the same bytes at every attempt and carries its settings where image tools look for them."""

import io
import json

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile

from posemill.contract.records import Item
from posemill.contract.specs import ControlNetSpec, GenerateSpec
from workers.images.pngs import encode_png, image_texts, to_image
from workers.images.webps import encode_webp

SPEC = GenerateSpec(
    model="m",
    base="base/id",
    controlnets=(ControlNetSpec(controlnet="control/id"),),
    num_inference_steps=7,
    guidance_scale=5.5,
)
MADE_WITH = {"device": "cpu", "versions": {"torch": "2"}}


def item(**more) -> Item:
    return Item(**{"id": "i", "prompt": "a chef", "seed": 7, **more})


def noise() -> Image.Image:
    return to_image(np.random.default_rng(0).random((16, 24, 3), dtype=np.float32))


def encoded(one: Item, *, made_with=MADE_WITH) -> bytes:
    return encode_png(noise(), compress_level=4, texts=image_texts(one, SPEC, (24, 16), made_with))


def texts_of(content: bytes) -> dict[str, str]:
    return PngImageFile(io.BytesIO(content)).text


def test_the_same_input_gives_the_same_bytes():
    assert encoded(item()) == encoded(item(), made_with=dict(reversed(MADE_WITH.items())))


def test_the_pixels_survive():
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded(item())))), np.asarray(noise()))


def test_float_pixels_are_rounded_and_clipped():
    pixels = np.array([[[-0.5, 0.0, 0.4 / 255], [0.6 / 255, 1.0, 1.5]]], dtype=np.float32)
    assert np.asarray(to_image(pixels)).tolist() == [[[0, 0, 0], [1, 255, 255]]]


def test_the_settings_are_in_the_chunk_that_image_tools_read():
    lines = texts_of(encoded(item(negative_prompt="blurry")))["parameters"].splitlines()
    assert lines[:2] == ["a chef", "Negative prompt: blurry"]
    assert lines[2] == (
        "Steps: 7, Sampler: unipc, CFG scale: 5.5, Seed: 7, Size: 24x16, Model: base/id, "
        "ControlNet: control/id, Version: posemill"
    )


def test_no_negative_prompt_leaves_no_line():
    assert "Negative" not in texts_of(encoded(item()))["parameters"]


@pytest.mark.parametrize("prompt", ["café", "厨师 👩‍🍳", "two\nlines", "<b>\\\"'", "x" * 20_000])
def test_any_prompt_survives(prompt):
    texts = texts_of(encoded(item(prompt=prompt)))
    assert texts["parameters"].startswith(f"{prompt}\nSteps: ")
    assert json.loads(texts["posemill"])["prompt"] == prompt


def test_everything_is_there_for_programs():
    everything = json.loads(texts_of(encoded(item(negative_prompt="blurry")))["posemill"])
    assert everything == {
        "item_id": "i", "prompt": "a chef", "negative_prompt": "blurry", "seed": 7, "made_with": MADE_WITH,
    }  # fmt: skip


def test_a_lossless_webp_keeps_every_pixel_and_the_texts():
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8))
    texts = {"parameters": "ein Tänzer in grün\nSteps: 20", "posemill": '{"seed": 1}'}
    content = encode_webp(picture, texts=texts)
    assert content == encode_webp(picture, texts=texts)
    read = Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(np.asarray(read), np.asarray(picture))
    comment = read.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment.removeprefix(b"UNICODE\x00").decode("utf-16-be") == texts["parameters"]
    assert read.getexif()[ExifTags.Base.ImageDescription] == texts["posemill"]

"""What must not count as a picture, and how a batch is made smaller until it fits on the device."""

import numpy as np
import pytest
from PIL import Image

from posemill.contract.records import Item, Outcome
from posemill.contract.specs import ControlNetSpec, GenerateSpec
from posemill.errors import OutOfMemory
from posemill.settings import Settings
from tests.planned import make_run
from workers.generating import generate_work as generate
from workers.generating.generate_work import UNUSABLE, GenerateWork, ItemInProgress, picture_of, unusable
from workers.generating.pipeline_calls import Pictures

SPEC = GenerateSpec(model="m", base="b", controlnets=(ControlNetSpec(controlnet="c"),))
GREY = np.full((4, 4, 3), 0.5, dtype=np.float32)


def with_pixel(value: float, *, rest: float = 0.5) -> np.ndarray:
    pixels = np.full((4, 4, 3), rest, dtype=np.float32)
    pixels[1, 2, 0] = value
    return pixels


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        pytest.param(GREY, "", id="grey"),
        pytest.param(np.ones_like(GREY), "", id="white"),
        pytest.param(with_pixel(3 / 255, rest=0.0), "", id="one dim pixel"),
        pytest.param(with_pixel(float("nan")), "nan", id="one value not a number"),
        pytest.param(with_pixel(float("inf")), "nan", id="one value infinite"),
        pytest.param(np.zeros_like(GREY), "black", id="black"),
        pytest.param(with_pixel(2 / 255, rest=0.0), "black", id="nothing brighter than two"),
        pytest.param(np.full_like(GREY, 2.4 / 255), "black", id="two when rounded"),
        pytest.param(np.full_like(GREY, [0, 0, 3 / 255]), "", id="one channel is brighter"),
    ],
)
def test_black_and_broken_pictures_do_not_count_as_done(pixels, reason):
    assert unusable(picture_of(pixels)) == reason


def test_what_the_safety_checker_withheld_is_unsafe_even_if_black():
    assert unusable(picture_of(np.zeros_like(GREY)), unsafe=True) == "unsafe"


class Device:
    """Stands in for the pipeline: holds so many images at once and paints each in its seed's brightness."""

    def __init__(self, holds: int) -> None:
        self.revisions: dict[str, str] = {}
        self.holds = holds
        self.calls: list[int] = []

    def __call__(self, call, spec) -> Pictures:
        self.calls.append(len(call.prompts))
        if len(call.prompts) > self.holds:
            raise OutOfMemory("too many")
        pixels = np.stack([np.full((8, 8, 3), seed / 100, dtype=np.float32) for seed in call.seeds])
        no = [False] * len(call.seeds)
        return Pictures(pixels=pixels, unsafe=no, truncated=no)


def wanted(seed: int, size: tuple[int, int] = (8, 8)) -> ItemInProgress:
    item = Item(id=f"i{seed}", prompt="p", seed=seed)
    return ItemInProgress(item=item, controls=[Image.new("RGB", size)], size=size)


def compute(work: GenerateWork, *batch: ItemInProgress) -> list[int]:
    """The seeds that the pictures were made with, in the batch's order."""
    run = make_run("r")
    generate._give_slots(run, list(batch))  # as loading does
    computed = work.compute(run, list(batch))
    return [round(float(entry.pixels.mean()) * 100) for entry in computed]


@pytest.fixture
def on_device():
    """A stage whose device holds so many images at once."""

    def place(holds: int) -> tuple[GenerateWork, Device]:
        device = Device(holds)
        return GenerateWork(store=None, slices=None, settings=Settings(), load_pipeline=lambda spec: device), device

    return place


def test_a_batch_that_fits_is_one_call(on_device):
    work, device = on_device(8)
    assert compute(work, *map(wanted, range(1, 9))) == list(range(1, 9))
    assert device.calls == [8]


def test_a_batch_that_does_not_fit_is_halved_until_it_does(on_device):
    work, device = on_device(3)
    assert compute(work, *map(wanted, range(1, 11))) == list(range(1, 11))
    assert device.calls == [10, 5, 2, 2, 2, 2, 2]


def test_the_size_that_fits_is_remembered(on_device):
    work, device = on_device(2)
    compute(work, *map(wanted, range(1, 5)))
    device.calls.clear()
    compute(work, *map(wanted, range(1, 5)))
    assert device.calls == [2, 2]


def test_one_image_that_does_not_fit_is_out_of_memory(on_device):
    work, device = on_device(0)
    with pytest.raises(OutOfMemory):
        compute(work, *map(wanted, range(1, 5)))
    assert device.calls == [4, 2, 1]


def test_pictures_of_different_sizes_are_calls_of_their_own(on_device):
    work, device = on_device(8)
    batch = [wanted(1), wanted(2, (16, 8)), wanted(3), wanted(4, (16, 8)), wanted(5)]
    assert compute(work, *batch) == [1, 2, 3, 4, 5]
    assert device.calls == [3, 2]
    assert [entry.batch_size for entry in batch] == [3, 2, 3, 2, 3]


def test_what_is_known_already_is_not_made_again(on_device):
    work, device = on_device(8)
    kept = wanted(1)
    kept.result = generate._without_image(kept.item, Outcome.REJECTED, "no_person", "")
    work.compute(make_run("r"), [kept, wanted(2)])
    assert (device.calls, kept.pixels) == ([1], None)


@pytest.mark.parametrize(
    ("pixels", "unsafe", "outcome", "reason"),
    [
        pytest.param(np.zeros_like(GREY), False, Outcome.FAILED, "black", id="black"),
        pytest.param(with_pixel(float("nan")), False, Outcome.FAILED, "nan", id="nan"),
        pytest.param(GREY, True, Outcome.REJECTED, "unsafe", id="unsafe"),
    ],
)
def test_an_unusable_picture_is_recorded_with_its_reason_and_not_stored(on_device, pixels, unsafe, outcome, reason):
    entry = wanted(1)
    entry.pixels, entry.unsafe = pixels, unsafe
    (result,) = on_device(1)[0].save(make_run("r"), [entry])
    assert (result.outcome, result.reason, result.image) == (outcome, reason, None)
    assert result.message == UNUSABLE[reason]

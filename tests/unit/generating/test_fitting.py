"""What fits on a device is found once, kept by card, model and size, and never in the way."""

import redis

from posemill.contract.specs import ControlNetSpec, GenerateSpec
from workers.generating.fitting import FittingSizes

SPEC = GenerateSpec(model="m", base="b", controlnets=(ControlNetSpec(controlnet="c"),))
SIZE = (512, 512)


class Fleet:
    """Stands in for the ledger."""

    def __init__(self) -> None:
        self.kept: dict[str, int] = {}

    def fitting(self, key: str) -> int | None:
        return self.kept.get(key)

    def note_fitting(self, key: str, images: int) -> None:
        self.kept[key] = images


class Away:
    """A ledger whose Redis is away."""

    def fitting(self, key: str) -> int | None:
        raise redis.ConnectionError("away")

    def note_fitting(self, key: str, images: int) -> None:
        raise redis.ConnectionError("away")


def test_a_worker_knows_what_another_one_with_the_same_card_found():
    fleet = Fleet()
    FittingSizes(fleet, card="T4, 15 GiB").note(SPEC, SIZE, 4)
    assert FittingSizes(fleet, card="T4, 15 GiB").most(SPEC, SIZE) == 4
    assert FittingSizes(fleet, card="A100, 79 GiB").most(SPEC, SIZE) is None


def test_steps_and_guidance_share_a_number_and_sizes_do_not():
    fleet = Fleet()
    FittingSizes(fleet).note(SPEC, SIZE, 4)
    other = GenerateSpec(
        model="m",
        base="b",
        controlnets=(ControlNetSpec(controlnet="c", controlnet_conditioning_scale=0.5),),
        num_inference_steps=50,
    )
    assert FittingSizes(fleet).most(other, SIZE) == 4
    assert FittingSizes(fleet).most(SPEC, (768, 512)) is None


def test_without_redis_a_worker_remembers_for_itself():
    sizes = FittingSizes(Away())
    assert sizes.most(SPEC, SIZE) is None
    sizes.note(SPEC, SIZE, 2)
    assert sizes.most(SPEC, SIZE) == 2

"""How many images fit on a kind of device at once: found out once, and remembered for the whole fleet."""

import logging
from typing import Protocol

import msgspec
import redis

from posemill.contract.identity import digest
from posemill.contract.specs import ControlNetSpec, GenerateSpec

log = logging.getLogger(__name__)

Size = tuple[int, int]
"""Width and height of a picture, pixels."""


class Memory(Protocol):
    """Where the fleet keeps its numbers: the ledger."""

    def fitting(self, key: str) -> int | None:
        """How many images fit at once, as far as is known."""

    def note_fitting(self, key: str, images: int) -> None:
        """Remember how many images fit at once."""


class FittingSizes:
    """One worker's numbers, by model and picture size; losing them costs one call that does not fit."""

    def __init__(self, memory: Memory | None = None, *, card: str = "") -> None:
        self._memory = memory
        self._card = card
        self._known: dict[tuple[GenerateSpec, Size], int | None] = {}

    def most(self, spec: GenerateSpec, size: Size) -> int | None:
        """Images that fit at once; None while no larger call has failed."""
        if (spec, size) not in self._known:
            self._known[spec, size] = self._recall(spec, size)
        return self._known[spec, size]

    def note(self, spec: GenerateSpec, size: Size, images: int) -> None:
        """Remember that more than so many do not fit."""
        self._known[spec, size] = images
        if self._memory is None:
            return
        try:
            self._memory.note_fitting(self._key(spec, size), images)
        except redis.RedisError as error:
            log.info("The fleet is not told what fits: %s", error)

    def _recall(self, spec: GenerateSpec, size: Size) -> int | None:
        if self._memory is None:
            return None
        try:
            return self._memory.fitting(self._key(spec, size))
        except redis.RedisError as error:
            log.info("What fits is not known: %s", error)
            return None

    def _key(self, spec: GenerateSpec, size: Size) -> str:
        """What takes memory: the model on the card and the picture's size; steps, scales and schedulers do not."""
        nets = tuple(ControlNetSpec(controlnet=net.controlnet) for net in spec.controlnets)
        same = msgspec.structs.replace(
            spec, model="", scheduler="", num_inference_steps=0, guidance_scale=0.0, controlnets=nets
        )
        return digest("fitting", self._card, size, same)

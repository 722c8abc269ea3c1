"""`make chaos`: a calm run and a disturbed one must end in the same data set. Prints one JSON line.

Real Redis and S3, real worker processes with a deterministic stand-in for the models, a seeded schedule of faults.
`--real`: the shipped model instead, as `posemill up` starts it, under aimed kills (tests/chaos/real.py).
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

import msgspec

from posemill.errors import RunFault
from posemill.processes.supervisor import Supervisor
from posemill.settings import Settings
from posemill.storage.store import Store, open_store
from producer.local.services import EmbeddedServices
from producer.runs.handle import RunHandle
from producer.submitting.submission import submit
from tests.chaos import beside
from tests.chaos.faults import Harm
from tests.chaos.proxy import FaultProxy
from tests.chaos.real import prove_real
from tests.chaos.runs import chaos_workers, differences, failures, recipe, take_controls_away, write_manifest
from tests.chaos.takeover import takeover_seconds
from tests.chaos.tcp_proxy import TcpProxy

WORKERS = {"detect": 1, "generate": 2}
KILLS = {  # of 50
    "any": {"kill_worker": 20, "kill_busy_worker": 15, "kill_worker_of_one_batch": 15},
    "busy": {"kill_busy_worker": 50},
    "batch": {"kill_worker_of_one_batch": 50},
}
SCHEDULE = {  # beside 50 kills; fewer kills shrink the rest as well
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
    "take_all_away_at_a_storage_error": 8,
    "take_all_away_at_a_row_s_error": 4,
    "cut_workers_off_from_redis": 4,
    "kill_a_retry": 6,
}
SLOW = {"stop_redis": 1}  # only beside all 50 kills
ALL_KILLS = 50
TOO_LATE = "too late"  # faults that met a run which had ended
FAST = {"POSEMILL_LEASE_SECONDS": "3", "POSEMILL_TICK_SECONDS": "0.1", "POSEMILL_DEAF_SECONDS": "15",
        "POSEMILL_STUCK_SECONDS": "60", "POSEMILL_WINDOW": "3", "CHAOS_PAUSE_SECONDS": "0.2"}  # fmt: skip


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """Services, what stands between them and the workers, and the workers."""

    services: EmbeddedServices
    proxy: FaultProxy
    redis_proxy: TcpProxy
    workers: Supervisor
    settings: Settings  # straight to Redis
    errors: Path  # where workers leave a mark before they raise an error


def main() -> int:
    options = _parse()
    if options.kills >= ALL_KILLS:
        os.environ.setdefault("CHAOS_SECONDS", "0.06")  # so that the run lasts as long as its faults
    with tempfile.TemporaryDirectory(prefix="posemill-chaos-") as name:
        if options.real:
            report = prove_real(Path(name), kills=min(options.kills, 15), seed=options.seed)
        else:
            report = prove(Path(name), options)
    print(json.dumps(report))
    return 0 if is_kept(report) else 1


def is_kept(report: dict[str, object]) -> bool:
    """Whether the promise is."""
    zeros = ("lost", "duplicated", "differing", "innocent_failed")
    proofs = ("unreadable_run_is_paused", "retried_run_is_whole")
    return (
        not any(report[name] for name in zeros)
        and all(report.get(name, True) for name in proofs)
        and report.get("takeover_seconds", 0) is not None
    )


def prove(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Run both runs and compare them."""
    begun = time.monotonic()
    with _fleet(folder) as fleet:
        manifest = write_manifest(folder / "sources", options.sources, killing=options.killing_rows)
        judged = {"verify": {"tries": 3, "checks": [{"check": "pose"}]}}  # three of ten images do not pass
        wanted = recipe(manifest, prompts=(), detect_batch=3) | judged
        store = open_store(fleet.settings.store, endpoint_url=fleet.services.s3_url)
        _say("The calm run")
        retried = beside.submit_retried(folder, fleet.settings)
        submit(wanted, run_id="calm", settings=fleet.settings).wait(timeout_seconds=600)
        retried.wait(timeout_seconds=60)
        calm_controls = take_controls_away(store)
        _say("The disturbed run")
        unreadable = beside.submit_unreadable(folder, store, fleet.settings)
        disturbed = submit(wanted, run_id="disturbed", settings=fleet.settings)
        harm = Harm(
            services=fleet.services, proxy=fleet.proxy, redis_proxy=fleet.redis_proxy, errors=fleet.errors,
            workers=fleet.workers, settings=fleet.settings, handle=disturbed, others=[unreadable, retried],
            seed=options.seed,
            worker_names=[f"{stage}-{n}" for stage, number in WORKERS.items() for n in range(number)],
        )  # fmt: skip
        done = _disturb(harm, options.kills, options.aim)
        _wait(disturbed)
        found = {**_found(store, calm_controls, unreadable, retried), **failures(store, "disturbed")}
        if options.kills >= ALL_KILLS:
            _say("A worker is killed, and its batches are taken over")
            found["takeover_seconds"] = _takeover(fleet.services, folder / "takeover")
    injected = {f"storage: {fault.value}": number for fault, number in fleet.proxy.injected.items()}
    return {
        "name": "chaos",
        "seed": options.seed,
        "faults": {**{name: number for name, number in done.items() if name != TOO_LATE}, **injected},
        "faults_too_late": done[TOO_LATE],
        "faults_missed": harm.missed,
        **found,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _found(store: Store, calm_controls: dict[str, str], unreadable: RunHandle, retried: RunHandle) -> dict[str, object]:
    """Lost, duplicated and differing, and what became of the runs beside."""
    return {
        **differences(store, "calm", "disturbed", calm_controls),
        "unreadable_run_is_paused": beside.is_paused_with_its_reason(unreadable),
        "retried_run_is_whole": beside.retried_is_whole(store, retried),
    }


def _takeover(services: EmbeddedServices, folder: Path) -> float | None:
    """Seconds, or None when it took too long; what the runs have shown is reported all the same."""
    try:
        return takeover_seconds(services, folder)
    except AssertionError as error:
        _say(f"The dead worker's batches were not taken over: {error}")
        return None


def _wait(handle: RunHandle) -> None:
    """To the run's end; a pause for storage that refused is ended, as a user would."""
    deadline = time.monotonic() + 600
    while True:
        try:
            handle.wait(timeout_seconds=max(1.0, deadline - time.monotonic()))
            return
        except RunFault:
            handle.unpause()


def _disturb(harm: Harm, kills: int, aim: str) -> Counter[str]:
    """The whole schedule in a random order; kills go on while slower faults last."""
    wanted = KILLS[aim] | SCHEDULE
    counts = {name: max(1, round(number * kills / ALL_KILLS)) for name, number in wanted.items()}
    counts |= SLOW if kills >= ALL_KILLS else {}
    schedule = [name for name, number in counts.items() for _ in range(number)]
    harm.random.shuffle(schedule)
    done: Counter[str] = Counter()
    for number, name in enumerate(schedule):
        harm.go_on()
        done[TOO_LATE] += harm.is_over()
        getattr(harm, name)()
        done[name] += 1
        if number % 10 == 9:
            _say(f"{number + 1} of {len(schedule)} faults")
        threading.Event().wait(harm.random.uniform(0.2, 1.2))
    return done


@contextmanager
def _fleet(folder: Path) -> Iterator[Fleet]:
    errors = folder / "errors"
    errors.mkdir()
    with (
        EmbeddedServices(folder / "services") as services,
        FaultProxy(services.s3_url) as proxy,
        TcpProxy(services.redis_url) as redis_proxy,
    ):
        os.environ.update(services.environment() | FAST | {"AWS_ENDPOINT_URL": proxy.url, "CHAOS_ERRORS": str(errors)})
        settings = Settings()
        os.environ["POSEMILL_REDIS_URL"] = redis_proxy.url
        with chaos_workers(folder / "logs", **WORKERS) as workers:
            yield Fleet(
                services=services, proxy=proxy, redis_proxy=redis_proxy, workers=workers, settings=settings,
                errors=errors,
            )  # fmt: skip


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--sources", type=int, default=400, help="pictures; eight items each")
    parser.add_argument("--kills", type=int, default=50, help="of workers; the other faults follow in proportion")
    parser.add_argument("--aim", choices=KILLS, default="any", help="kill any worker, busy ones, or those of one batch")
    parser.add_argument("--killing-rows", type=int, default=1, help="items that kill whatever makes them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--real", action="store_true", help="the shipped model under 15 aimed kills")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

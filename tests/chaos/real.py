"""The shipped model and the workers of `posemill up`, under kills aimed at busy workers of both stages."""

import os
import signal
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import redis
from PIL import Image, ImageEnhance, ImageOps

from posemill.contract.keys import Stage
from posemill.processes.supervisor import Supervisor
from posemill.queue.death_reports import DeathReports
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from posemill.storage.store import open_store
from producer.local.local_fleet import worker_children
from producer.local.services import EmbeddedServices
from producer.submitting.submission import submit
from tests.chaos.aims import kill_busy, send_signal
from tests.chaos.runs import differences, failures, take_controls_away

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
REDIS_KILLS = (5, 10)  # after so many workers
LONGEST_WAIT_SECONDS = 0.3  # from the moment that a worker is busy to its death
CALM_SECONDS, DISTURBED_SECONDS = 300, 900


def prove_real(folder: Path, *, kills: int, seed: int) -> dict[str, object]:
    """96 images of 12 sources, calm and disturbed; gives the report."""
    begun, faults = time.monotonic(), Counter[str]()
    with EmbeddedServices(folder / "services") as services:
        os.environ.update(services.environment())
        settings = Settings()
        children = worker_children(dict.fromkeys(Stage, 1))
        with Supervisor(children, log_folder=folder / "logs", on_end=DeathReports(settings)) as workers:
            wanted, store = _recipe(folder / "photos"), open_store(settings.store)
            calm = submit(wanted, run_id="calm", settings=settings)
            calm.wait(timeout_seconds=CALM_SECONDS)
            calm_seconds, calm_controls = round(time.monotonic() - begun, 1), take_controls_away(store)
            disturbed = submit(wanted, run_id="disturbed", settings=settings)
            stages = [*[Stage.DETECT] * (kills // 3), *[Stage.GENERATE] * (kills - kills // 3)]
            random = Random(seed)
            for number, stage in enumerate(stages):
                if number in REDIS_KILLS:
                    if pid := services.supervisor.pid("redis"):
                        send_signal(pid, signal.SIGKILL)
                    faults["kill_redis"] += 1
                is_over = partial(_is_over, disturbed.ledger, stage)
                killed = kill_busy(disturbed.ledger, workers, [f"{stage}-0"], given_up=is_over,
                                   after_seconds=random.uniform(0, LONGEST_WAIT_SECONDS))  # fmt: skip
                faults[f"kill_busy_{stage}_worker" if killed else "too_late"] += 1
                print(f"{number + 1} of {kills} kills", file=sys.stderr, flush=True)
            disturbed.wait(timeout_seconds=DISTURBED_SECONDS)
            found = {**differences(store, "calm", "disturbed", calm_controls), **failures(store, "disturbed")}
    return {
        "name": "chaos with the shipped model",
        "seed": seed,
        "faults": dict(faults),
        **found,
        "calm_seconds": calm_seconds,
        "seconds": round(time.monotonic() - begun, 1),
    }


def _recipe(folder: Path) -> dict[str, Any]:
    """Batches of six items straddle the sources' eight; two shapes."""
    folder.mkdir()
    for path in sorted(PHOTOS.glob("*.png")):
        photo = Image.open(path).convert("RGB")
        for name, side in (("plain", photo), ("mirrored", ImageOps.mirror(photo))):
            for light in (0.8, 1.0, 1.2):
                size = (512, 448) if light > 1 else (512, 512)
                ImageOps.pad(ImageEnhance.Brightness(side).enhance(light), size).save(
                    folder / f"{path.stem}-{name}-{light}.png"
                )
    return {
        "name": "real",
        "sources": str(folder),
        "prompts": ["a figure in red, standing on a white background", "a figure in blue, on a yellow background"],
        "seeds": 4,
        "detect": {"batch_size": 2},
        "generate": {"model": "embedded", "num_inference_steps": 8, "batch_size": 6},
    }


def _is_over(ledger: Ledger, stage: Stage) -> bool:
    try:
        snapshot = ledger.snapshot("disturbed")
    except redis.RedisError:
        return False
    return snapshot is not None and snapshot.stages[stage].batches_done >= snapshot.stages[stage].batches

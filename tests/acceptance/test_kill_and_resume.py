"""Workers killed and Redis emptied in the middle: the run ends in the same objects as an undisturbed one."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import RunState
from posemill.processes.supervisor import Supervisor
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.runs.checking import check
from producer.submitting.submission import submit
from tests.conftest import wait_until


@pytest.fixture
def recipe(tiny_model: Path, photos: Path) -> dict[str, Any]:
    return {
        "sources": str(photos),
        "prompts": ["a figure in {colour}"],
        "matrix": {"colour": ["red", "blue", "green"]},
        "seeds": 4,
        "detect": {"detector": "openpose-thin", "batch_size": 1},
        "generate": {
            "base": str(tiny_model),
            "controlnet": str(tiny_model / "controlnet"),
            "resolution": 64,
            "num_inference_steps": 2,
            "batch_size": 2,
        },
    }


def images(store: Store, run_id: str) -> dict[str, str]:
    root = RunKeys(run_id).images
    return {info.key.removeprefix(root): info.etag for info in store.list(root)}


def finished(ledger: Ledger, run_id: str, stage: Stage) -> int:
    snapshot = ledger.snapshot(run_id)
    return snapshot.stages[stage].batches_done if snapshot else 0


def test_killed_workers_and_an_emptied_redis_change_nothing(
    store: Store,
    ledger: Ledger,
    settings: Settings,
    recipe: dict[str, Any],
    start_workers: Callable[..., Supervisor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POSEMILL_LEASE_SECONDS", "3")
    workers = start_workers(detect=1, generate=1)
    disturbed = submit(recipe, run_id="disturbed", settings=settings)
    wait_until(lambda: finished(ledger, "disturbed", Stage.GENERATE) >= 1, seconds=90)
    for name in ("generate-0", "detect-0"):
        os.kill(workers.pid(name) or 0, signal.SIGKILL)
    ledger.redis.flushdb()
    disturbed.resume()
    assert disturbed.wait(timeout_seconds=120).snapshot.state is RunState.COMPLETE
    calm = submit(recipe, run_id="calm", settings=settings)
    calm.wait(timeout_seconds=60)
    assert len(images(store, "calm")) == 24
    assert images(store, "disturbed") == images(store, "calm")
    assert check(store, "disturbed", deep=True).complete

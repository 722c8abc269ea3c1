"""A host's workers are healthy while they are heard of and take steps whenever there is work."""

import pytest

from posemill.contract.keys import Stage
from producer.local.liveness import SILENT_SECONDS, trouble

NOW = 1000.0


def beat(*, seen: float = NOW, stage: str = "detect", leases: int = 0, queued: int = 0, idle_seconds: float = 0.0):
    return {"seen": seen, "stage": stage, "leases": leases, "queued": queued, "idle_seconds": idle_seconds}


def found(**beats) -> str:
    named = {name.replace("_", ":"): values for name, values in beats.items()}
    return trouble(named, "host", Stage.DETECT, limit_seconds=60, now=NOW)


@pytest.mark.parametrize(
    "beats",
    [
        pytest.param(beat(idle_seconds=9999), id="idle without work"),
        pytest.param(beat(leases=2, idle_seconds=59), id="a slow batch"),
        pytest.param(beat(queued=9, idle_seconds=0), id="busy"),
        pytest.param(beat(seen=NOW - SILENT_SECONDS + 1), id="a late heartbeat"),
    ],
)
def test_a_working_worker_is_healthy(beats):
    assert found(host_1=beats) == ""


@pytest.mark.parametrize(
    ("beats", "message"),
    [
        pytest.param(beat(leases=1, idle_seconds=61), "has work and took no step for 61 s", id="stuck on a batch"),
        pytest.param(beat(queued=1, idle_seconds=61), "has work and took no step for 61 s", id="deaf to its queue"),
        pytest.param(beat(seen=NOW - SILENT_SECONDS - 1), "has been silent for 31 s", id="silent"),
    ],
)
def test_a_stuck_or_silent_worker_is_named(beats, message):
    assert found(host_1=beat(), host_2=beats) == f"host:2 {message}"


@pytest.mark.parametrize(
    "beats",
    [{}, {"other_1": beat()}, {"hostess_1": beat()}, {"host_1": beat(stage="generate")}],
    ids=["nobody", "another host", "a longer host name", "another stage"],
)
def test_a_host_without_a_worker_of_the_stage_is_in_trouble(beats):
    assert found(**beats) == "no detect worker on host has sent a heartbeat"


def test_trouble_elsewhere_is_not_this_hosts():
    assert found(host_1=beat(), other_1=beat(seen=0), host_2=beat(stage="generate", leases=1, idle_seconds=999)) == ""

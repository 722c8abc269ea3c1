"""`posemill doctor` and the workers judge a Redis by one rule."""

from collections.abc import Iterator

import pytest

from posemill.errors import ServiceError
from posemill.queue.ledger import Ledger
from posemill.queue.redis_safety import require_safe_redis
from posemill.settings import Settings, load_settings
from producer.local.doctor import Finding, examine

SAFE = {"maxmemory-policy": "noeviction", "appendonly": "yes", "save": ""}
CASES = [
    {}, {"maxmemory-policy": "allkeys-lru"}, {"appendonly": "no"}, {"appendonly": "no", "save": "60 1"},
    {"appendonly": "no", "maxmemory-policy": "volatile-ttl"},
]  # fmt: skip


@pytest.fixture
def redis_of(ledger: Ledger) -> Iterator[Ledger]:
    yield ledger
    for name, value in SAFE.items():
        ledger.redis.config_set(name, value)


def findings_of_redis() -> list[Finding]:
    return [finding for finding in examine(load_settings) if finding.what.startswith("Redis ")]


@pytest.mark.parametrize("values", CASES, ids=str)
@pytest.mark.parametrize("persistence", ["required", "optional"])
def test_doctor_calls_wrong_what_workers_refuse_and_nothing_else(
    redis_of: Ledger, monkeypatch: pytest.MonkeyPatch, values: dict[str, str], persistence: str
) -> None:
    monkeypatch.setenv("POSEMILL_REDIS_PERSISTENCE", persistence)
    for name, value in values.items():
        redis_of.redis.config_set(name, value)
    try:
        require_safe_redis(redis_of.redis, persistent=Settings().redis_persistence == "required")
        refused = False
    except ServiceError:
        refused = True
    findings = findings_of_redis()
    assert any(finding.verdict == "wrong" for finding in findings) is refused
    assert all(finding.advice for finding in findings)

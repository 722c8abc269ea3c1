"""A Redis serves one store, and whoever opens the two together is told when they do not belong together."""

import subprocess
import sys
from pathlib import Path

import pytest

from posemill.contract.keys import STORE, STORE_IDENTITY, RunKeys
from posemill.errors import BadInput, ServiceError
from posemill.queue.ledger import Ledger
from posemill.queue.opening import open_pair, open_services
from posemill.queue.store_identity import adopt_store, require_same_store
from posemill.settings import Settings
from posemill.storage.store import Store, open_store
from producer.runs.handle import open_handle
from producer.submitting.submission import submit
from tests.planned import plan_run


@pytest.fixture
def other(settings: Settings) -> Settings:
    """The same Redis with another prefix."""
    return settings.model_copy(update={"store": f"{settings.store}-other"})


def recipe(photos: Path) -> dict[str, object]:
    return {"sources": str(photos), "prompts": ["p"], "generate": {"model": "embedded"}}


@pytest.mark.parametrize(
    "opening",
    [
        lambda settings, photos: submit(recipe(photos), settings=settings),
        lambda settings, photos: open_handle("r", settings),
        lambda settings, photos: open_services(settings),
    ],
    ids=["producer", "handle", "worker"],
)
def test_a_second_store_on_one_redis_is_refused_and_nothing_is_written_into_it(
    settings: Settings, other: Settings, photos: Path, opening: object
) -> None:
    open_services(settings)
    with pytest.raises(ServiceError, match=f"{settings.store}, not to {other.store}.*adopt-store"):
        opening(other, photos)
    assert [info.key for info in open_store(other.store).list("") if not info.key.startswith("probe/")] == []


def test_a_worker_with_another_store_does_not_start(settings: Settings, other: Settings, monkeypatch) -> None:
    open_services(settings)
    monkeypatch.setenv("POSEMILL_STORE", other.store)
    command = [sys.executable, "-m", "workers", "detect", "--unsupervised"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3
    assert settings.store in done.stderr
    assert other.store in done.stderr


def test_a_store_of_the_same_name_that_is_another_one_is_refused(settings: Settings, store: Store) -> None:
    open_services(settings)
    store.put(STORE_IDENTITY, b'{"id": "another", "url": "s3://somewhere"}')
    with pytest.raises(ServiceError, match="AWS_ENDPOINT_URL"):
        open_pair(settings)


def test_a_redis_that_lost_everything_is_told_again_by_the_first_who_opens_both(
    settings: Settings, ledger: Ledger, other: Settings
) -> None:
    open_services(settings)
    ledger.redis.flushdb()
    open_pair(settings)
    with pytest.raises(ServiceError):
        open_pair(other)


def test_a_copied_store_brings_its_identity_to_a_redis_of_its_own(
    settings: Settings, store: Store, ledger: Ledger, other: Settings
) -> None:
    open_services(settings)
    open_store(other.store).put(STORE_IDENTITY, store.get(STORE_IDENTITY))
    with pytest.raises(ServiceError):
        open_pair(other)
    ledger.redis.delete(STORE)
    open_pair(other)


def test_a_moved_store_is_adopted_and_runs_that_it_does_not_hold_are_forgotten(
    settings: Settings, store: Store, ledger: Ledger, other: Settings
) -> None:
    open_services(settings)
    plan_run(store, ledger, "left")
    moved = open_store(other.store)
    plan_run(moved, ledger, "moved")
    adopted = adopt_store(moved, ledger)
    assert (adopted.before, adopted.store, adopted.forgotten_runs) == (settings.store, other.store, ["left"])
    open_services(other)
    assert ledger.open_runs() == ["moved"]
    assert store.head(RunKeys("left").sealed)
    with pytest.raises(ServiceError):
        require_same_store(store, ledger)


def test_no_store_is_adopted_beside_living_workers_unless_one_says_so(
    settings: Settings, ledger: Ledger, other: Settings
) -> None:
    open_services(settings)
    ledger.note_worker("host:1", {"stage": "detect", "batches": 0})
    with pytest.raises(BadInput, match=r"host:1.*--yes"):
        adopt_store(open_store(other.store), ledger)
    adopt_store(open_store(other.store), ledger, beside_workers=True)
    open_pair(other)

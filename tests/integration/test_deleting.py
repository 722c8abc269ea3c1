"""A run is removed as a whole, what others use stays, and nobody writes into what was removed."""

import threading
from collections.abc import Callable

import pytest

from posemill.contract.keys import RunKeys, Stage, control_key
from posemill.contract.records import RunState
from posemill.errors import NotFound, RunConflict, TransientError
from posemill.queue.ledger import Ledger
from posemill.storage.store import S3Store, Store
from producer.runs.deleting import delete_run
from tests.conftest import wait_until
from tests.planned import plan_run, write_records


def test_a_deleted_run_leaves_nothing_in_storage_and_redis_and_touches_no_other(store: Store, ledger: Ledger) -> None:
    for run_id in ("gone", "gone-too", "kept"):
        plan_run(store, ledger, run_id)
        write_records(store, run_id, Stage.DETECT, [0, 1])
        ledger.set_state(run_id, RunState.CANCELLED)
    store.put(control_key("ab" * 16), b"shared")
    kept = {info.key for info in store.list("") if not info.key.startswith("runs/gone/")}
    held = [info.size for info in store.list("runs/gone/")]
    deleted = delete_run(store, ledger, "gone")
    assert (deleted.objects, deleted.size_bytes) == (len(held), sum(held))
    assert {info.key for info in store.list("")} == kept
    assert ledger.redis.keys("posemill:run:gone*") == ledger.redis.keys("posemill:run:gone-too*")
    with pytest.raises(NotFound):
        delete_run(store, ledger, "gone")


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.PAUSED, RunState.RETRYING])
def test_a_run_that_has_not_ended_is_not_deleted(store: Store, ledger: Ledger, state: RunState) -> None:
    plan_run(store, ledger, "r")
    ledger.set_state("r", state)
    with pytest.raises(RunConflict, match="posemill cancel r"):
        delete_run(store, ledger, "r")
    assert store.head(RunKeys("r").run)


def test_a_run_that_a_worker_still_holds_a_batch_of_is_not_deleted(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, "r")
    claim = ledger.claim("r", Stage.DETECT, 0, 30)
    ledger.set_state("r", RunState.CANCELLED)
    with pytest.raises(RunConflict):
        delete_run(store, ledger, "r")
    ledger.release("r", Stage.DETECT, 0, claim.fence)
    delete_run(store, ledger, "r")


def test_a_worker_that_died_holds_a_batch_no_longer_than_its_lease(store: Store, ledger: Ledger) -> None:
    plan_run(store, ledger, "r")
    ledger.claim("r", Stage.DETECT, 0, 0.001)
    ledger.set_state("r", RunState.CANCELLED)
    wait_until(lambda: not ledger.is_worked_on("r"), seconds=5)
    delete_run(store, ledger, "r")


def dying(act: Callable[[Store, str], None], *, after: int) -> Callable[[Store, str], None]:
    """The call, until it was made so often; whoever deletes finds no storage from then on."""
    lock, left = threading.Lock(), [after]

    def call(store: Store, key: str) -> None:
        with lock:
            left[0] -= 1
        if left[0] < 0:
            raise TransientError("storage is away")
        act(store, key)

    return call


OBJECTS = 15  # of the run below


def whole_run(store: Store, ledger: Ledger, run_id: str) -> list[str]:
    """A complete run of four images; gives their keys."""
    plan_run(store, ledger, run_id)
    images = [RunKeys(run_id).image(f"item{number:04d}") for number in range(4)]
    for key in images:
        store.put(key, b"image")
    for stage in (Stage.DETECT, Stage.GENERATE):
        write_records(store, run_id, stage, [0, 1])
    store.put(RunKeys(run_id).superseded(Stage.GENERATE, 0), b"set aside")
    store.put(RunKeys(run_id).round_step(0), b"{}")
    store.put(RunKeys(run_id).flag(Stage.DETECT, 9), b"")
    ledger.set_state(run_id, RunState.COMPLETE)
    return images


@pytest.mark.parametrize("deletions", range(OBJECTS))
def test_a_removal_that_is_cut_off_leaves_no_outcome_of_what_is_gone(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    images = whole_run(store, ledger, "r")
    assert len(list(store.list("runs/r/"))) == OBJECTS
    with monkeypatch.context() as patched:
        patched.setattr(S3Store, "delete", dying(S3Store.delete, after=deletions))
        with pytest.raises(TransientError):
            delete_run(store, ledger, "r")
    assert ledger.state("r") is None
    if not all(store.head(key) for key in images):
        assert list(store.list("runs/r/records/")) == list(store.list("runs/r/superseded/")) == []
    if not list(store.list(RunKeys("r").shards(Stage.DETECT))):
        assert store.head(RunKeys("r").sealed) is None
    delete_run(store, ledger, "r")
    assert list(store.list("runs/r/")) == []

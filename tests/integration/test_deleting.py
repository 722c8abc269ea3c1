"""A run is removed as a whole, what others use stays, and nobody writes into what was removed."""

import pytest

from posemill.contract.keys import RunKeys, Stage, control_key
from posemill.contract.records import RunState
from posemill.errors import NotFound, RunConflict
from posemill.queue.ledger import Ledger
from posemill.storage.store import Store
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

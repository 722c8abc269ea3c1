"""Waiting for a run, steering it and checking it, without workers."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import (
    BatchRecord,
    ItemResult,
    Outcome,
    RefusedRow,
    RunState,
    SourceResult,
    StoredObject,
    encode,
)
from posemill.errors import NotFound, NotOver, RunConflict, RunPaused, TransientError, UnreadableRecord
from posemill.queue.ledger import Ledger
from posemill.queue.run_states import pause_for_fault, write_state
from posemill.storage.record_writing import write_record
from posemill.storage.run_documents import read_state
from posemill.storage.store import Store
from producer.runs import handle as module
from producer.runs.checking import Proof, check
from producer.runs.handle import RunHandle, Status, run_ids
from tests.planned import plan_run

RUN = "r"


@pytest.fixture
def handle(store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> RunHandle:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    plan_run(store, ledger, RUN)
    return RunHandle(RUN, store=store, ledger=ledger)


def write(store: Store, stage: Stage, batch: int, *outcomes: Outcome, objects: list[str | None] | None = None) -> None:
    """A batch's record as a worker leaves it; done rows have the objects named."""
    results: list[Any] = []
    for place, outcome in enumerate(outcomes):
        row, name = 2 * batch + place, (objects or [None] * 9)[place]
        image = store.put(name, f"image {row}".encode()) if name else None
        if stage is Stage.DETECT:
            results.append(SourceResult(source_number=row, name=f"{row}.png", outcome=outcome, message="m"))
        else:
            results.append(
                ItemResult(id=f"item{row:04d}", outcome=outcome, image=image, source_name=f"{row}.png", message="m")
            )
    write_record(store, BatchRecord(run_id=RUN, stage=stage, batch=batch, attempt=1, worker="w", finished_at="",
                                    made_with={}, results=results))  # fmt: skip


def images(batch: int) -> list[str | None]:
    return [RunKeys(RUN).image(f"item{row:04d}") for row in (2 * batch, 2 * batch + 1)]


@pytest.fixture
def whole(handle: RunHandle) -> RunHandle:
    """Everything done but one failed source and one failed item."""
    done, failed = Outcome.DONE, Outcome.FAILED
    for batch, outcomes in ((0, (done, done)), (1, (done, failed))):
        write(handle.store, Stage.DETECT, batch, *outcomes)
        names = [name for name, outcome in zip(images(batch), outcomes, strict=True) if outcome is done]
        write(handle.store, Stage.GENERATE, batch, *outcomes, objects=[*names, None])
    return handle


@pytest.mark.parametrize("state", [RunState.CANCELLED, RunState.COMPLETE])
def test_waiting_ends_when_the_run_has(handle: RunHandle, state: RunState) -> None:
    seen: list[Status] = []

    def report(status: Status) -> None:
        seen.append(status)
        handle.ledger.set_state(RUN, state)

    assert handle.wait(report=report, timeout_seconds=20).snapshot.state is state
    assert [status.snapshot.state for status in seen] == [RunState.RUNNING, state]


def test_a_fault_ends_the_waiting_with_its_reason_and_a_user_s_pause_does_not(handle: RunHandle) -> None:
    handle.pause()
    with pytest.raises(NotOver, match="0 s"):
        handle.wait(timeout_seconds=0)
    handle.unpause()
    pause_for_fault(handle.store, handle.ledger, RUN, "the model is missing")
    with pytest.raises(RunPaused, match="the model is missing"):
        handle.wait(timeout_seconds=20)


@pytest.mark.parametrize("error", [redis.ConnectionError("x"), redis.TimeoutError("x"), TransientError("x")])
def test_waiting_goes_on_while_redis_or_storage_is_away(
    handle: RunHandle, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    look, errors = handle._look, [error]

    def looking(seen: Any) -> Status:
        if errors:
            raise errors.pop()
        handle.ledger.set_state(RUN, RunState.CANCELLED)
        return look(seen)

    monkeypatch.setattr(handle, "_look", looking)
    assert handle.wait(timeout_seconds=20).snapshot.state is RunState.CANCELLED


def test_a_ledger_that_is_lost_while_somebody_waits_is_made_again(handle: RunHandle) -> None:
    def report(status: Status) -> None:
        if handle.ledger.redis.getdel("seen"):
            handle.ledger.set_state(RUN, RunState.CANCELLED)
            return
        handle.ledger.redis.flushdb()
        handle.ledger.redis.set("seen", 1)

    assert handle.wait(report=report, timeout_seconds=20).snapshot.state is RunState.CANCELLED


@pytest.mark.parametrize(
    ("steer", "state"),
    [
        (RunHandle.cancel, RunState.CANCELLED),
        (RunHandle.pause, RunState.PAUSED),
        (RunHandle.unpause, RunState.RUNNING),
        (RunHandle.resume, RunState.RUNNING),
    ],
    ids=["cancel", "pause", "unpause", "resume"],
)
def test_steering_is_written_to_storage_and_ledger(
    handle: RunHandle, steer: Callable[[RunHandle], None], state: RunState
) -> None:
    pause_for_fault(handle.store, handle.ledger, RUN, "a fault")
    steer(handle)
    assert read_state(handle.store, RUN).state is handle.status().snapshot.state is state
    assert handle.status().snapshot.reason == ""


def test_resuming_takes_a_cancellation_back_ends_a_retry_and_else_writes_nothing(handle: RunHandle) -> None:
    handle.resume()
    assert handle.store.head(RunKeys(RUN).state) is None
    for state in (RunState.CANCELLED, RunState.RETRYING):
        write_state(handle.store, RUN, state)
        handle.resume()
        assert (read_state(handle.store, RUN).state, handle.ledger.state(RUN)) == (RunState.RUNNING, RunState.RUNNING)


def test_a_complete_run_is_neither_cancelled_nor_paused(whole: RunHandle) -> None:
    whole.resume()
    whole.ledger.complete(RUN)
    for steer in (whole.cancel, whole.pause):
        steer()
        assert (whole.ledger.state(RUN), whole.store.head(RunKeys(RUN).state)) == (RunState.COMPLETE, None)


def test_of_a_run_that_cannot_be_read_only_cancelling_works(handle: RunHandle) -> None:
    handle.ledger.redis.hset(f"posemill:run:{RUN}", "submission", "another")
    handle.store.put(RunKeys(RUN).run, b"{")
    for steer in (handle.pause, handle.unpause):
        with pytest.raises(UnreadableRecord):
            steer()
    handle.cancel()
    assert read_state(handle.store, RUN).state is RunState.CANCELLED


@pytest.mark.parametrize(("key", "error"), [(RunKeys(RUN).run, NotFound), (RunKeys(RUN).sealed, RunConflict)])
def test_a_run_without_its_documents_is_not_steered(handle: RunHandle, key: str, error: type[Exception]) -> None:
    handle.store.delete(key)
    for steer in (handle.cancel, handle.pause, handle.resume, handle.status):
        with pytest.raises(error):
            steer()


def test_a_status_is_that_of_storage_s_submission(handle: RunHandle) -> None:
    handle.ledger.commit(RUN, Stage.DETECT, 0, {Outcome.DONE: 2, Outcome.REJECTED: 0, Outcome.FAILED: 0})
    assert handle.status().snapshot.stages[Stage.DETECT].done == 2
    handle.ledger.redis.hset(f"posemill:run:{RUN}", "submission", "another")
    assert handle.status().snapshot.stages[Stage.DETECT].done == 0


def test_a_run_that_redis_has_lost_is_known_again_if_it_has_ended(handle: RunHandle) -> None:
    handle.ledger.redis.flushdb()
    with pytest.raises(NotFound, match="posemill resume r"):
        handle.status()
    write_state(handle.store, RUN, RunState.CANCELLED)
    assert handle.status().snapshot.state is RunState.CANCELLED


def test_failures_are_refused_rows_then_each_stage_s_rejected_and_failed_ones(whole: RunHandle) -> None:
    refused = RefusedRow(place="m.jsonl:3", message="no")
    whole.store.put(RunKeys(RUN).refused(0), encode(refused) + b"\n")
    found = list(whole.failures())
    assert found[0] == refused
    assert [(type(one), one.row) for one in found[1:]] == [(SourceResult, 3), (ItemResult, "item0003")]


def test_failed_rows_are_those_of_the_last_stage_and_the_refused_ones(whole: RunHandle) -> None:
    whole.resume()
    status = whole.status()
    assert status.failed == 1
    snapshot = msgspec.structs.replace(status.snapshot, refused_rows=4)
    assert msgspec.structs.replace(status, snapshot=snapshot).failed == 5


def test_runs_are_listed_by_their_ids(handle: RunHandle) -> None:
    plan_run(handle.store, handle.ledger, "a")
    assert run_ids(handle.store) == ["a", RUN]


def faults(proof: Proof) -> list[tuple[str, str]]:
    return [(fault.kind, fault.key.removeprefix(f"runs/{RUN}/")) for fault in proof.faults]


@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_run_has_no_faults_and_its_failures_are_named(whole: RunHandle, deep: bool) -> None:
    proof = check(whole.store, RUN, deep=deep)
    assert (proof.complete, proof.faults, proof.objects, proof.failures) == (True, [], 3, 2)
    assert [(one.row, one.name, one.message) for one in proof.failed] == [
        ("source 3", "3.png", "m"),
        ("item item0003", "3.png", "m"),
    ]
    assert proof.counts[Stage.GENERATE] == {Outcome.DONE: 3, Outcome.REJECTED: 0, Outcome.FAILED: 1, Outcome.AGAIN: 0}
    assert proof.verdict.startswith("2 sources and items failed")


@pytest.mark.parametrize("deep", [False, True])
def test_what_is_missing_changed_or_nobody_s_is_a_fault(whole: RunHandle, deep: bool) -> None:
    store, keys = whole.store, RunKeys(RUN)
    store.delete(keys.record(Stage.DETECT, 0))
    store.put(keys.record(Stage.DETECT, 1), b"{")
    store.put(keys.record(Stage.GENERATE, 2), b"{}")  # one past the plan
    store.put(keys.record(Stage.GENERATE, 1), store.get(keys.record(Stage.GENERATE, 0)))
    store.put(keys.image("ffff"), b"")
    store.delete(keys.image("item0000"))
    store.put(keys.image("item0001"), b"IMAGE 1")
    proof = check(store, RUN, deep=deep)
    lost, changed, stray, unnamed = (
        f"images/{name[:2]}/{name}.png" for name in ("item0000", "item0001", "ffff", "item0002")
    )
    assert sorted(faults(proof)) == sorted([
        ("missing_record", "records/detect/000000/000000000.json"),
        ("unreadable_record", "records/detect/000000/000000001.json"),
        ("wrong_record", "records/generate/000000/000000002.json"),
        ("wrong_record", "records/generate/000000/000000001.json"),
        *2 * [("missing_object", lost), ("changed_object", changed)],
        ("stray_object", stray), ("stray_object", unnamed),
    ])  # fmt: skip
    assert (proof.complete, proof.verdict) == (False, "10 faults")


def test_a_plan_that_cannot_be_read_is_a_fault_and_the_rest_is_looked_at(whole: RunHandle) -> None:
    whole.store.put(RunKeys(RUN).shard(Stage.DETECT, 0), b"")
    assert faults(check(whole.store, RUN)) == [("unreadable_record", "plan/detect/000000.jsonl")]


def test_an_object_of_the_same_size_and_another_content_is_changed(whole: RunHandle) -> None:
    key = RunKeys(RUN).image("item0000")
    recorded = StoredObject(key=key, sha256="0" * 64, etag="", size=7)
    record = msgspec.json.decode(whole.store.get(RunKeys(RUN).record(Stage.GENERATE, 0)), type=BatchRecord)
    first = msgspec.structs.replace(record.items[0], image=recorded)
    changed = msgspec.structs.replace(record, results=[first, record.items[1]])
    whole.store.put(RunKeys(RUN).record(Stage.GENERATE, 0), encode(changed))
    assert faults(check(whole.store, RUN, deep=True)) == [("changed_object", "images/it/item0000.png")]

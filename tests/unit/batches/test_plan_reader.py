"""What a worker reads of a plan, and what it keeps of it."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, Outcome, Run, SourceResult, encode
from posemill.errors import RunFault, TransientError, UnreadableRecord
from tests.memory_store import MemoryStore
from tests.planned import make_run, plan_run
from workers.batches.plan_reader import KEPT_RECORDS, KEPT_SHARDS, RecentReads, Slices

RUN = make_run("r")
KEYS = RunKeys("r")


class NoLedger:
    def restore(self, *_: Any, **__: Any) -> None: ...


class Counting(MemoryStore):
    """Counts what is read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()

    def get(self, key: str) -> bytes:
        self.reads[key] += 1
        return super().get(key)


@pytest.fixture
def store() -> Counting:
    made = Counting()
    plan_run(made, NoLedger(), "r", sources=10)
    made.reads.clear()
    return made


def detected(store: Counting, batch: int, *outcomes: Outcome) -> None:
    results = [SourceResult(source_number=2 * batch + n, name="", outcome=one) for n, one in enumerate(outcomes)]
    record = BatchRecord(run_id="r", stage=Stage.DETECT, batch=batch, attempt=1, worker="", finished_at="",
                         made_with={}, results=results)  # fmt: skip
    store.put(KEYS.record(Stage.DETECT, batch), encode(record))


def test_a_batch_has_its_own_rows_by_their_numbers_in_the_whole_plan(store: Counting) -> None:
    slices = Slices(store)
    for batch in range(5):
        numbers = [2 * batch, 2 * batch + 1]
        assert {n: one.identity for n, one in slices.sources(RUN, batch).items()} == {n: str(n) for n in numbers}
        assert [item.source_number for item in slices.items(RUN, batch)] == numbers


def test_a_shard_is_read_once_for_its_batches_and_apart_for_another_run_under_its_id(store: Counting) -> None:
    slices = Slices(store)
    for batch in (0, 1, 0):
        slices.items(RUN, batch)
    assert store.reads[KEYS.shard(Stage.GENERATE, 0)] == 1
    slices.items(msgspec.structs.replace(RUN, created_at="later"), 0)
    assert store.reads[KEYS.shard(Stage.GENERATE, 0)] == 2


def test_a_run_is_read_once_for_each_submission(store: Counting) -> None:
    slices = Slices(store)
    runs: list[Run] = [slices.run("r", submission) for submission in ("a", "a", "b")]
    assert (store.reads[KEYS.run], runs) == (2, [RUN] * 3)


def test_what_became_of_the_sources_asked_for_is_given_from_all_their_batches(store: Counting) -> None:
    detected(store, 0, Outcome.DONE, Outcome.REJECTED)
    detected(store, 2, Outcome.DONE, Outcome.DONE)
    found = Slices(store).detected(RUN, {1, 4})
    assert {number: result.outcome for number, result in found.items()} == {1: Outcome.REJECTED, 4: Outcome.DONE}


def test_a_record_with_failures_is_read_again_and_a_final_one_is_not(store: Counting) -> None:
    slices = Slices(store)
    detected(store, 0, Outcome.DONE, Outcome.FAILED)
    detected(store, 1, Outcome.DONE, Outcome.REJECTED)
    assert slices.detected(RUN, {1, 2})[1].outcome is Outcome.FAILED
    detected(store, 0, Outcome.DONE, Outcome.DONE)
    assert slices.detected(RUN, {1, 2})[1].outcome is Outcome.DONE
    assert (store.reads[KEYS.record(Stage.DETECT, 0)], store.reads[KEYS.record(Stage.DETECT, 1)]) == (2, 1)


def test_a_missing_record_is_waited_for_and_a_missing_plan_is_the_run_s_fault(store: Counting) -> None:
    with pytest.raises(TransientError, match="not written yet"):
        Slices(store).detected(RUN, {0})
    store.delete(KEYS.shard(Stage.DETECT, 0))
    with pytest.raises(RunFault, match=r"000000\.jsonl is gone"):
        Slices(store).sources(RUN, 0)
    store.delete(KEYS.run)
    with pytest.raises(RunFault, match=r"run\.json is gone"):
        Slices(store).run("r")


def test_a_record_that_cannot_be_read_is_named(store: Counting) -> None:
    store.put(KEYS.record(Stage.DETECT, 0), b"{")
    with pytest.raises(UnreadableRecord, match=r"000000000\.json"):
        Slices(store).detected(RUN, {0})


def test_the_values_used_last_are_kept_and_the_oldest_goes() -> None:
    read: list[str] = []
    recent = RecentReads(2)
    for key in ("a", "b", "a", "c", "a", "b"):
        assert recent.get(key, lambda key: (read.append(key), key)[1]) == key
    assert read == ["a", "b", "c", "b"]
    assert (KEPT_SHARDS, KEPT_RECORDS) == (8, 256)

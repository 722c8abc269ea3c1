"""The plan of a run whose images are judged grows by what storage says, whoever dies on the way."""

from collections.abc import Callable, Iterator

import msgspec
import pytest
from celery import Celery

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import (
    BatchRecord,
    CheckSpec,
    Item,
    ItemResult,
    JudgedResult,
    Outcome,
    Plan,
    Run,
    RunState,
    ShardHeader,
    Slicing,
    SourceResult,
    VerifySpec,
    decode_rows,
    encode,
    encode_shard,
)
from posemill.contract.rounds import next_try
from posemill.queue.celery_app import make_app
from posemill.queue.dispatcher import Dispatcher
from posemill.queue.ledger import Ledger
from posemill.queue.rebuild import read_layouts, rebuild, recall
from posemill.queue.run_states import retry
from posemill.settings import Settings
from posemill.storage.record_writing import write_record
from posemill.storage.run_documents import read_plan, read_rounds, read_run, read_shard
from posemill.storage.store import Store
from producer.runs.checking import check
from producer.runs.handle import RunHandle
from tests.planned import make_run

RUN = "judged"
ITEMS = 10  # in shards of four, batches of two
Judge = Callable[[Item], Outcome]


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    with make_app(settings.redis_url.get_secret_value()) as made:
        yield made


@pytest.fixture
def loop(store: Store, ledger: Ledger, app: Celery, settings: Settings) -> Callable[[], Dispatcher]:
    """A dispatcher that knows nothing yet."""
    return lambda: Dispatcher(store, ledger, app, settings)


@pytest.fixture
def run(store: Store, ledger: Ledger) -> Run:
    slicing = {stage: Slicing(batch_size=2, shard_size=4) for stage in Stage}
    verify = VerifySpec(checks=(CheckSpec(check="sharpness"),), tries=3)
    run = msgspec.structs.replace(make_run(RUN), slicing=slicing, verify=verify)
    keys = RunKeys(RUN)
    store.put(keys.run, encode(run))
    items = [Item(id=f"{number:032x}", prompt="p", seed=number, source_number=None) for number in range(ITEMS)]
    for shard, first in enumerate(range(0, ITEMS, 4)):
        rows = items[first : first + 4]
        header = ShardHeader(first=first, rows=len(rows), needs=[[] for _ in range(-(-len(rows) // 2))])
        store.put(keys.shard(Stage.GENERATE, shard), encode_shard(header, rows))
    rows_by_stage = {Stage.DETECT: 0, Stage.GENERATE: ITEMS, Stage.VERIFY: ITEMS}
    batches = {Stage.DETECT: 0, Stage.GENERATE: 5, Stage.VERIFY: 5}
    store.put(keys.sealed, encode(Plan(rows=rows_by_stage, batches=batches, refused_rows=0)))
    rebuild(store, ledger, RUN)
    return run


def planned(store: Store, batch: int) -> list[Item]:
    shard, rows = Slicing(batch_size=2, shard_size=4).place(batch)
    return decode_rows(read_shard(store, RUN, Stage.GENERATE, shard)[1], Item, rows)


def numbers(store: Store) -> list[int]:
    run = read_run(store, RUN)
    return list(read_layouts(store, run, read_plan(store, RUN))[Stage.GENERATE].numbers())


def work(store: Store, ledger: Ledger, batch: int, judge: Judge, *, failing: frozenset[str] = frozenset()) -> None:
    """Make and judge a batch, as workers do."""
    items = planned(store, batch)
    made = [ItemResult(id=item.id, outcome=Outcome.FAILED if item.id in failing else Outcome.DONE) for item in items]
    judged = [JudgedResult(id=item.id, outcome=Outcome.FAILED if item.id in failing else judge(item)) for item in items]
    both: list[tuple[Stage, list[SourceResult] | list[ItemResult] | list[JudgedResult]]]
    both = [(Stage.GENERATE, made), (Stage.VERIFY, judged)]
    for stage, results in both:
        record = BatchRecord(run_id=RUN, stage=stage, batch=batch, attempt=1, worker="w", finished_at="", made_with={},
                             results=results)  # fmt: skip
        ledger.commit(RUN, stage, batch, write_record(store, record).counts)


def odd_seeds_pass(item: Item) -> Outcome:
    if item.seed % 2:
        return Outcome.DONE
    return Outcome.AGAIN if item.try_number < 3 else Outcome.REJECTED


def finish(store: Store, ledger: Ledger, loop: Dispatcher, judge: Judge = odd_seeds_pass) -> None:
    done: set[int] = set()
    for _ in range(20):
        loop.tick()
        if ledger.state(RUN) is RunState.COMPLETE:
            return
        for batch in numbers(store):
            if batch not in done:
                work(store, ledger, batch, judge)
                done.add(batch)
    raise AssertionError("the run does not end")


def test_a_run_ends_when_nothing_is_to_be_made_again_and_not_before(
    store: Store, ledger: Ledger, run: Run, loop: Callable[[], Dispatcher]
) -> None:
    for batch in range(5):
        work(store, ledger, batch, odd_seeds_pass)
    assert ledger.state(RUN) is RunState.RUNNING
    assert not recall(store, ledger, RUN), "storage knows that more is to come"
    dispatcher = loop()
    dispatcher.tick()
    counts = ledger.snapshot(RUN)
    assert counts is not None
    again = [item for batch in range(5) for item in planned(store, batch) if not item.seed % 2]
    waiting = read_rounds(store, run)[-1].carried
    assert len(waiting) < 2
    assert (counts.stages[Stage.GENERATE].rows, counts.last.rows) == (ITEMS + len(again) - len(waiting),) * 2
    assert [fault.kind for fault in check(store, RUN).faults].count("missing_record") > 1
    finish(store, ledger, dispatcher)
    final = [result for record in RunHandle(RUN, store=store, ledger=ledger).flagged(Stage.VERIFY)
             for result in record.judged if result.outcome is Outcome.REJECTED]  # fmt: skip
    last = ledger.snapshot(RUN)
    assert last is not None
    assert last.last.done + len(final) == ITEMS
    assert check(store, RUN).faults == []


def test_the_ledger_made_again_from_storage_counts_what_the_grown_one_does(
    store: Store, ledger: Ledger, run: Run, loop: Callable[[], Dispatcher]
) -> None:
    dispatcher = loop()
    for batch in range(5):
        work(store, ledger, batch, odd_seeds_pass)
        dispatcher.tick()
        grown = ledger.snapshot(RUN)
        rebuild(store, ledger, RUN)
        made_again = ledger.snapshot(RUN)
        assert grown is not None
        assert made_again is not None
        for stage in Stage:
            wanted, found = grown.stages[stage], made_again.stages[stage]
            assert (wanted.rows, wanted.batches, wanted.end) == (found.rows, found.batches, found.end)
            assert (wanted.done, wanted.again, wanted.batches_done) == (found.done, found.again, found.batches_done)
    assert numbers(store)[-1] > 5


@pytest.mark.parametrize("lost", ["the ledger's growth", "the step and the growth"])
def test_whoever_dies_between_two_writes_of_a_round_is_followed_by_the_same_plan(
    store: Store, ledger: Ledger, run: Run, loop: Callable[[], Dispatcher], lost: str
) -> None:
    for batch in range(2):
        work(store, ledger, batch, odd_seeds_pass)
    before = {name: ledger.redis.hgetall(f"posemill:run:{RUN}")[name] for name in ("generate.end", "verify.end")}  # type: ignore[index]
    loop().tick()
    steps, shard = read_rounds(store, run), store.get(RunKeys(RUN).shard(Stage.GENERATE, 3))
    assert [step.shard for step in steps] == [3]
    ledger.redis.hset(f"posemill:run:{RUN}", mapping=before)
    if lost == "the step and the growth":
        store.delete(RunKeys(RUN).round_step(0))
    loop().tick()
    assert (read_rounds(store, run), store.get(RunKeys(RUN).shard(Stage.GENERATE, 3))) == (steps, shard)
    finish(store, ledger, loop())


def test_a_row_that_retry_makes_again_late_comes_again_when_it_does_not_pass(
    store: Store, ledger: Ledger, run: Run, loop: Callable[[], Dispatcher]
) -> None:
    failing = frozenset([f"{1:032x}"])
    work(store, ledger, 0, odd_seeds_pass, failing=failing)
    for batch in range(1, 5):
        work(store, ledger, batch, odd_seeds_pass)
    done = set(range(5))
    dispatcher = loop()
    while ledger.state(RUN) is RunState.RUNNING:
        dispatcher.tick()
        for batch in set(numbers(store)) - done:
            work(store, ledger, batch, odd_seeds_pass)
            done.add(batch)
    assert retry(store, ledger, RUN) == 1, "the item counts once, though both stages' records say it"
    assert ledger.state(RUN) is RunState.RUNNING

    def first_try_fails(item: Item) -> Outcome:
        return Outcome.AGAIN if item.id in failing else odd_seeds_pass(item)

    work(store, ledger, 0, first_try_fails)
    finish_late = set(numbers(store))
    while ledger.state(RUN) is RunState.RUNNING:
        dispatcher.tick()
        for batch in set(numbers(store)) - finish_late:
            work(store, ledger, batch, odd_seeds_pass)
            finish_late.add(batch)
    late = [step for step in read_rounds(store, run) if step.read is None]
    assert len(late) == 1
    assert next_try(planned(store, 0)[1]).id in {item.id for batch in numbers(store) for item in planned(store, batch)}
    assert check(store, RUN).faults == []


def test_a_step_that_nobody_can_read_pauses_its_run_with_the_reason_and_can_be_cancelled(
    store: Store, ledger: Ledger, run: Run, loop: Callable[[], Dispatcher]
) -> None:
    for batch in range(2):
        work(store, ledger, batch, odd_seeds_pass)
    loop().tick()
    key = RunKeys(RUN).round_step(0)
    store.put(key, store.get(key)[:20])
    loop().tick()
    snapshot = ledger.snapshot(RUN)
    assert snapshot is not None
    assert snapshot.state is RunState.PAUSED
    assert key in snapshot.reason
    RunHandle(RUN, store=store, ledger=ledger).cancel()
    assert ledger.state(RUN) is RunState.CANCELLED

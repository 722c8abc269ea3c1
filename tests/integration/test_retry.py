"""`retry`, killed before any of its calls: the next command or the dispatcher ends it, and nothing is lost."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, ItemResult, Outcome, RunState, SourceResult
from posemill.queue import dispatcher
from posemill.queue.celery_app import make_app
from posemill.queue.dispatcher import Dispatcher
from posemill.queue.ledger import Ledger
from posemill.queue.rebuild import rebuild
from posemill.queue.run_states import retry
from posemill.settings import Settings
from posemill.storage.record_writing import write_record
from posemill.storage.run_documents import read_record, read_state
from posemill.storage.store import S3Store, Store
from producer.runs.handle import RunHandle
from tests.planned import plan_run, write_records

FAILED = {Stage.DETECT: 1, Stage.GENERATE: 0}  # batches with a failed row


class Killed(BaseException):
    """Ends a command as SIGKILL does."""


@pytest.fixture
def app(settings: Settings) -> Iterator[Celery]:
    with make_app(settings.redis_url.get_secret_value()) as made:
        yield made


@pytest.fixture
def die(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many calls to Redis and storage are answered before the process dies; none dies while it is empty."""
    left: list[int] = []

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*arguments: Any, **options: Any) -> Any:
            if left and left[0] == 0:
                raise Killed
            if left:
                left[0] -= 1
            return call(*arguments, **options)

        return answer

    connection = redis.connection.Connection
    monkeypatch.setattr(connection, "send_packed_command", deadly(connection.send_packed_command))
    for name in ("get", "put", "head", "delete", "list"):
        monkeypatch.setattr(S3Store, name, deadly(getattr(S3Store, name)))
    yield left
    left.clear()


def by_retry(store: Store, ledger: Ledger, run_id: str, loop: Dispatcher) -> None:
    retry(store, ledger, run_id)


def by_resume(store: Store, ledger: Ledger, run_id: str, loop: Dispatcher) -> None:
    RunHandle(run_id, store=store, ledger=ledger).resume()


def by_the_dispatcher(store: Store, ledger: Ledger, run_id: str, loop: Dispatcher) -> None:
    loop.tick()


@pytest.mark.parametrize("ended", [by_retry, by_resume, by_the_dispatcher], ids=lambda way: way.__name__)
def test_a_retry_killed_before_any_of_its_calls_is_ended(
    store: Store, ledger: Ledger, settings: Settings, app: Celery, die: list[int], monkeypatch: pytest.MonkeyPatch,
    ended: Callable[..., None],
) -> None:  # fmt: skip
    monkeypatch.setattr(dispatcher, "ABANDONED_SECONDS", 0.0)
    loop = Dispatcher(store, ledger, app, settings)
    for calls in range(200):
        run_id = f"run-{calls}"
        complete_with_failures(store, ledger, run_id)
        die.append(calls)
        try:
            assert retry(store, ledger, run_id) == 2
            break
        except Killed:
            die.clear()
        begun = {by_resume: [], by_retry: [RunState.RETRYING]}.get(ended, [ledger.state(run_id)])
        begun.append(read_state(store, run_id).state)  # `resume` goes by storage alone
        ended(store, ledger, run_id, loop)
        require_whole(store, ledger, run_id, loop, is_again=RunState.RETRYING in begun)
    assert 10 < calls < 199


def complete_with_failures(store: Store, ledger: Ledger, run_id: str) -> None:
    plan_run(store, ledger, run_id)
    for stage in (Stage.DETECT, Stage.GENERATE):
        write_records(store, run_id, stage, [1 - FAILED[stage]])
        write_record(store, failed_record(run_id, stage))
    rebuild(store, ledger, run_id)
    ledger.complete(run_id)
    assert ledger.state(run_id) is RunState.COMPLETE


def failed_record(run_id: str, stage: Stage) -> BatchRecord:
    batch = FAILED[stage]
    outcomes = zip((2 * batch, 2 * batch + 1), (Outcome.DONE, Outcome.FAILED), strict=True)
    results: list[Any] = (
        [SourceResult(source_number=n, name="", outcome=outcome) for n, outcome in outcomes]
        if stage is Stage.DETECT
        else [ItemResult(id=f"item{n:04d}", outcome=outcome) for n, outcome in outcomes]
    )
    return BatchRecord(
        run_id=run_id, stage=stage, batch=batch, attempt=1, worker="", finished_at="", made_with={}, results=results
    )


def require_whole(store: Store, ledger: Ledger, run_id: str, loop: Dispatcher, *, is_again: bool) -> None:
    """Each batch has its record, or the ledger will send it again: then its old record is kept aside."""
    loop.tick()
    state, missing = ledger.state(run_id), []
    for stage in (Stage.DETECT, Stage.GENERATE):
        for batch in (0, 1):
            if read_record(store, run_id, stage, batch) is None:
                missing.append((stage, batch))
                assert store.head(RunKeys(run_id).superseded(stage, batch)), "its done rows are kept"
    if missing or is_again:
        assert state is RunState.RUNNING
        assert missing == list(FAILED.items())
        snapshot = ledger.snapshot(run_id)
        assert snapshot
        assert [counts.batches_done for counts in snapshot.stages.values()] == [1, 1]
    else:
        assert state is RunState.COMPLETE, "it died before it had begun"
    ledger.forget(run_id)

"""All runs of a store at a glance, also those that Redis has forgotten."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from posemill.contract.keys import RunKeys, Stage, run_hash
from posemill.contract.records import RunState
from posemill.errors import BadInput, NotFound, RunConflict
from posemill.queue.ledger import Ledger
from posemill.queue.rebuild import rebuild
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.runs.handle import RunHandle
from producer.runs.listing import RunOverview, Unlisted, is_wanted, list_runs, parse_age
from producer.submitting.submission import submit
from tests.planned import plan_run, write_records


def made_whole(store: Store, ledger: Ledger, run_id: str) -> None:
    """A run of which every record stands."""
    plan_run(store, ledger, run_id)
    for stage in (Stage.DETECT, Stage.GENERATE):
        write_records(store, run_id, stage, [0, 1])
    rebuild(store, ledger, run_id)
    assert ledger.complete(run_id)


def listed(store: Store, ledger: Ledger) -> dict[str, RunOverview]:
    return {one.run_id: one for one in list_runs(store, ledger, with_sizes=True)}


def test_a_run_is_listed_with_its_age_its_counts_and_its_size(store: Store, ledger: Ledger) -> None:
    made_whole(store, ledger, "whole")
    one = listed(store, ledger)["whole"]
    assert (one.state, one.sources, one.items, one.done, one.failed) == (RunState.COMPLETE, 4, 4, 4, 0)
    assert one.created_at is not None
    assert one.size_bytes == sum(info.size for info in store.list(RunKeys("whole").root)) > 0


def test_what_redis_has_forgotten_is_listed_as_storage_has_it(
    store: Store, ledger: Ledger, settings: Settings, photos: Path
) -> None:
    recipe = {"sources": str(photos), "prompts": ["p"], "generate": {"model": "embedded"}}
    made_whole(store, ledger, "whole")
    submit(recipe, run_id="going", settings=settings)
    submit(recipe, run_id="stopped", settings=settings).cancel()
    submit(recipe, run_id="begun", settings=settings)
    store.delete(RunKeys("begun").sealed)
    store.put(RunKeys("torn").run, b"{")
    ledger.redis.flushdb()
    assert {run_id: one.state for run_id, one in listed(store, ledger).items()} == {
        "whole": RunState.COMPLETE,
        "going": Unlisted.LOST,
        "stopped": RunState.CANCELLED,
        "begun": Unlisted.UNFINISHED,
        "torn": Unlisted.UNREADABLE,
    }
    assert listed(store, ledger)["whole"].done == 4


def test_the_keys_of_a_run_that_has_ended_expire_and_those_of_one_that_goes_on_again_do_not(
    store: Store, ledger: Ledger
) -> None:
    made_whole(store, ledger, "r")
    kept = list(ledger.redis.keys("posemill:run:r*"))
    assert kept
    assert all(ledger.redis.ttl(key) > 20 * 86_400 for key in kept)
    ledger.set_state("r", RunState.RUNNING)
    assert all(ledger.redis.ttl(key) == -1 for key in kept)
    ledger.set_state("r", RunState.CANCELLED)
    assert ledger.redis.ttl(run_hash("r")) > 0
    rebuild(store, ledger, "r")
    assert all(ledger.redis.ttl(key) == -1 for key in ledger.redis.keys("posemill:run:r*"))


def test_a_run_that_ended_and_was_forgotten_shows_its_end(store: Store, ledger: Ledger) -> None:
    made_whole(store, ledger, "r")
    ledger.redis.flushdb()
    snapshot = RunHandle("r", store=store, ledger=ledger).status().snapshot
    assert (snapshot.state, snapshot.stages[Stage.GENERATE].done) == (RunState.COMPLETE, 4)
    assert ledger.open_runs() == []


def test_a_run_that_goes_on_and_was_forgotten_is_to_be_resumed(store: Store, ledger: Ledger) -> None:
    made_whole(store, ledger, "r")
    store.delete(RunKeys("r").record(Stage.GENERATE, 1))
    ledger.redis.flushdb()
    with pytest.raises(NotFound, match="posemill resume r"):
        RunHandle("r", store=store, ledger=ledger).status()
    (listed,) = list_runs(store, ledger)
    assert "posemill resume r" in listed.advice


def test_a_submission_that_was_cut_off_gets_the_same_advice_from_the_list_and_from_resume(
    store: Store, ledger: Ledger
) -> None:
    made_whole(store, ledger, "r")
    store.delete(RunKeys("r").sealed)
    (listed,) = list_runs(store, ledger)
    with pytest.raises(RunConflict) as refused:
        RunHandle("r", store=store, ledger=ledger).resume()
    assert listed.advice == str(refused.value)
    assert "--run-id r" in listed.advice


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({}, True), ({"state": "complete"}, True), ({"state": "paused"}, False), ({"pattern": "che*"}, True),
        ({"pattern": "*-2"}, True), ({"pattern": "c"}, False), ({"since": timedelta(hours=3)}, True),
        ({"since": timedelta(hours=1)}, False),
    ],
)  # fmt: skip
def test_a_list_is_narrowed_by_state_name_and_age(asked, wanted):
    created_at = datetime.now(UTC) - timedelta(hours=2)
    one = RunOverview(run_id="night-2", name="chefs", state=RunState.COMPLETE, created_at=created_at)
    assert is_wanted(one, **asked) is wanted


def test_an_age_has_a_number_and_a_unit():
    assert [parse_age(text) for text in ("30m", "12h", "90d", "2w")] == [
        timedelta(minutes=30), timedelta(hours=12), timedelta(days=90), timedelta(weeks=2)
    ]  # fmt: skip
    for text in ("", "90", "d", "-1d", "1y", "9999999d"):
        with pytest.raises(BadInput, match="is no age"):
            parse_age(text)

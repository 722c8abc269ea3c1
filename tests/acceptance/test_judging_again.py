"""A run that is over is judged, or judged again, without an image being made; its rejects can be made again."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, Outcome, RunState, decode
from posemill.errors import NotOver, RecipeError, RunConflict
from posemill.processes.supervisor import Supervisor
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.exports.dataset import export_run
from producer.runs.checking import check
from producer.runs.deleting import delete_run
from producer.submitting.judging import judge_run
from producer.submitting.submission import submit
from tests.chaos.runs import chaos_workers, images, recipe, write_sources

ROOT = Path(__file__).parents[2]
SHARP = (
    {"check": "sharpness"},
)  # the workers of tests/chaos judge by the image's content alone: three of ten are rejected
Start = Callable[..., Supervisor]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("POSEMILL_WINDOW", "3")
    monkeypatch.chdir(ROOT)
    with ExitStack() as stack:

        def start_workers(**options: Any) -> Supervisor:
            workers = chaos_workers(tmp_path / "logs", **options)
            workers.start()
            stack.callback(workers.stop, timeout_seconds=0)
            return workers

        yield start_workers


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, Any]:
    return recipe(write_sources(tmp_path / "in", 12), seeds=2)


def outcomes(store: Store, run_id: str) -> dict[str, tuple[str, Outcome]]:
    """By item wanted: the last try, and what became of it."""
    found = {}
    for info in store.list(RunKeys(run_id).records(Stage.VERIFY)):
        for result in decode(store.get(info.key), BatchRecord).judged:
            if result.outcome is not Outcome.AGAIN:
                assert result.wanted_id not in found
                found[result.wanted_id] = (result.id, result.outcome)
    return found


def test_a_run_that_was_not_judged_is_judged_and_its_rejects_are_made_again(
    settings: Settings, store: Store, ledger: Ledger, start: Start, wanted: dict[str, Any], tmp_path: Path
) -> None:
    start()
    submit(wanted, run_id="plain", settings=settings).wait(timeout_seconds=120)
    before = images(store, "plain")
    seen = judge_run("plain", checks=SHARP, settings=settings)
    assert seen.wait(timeout_seconds=60).snapshot.state is RunState.COMPLETE
    found = outcomes(store, seen.id)
    rejected = {item for item, (_, outcome) in found.items() if outcome is Outcome.REJECTED}
    assert (len(found), 0 < len(rejected) < 30) == (48, True)
    assert (images(store, "plain"), images(store, seen.id)) == (before, {}), "no image is made or moved"
    assert check(store, seen.id, deep=True).faults == []
    assert export_run(store, seen.id, str(tmp_path / "set")).samples == 48 - len(rejected)

    assert judge_run("plain", checks=SHARP, settings=settings).id == seen.id, "the same question, the same run"
    again = judge_run("plain", checks=SHARP, retry=True, tries=3, new_run_id="again", settings=settings)
    assert again.wait(timeout_seconds=60).snapshot.state is RunState.COMPLETE
    better = outcomes(store, "again")
    assert {item for item, (last, _) in better.items() if last == item} == set(found) - rejected
    assert images(store, "plain") == before
    assert len(images(store, "again")) >= len(rejected)
    assert check(store, "again", deep=True).faults == []

    judged = wanted | {"verify": {"tries": 3, "checks": list(SHARP)}}
    submit(judged, run_id="looped", settings=settings).wait(timeout_seconds=120)
    assert outcomes(store, "looped") == better, "as if the run had been judged from the beginning"

    once_more = judge_run("again", settings=settings)  # its own checks, without a try
    once_more.wait(timeout_seconds=60)
    assert outcomes(store, once_more.id) == better
    with pytest.raises(RunConflict, match=f"the images of {once_more.id}"):
        delete_run(store, ledger, "again")
    with pytest.raises(RunConflict, match="judges something else"):
        judge_run("plain", checks=({"check": "sharpness", "min": 3},), new_run_id="again", settings=settings)
    delete_run(store, ledger, once_more.id)
    assert delete_run(store, ledger, "again").objects > 0


def test_a_run_that_is_not_over_is_not_judged(settings: Settings, store: Store, wanted: dict[str, Any]) -> None:
    submit(wanted, run_id="open", settings=settings)
    with pytest.raises(NotOver, match="'open' is not over"):
        judge_run("open", checks=SHARP, new_run_id="early", settings=settings)
    with pytest.raises(RecipeError, match="did you mean 'sharpness'"):
        judge_run("open", checks=({"check": "sharpnes"},), settings=settings)


def test_a_judging_that_was_cut_off_goes_on(
    settings: Settings, store: Store, start: Start, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    start()
    submit(wanted, run_id="plain", settings=settings).wait(timeout_seconds=120)
    monkeypatch.setattr("producer.submitting.judging._write_items", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        judge_run("plain", checks=SHARP, settings=settings)
    monkeypatch.undo()
    seen = judge_run("plain", checks=SHARP, settings=settings)
    assert seen.wait(timeout_seconds=60).snapshot.state is RunState.COMPLETE
    assert check(store, seen.id, deep=True).faults == []

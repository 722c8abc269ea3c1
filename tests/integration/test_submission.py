"""Submitting, without workers: what lies in storage and Redis afterwards."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from posemill.contract.keys import RunKeys, Stage, queue_name
from posemill.contract.records import Item, Outcome, RunState, Source, decode_rows
from posemill.errors import NotFound, RecipeError, RowError, RunConflict
from posemill.queue.dispatcher import PlanReader
from posemill.queue.ledger import Ledger
from posemill.queue.window import queue_length
from posemill.settings import Settings
from posemill.storage.run_documents import read_plan, read_state
from posemill.storage.store import Store
from producer.runs.handle import RunHandle, open_handle
from producer.runs.source_changes import SourceChanges
from producer.submitting.submission import submit
from tests.small_pictures import picture
from workers.batches.plan_reader import Slices


def recipe(sources: Path | str, **changes: Any) -> dict[str, Any]:
    return {
        "sources": str(sources),
        "prompts": ["a figure in {c}"],
        "matrix": {"c": ["red", "blue"]},
        "seeds": 2,
        "generate": {"model": "embedded"},
        **changes,
    }


def keys_of(store: Store) -> dict[str, str]:
    return {info.key: info.etag for info in store.list("")}


def items_of(store: Store, run_id: str) -> list[Item]:
    return decode_rows(store.get(RunKeys(run_id).shard(Stage.GENERATE, 0)), Item)


def sources_of(store: Store, run_id: str) -> list[Source]:
    return decode_rows(store.get(RunKeys(run_id).shard(Stage.DETECT, 0)), Source)


def write_manifest(path: Path, *rows: Any) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def test_a_folder_of_photographs_becomes_a_plan_and_the_first_messages(
    store: Store, ledger: Ledger, settings: Settings, photos: Path
) -> None:
    handle = submit(recipe(photos), run_id="r", settings=settings)
    assert (handle.plan.sources, handle.plan.items) == (2, 8)
    assert [source.name for source in sources_of(store, "r")] == ["astronaut.png", "cameraman.png"]
    assert len({item.id for item in items_of(store, "r")}) == 8
    assert queue_length(ledger.redis, queue_name(Stage.DETECT)) == 1


def test_the_photographs_themselves_are_in_storage(store: Store, settings: Settings, photos: Path) -> None:
    submit(recipe(photos), run_id="r", settings=settings)
    stored = [store.get(source.key or "") for source in sources_of(store, "r")]
    assert stored == [(photos / name).read_bytes() for name in ("astronaut.png", "cameraman.png")]


def test_submitting_again_under_the_same_run_id_adds_nothing(
    store: Store, ledger: Ledger, settings: Settings, photos: Path
) -> None:
    submit(recipe(photos), run_id="r", settings=settings)
    before = keys_of(store)
    submit(recipe(photos), run_id="r", settings=settings)
    assert keys_of(store) == before
    assert queue_length(ledger.redis, queue_name(Stage.DETECT)) == 1


def test_what_has_changed_at_the_sources_since_is_said_and_refused_where_asked(
    store: Store, settings: Settings, photos: Path, tmp_path: Path
) -> None:
    for number, name in enumerate(("b", "c")):
        (tmp_path / f"{name}.png").write_bytes(picture(number))
    assert not submit(recipe(tmp_path), run_id="r", settings=settings).changes
    before = keys_of(store)
    (tmp_path / "b.png").rename(tmp_path / "z.png")  # the same photograph
    assert not submit(recipe(tmp_path), run_id="r", settings=settings, strict=True).changes
    (tmp_path / "a.png").write_bytes((photos / "astronaut.png").read_bytes())
    (tmp_path / "c.png").unlink()
    items = read_plan(store, "r").items // 2
    changes = submit(recipe(tmp_path), run_id="r", settings=settings).changes
    assert changes == SourceChanges(
        new_sources=1, gone_sources=1, new_items=items, gone_items=items, first_new=("a.png",)
    )
    with pytest.raises(RunConflict, match=r"1 new source \(a.png\), 1 source gone, "):
        submit(recipe(tmp_path), run_id="r", settings=settings, strict=True)
    assert keys_of(store) == before


def test_a_run_whose_sources_are_gone_goes_on_and_says_so(
    ledger: Ledger, settings: Settings, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes((photos / "astronaut.png").read_bytes())
    submit(recipe(tmp_path), run_id="r", settings=settings)
    (tmp_path / "a.png").unlink()
    ledger.redis.flushdb()
    handle = submit(recipe(tmp_path), run_id="r", settings=settings)
    assert handle.changes.unreadable.startswith("sources: nothing to read in")
    assert handle.status().snapshot.state is RunState.RUNNING


def test_another_recipe_under_the_same_run_id_is_refused(settings: Settings, photos: Path) -> None:
    submit(recipe(photos), run_id="r", settings=settings)
    with pytest.raises(RunConflict, match="--run-id"):
        submit(recipe(photos, seeds=3), run_id="r", settings=settings)


def test_a_submission_that_was_interrupted_goes_on(store: Store, settings: Settings, photos: Path) -> None:
    submit(recipe(photos), run_id="whole", settings=settings)
    submit(recipe(photos), run_id="r", settings=settings)
    for key in (RunKeys("r").sealed, RunKeys("r").shard(Stage.GENERATE, 0)):
        store.delete(key)
    submit(recipe(photos), run_id="r", settings=settings)
    assert items_of(store, "r") == items_of(store, "whole")


def test_sources_that_changed_during_an_interruption_are_noticed(
    store: Store, settings: Settings, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes((photos / "astronaut.png").read_bytes())
    submit(recipe(tmp_path), run_id="r", settings=settings)
    store.delete(RunKeys("r").sealed)
    (tmp_path / "a.png").write_bytes((photos / "cameraman.png").read_bytes())
    with pytest.raises(RunConflict, match="changed"):
        submit(recipe(tmp_path), run_id="r", settings=settings)


def test_a_run_that_redis_forgot_is_rebuilt_by_submitting_it_again(
    ledger: Ledger, settings: Settings, photos: Path
) -> None:
    submit(recipe(photos), run_id="r", settings=settings)
    ledger.redis.flushdb()
    assert submit(recipe(photos), run_id="r", settings=settings).status().snapshot.state is RunState.RUNNING


def test_bad_rows_are_kept_with_their_place_and_the_rest_is_planned(
    settings: Settings, photos: Path, tmp_path: Path
) -> None:
    good = {"source": str(photos / "astronaut.png"), "c": "green"}
    rows = write_manifest(tmp_path / "m.jsonl", good, "{broken", good | {"seed": "x"}, {"source": "missing.png"})
    handle = submit(recipe(rows), run_id="r", settings=settings)
    assert (handle.plan.sources, handle.plan.items, handle.plan.refused_rows) == (1, 2, 3)
    places = [failure.place for failure in handle.failures()]
    assert places == ["m.jsonl:2", "m.jsonl:3, column seed", "m.jsonl:4"]


def test_strict_refuses_the_run_at_the_first_bad_row_and_leaves_nothing_behind(
    store: Store, settings: Settings, photos: Path, tmp_path: Path
) -> None:
    good = [{"source": str(photos / "astronaut.png"), "prompt": f"p{number}"} for number in range(1500)]
    rows = write_manifest(tmp_path / "m.jsonl", *good, "{broken")
    with pytest.raises(RowError, match=r"m\.jsonl:1501"):
        submit(recipe(rows), run_id="r", strict=True, settings=settings)
    assert not [key for key in keys_of(store) if not key.startswith(("probe/", "store.json"))]
    write_manifest(rows, *good)
    assert submit(recipe(rows), run_id="r", strict=True, settings=settings).plan.items == 3000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompts": ["in {rooom}"]}, "names {rooom}"),
        ({"prompts": []}, "no prompt"),
        ({"sources": "list.txt"}, "list.txt is a text"),
        ({"sources": "open.csv"}, "the quote that line 2 opens is never closed"),
        ({"matrix": {"c": list(range(1000)), "d": list(range(1000))}, "prompts": ["{c} {d}"]}, "the limit is 1000000"),
    ],
    ids=["unknown column", "no prompt", "text", "open quote", "matrix"],
)
def test_a_mistake_of_the_recipe_leaves_nothing_behind(
    store: Store, settings: Settings, photos: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    (tmp_path / "list.txt").write_text("a.png\n")
    (tmp_path / "open.csv").write_text('source,prompt\na.png,"x\n')
    if "sources" in change:
        change = {"sources": str(tmp_path / change["sources"])}
    with pytest.raises(RecipeError, match=re.escape(message)):
        submit({**recipe(photos), **change}, run_id="r", settings=settings)
    assert not [key for key in keys_of(store) if not key.startswith(("probe/", "store.json"))]


def test_a_plan_says_what_the_scan_skipped(settings: Settings, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes((photos / "astronaut.png").read_bytes())
    (tmp_path / "._a.png").write_bytes(b"")
    plan = submit(recipe(tmp_path), run_id="r", settings=settings).plan
    assert [(one.reason, one.count, one.first) for one in plan.skipped] == [("apple_double", 1, "._a.png")]


def test_a_folder_without_pictures_is_an_error_and_leaves_no_run(
    store: Store, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match="nothing to read"):
        submit(recipe(tmp_path), run_id="r", settings=settings)
    assert not list(store.list("runs/"))


def test_pictures_below_an_s3_prefix_are_planned_where_they_are(store: Store, settings: Settings, photos: Path) -> None:
    store.put("in/a.png", (photos / "astronaut.png").read_bytes())
    store.put("in/notes.txt", b"no picture")
    submit(recipe(f"{store.url}/in/"), run_id="r", settings=settings)
    (source,) = sources_of(store, "r")
    assert source.uri == f"{store.url}/in/a.png"
    assert source.identity.startswith(f"{source.uri}#")


def test_rows_that_name_the_same_picture_share_its_detection(
    store: Store, settings: Settings, photos: Path, tmp_path: Path
) -> None:
    row = {"source": str(photos / "astronaut.png")}
    rows = write_manifest(tmp_path / "m.jsonl", row | {"prompt": "one"}, row | {"prompt": "two", "seed": 5})
    handle = submit(recipe(rows, seeds=1), run_id="r", settings=settings)
    assert (handle.plan.sources, handle.plan.items) == (1, 2)
    assert [(item.prompt, item.source_number) for item in items_of(store, "r")] == [("one", 0), ("two", 0)]
    assert items_of(store, "r")[1].seed == 5


def test_what_is_wanted_twice_is_made_once_and_counted(settings: Settings, photos: Path, tmp_path: Path) -> None:
    row = {"source": str(photos / "astronaut.png"), "prompt": "one", "seed": 5}
    rows = write_manifest(tmp_path / "m.jsonl", row, row, row | {"seed": 6})
    handle = submit(recipe(rows), run_id="r", settings=settings)
    assert (handle.plan.items, handle.plan.refused_rows) == (2, 0)
    assert (handle.plan.repeated_rows, handle.plan.repeated_items) == (1, 1)
    assert not list(handle.failures())
    twice = submit(recipe(photos, matrix={"c": ["red", "red", "blue"]}), run_id="twice", settings=settings)
    assert (twice.plan.items, twice.plan.repeated_items) == (8, 4)
    assert twice.status().failed == 0
    assert twice.status().snapshot.repeated_items == 4


def test_a_ready_made_control_image_needs_no_detection(
    store: Store, settings: Settings, photos: Path, tmp_path: Path
) -> None:
    rows = write_manifest(tmp_path / "m.jsonl", {"control_image": str(photos / "astronaut.png"), "c": "red"})
    handle = submit(recipe(rows), run_id="r", settings=settings)
    assert list(handle.plan.batches.values()) == [0, 1]
    assert items_of(store, "r")[0].control_image is not None


def test_cancelling_and_pausing_stand_in_storage_as_well(settings: Settings, photos: Path, ledger: Ledger) -> None:
    handle = submit(recipe(photos), run_id="r", settings=settings)
    handle.pause()
    ledger.redis.flushdb()
    handle.unpause()
    assert handle.status().snapshot.state is RunState.RUNNING
    handle.cancel()
    ledger.redis.flushdb()
    again = open_handle("r", settings)
    again.cancel()
    assert again.status().snapshot.state is RunState.CANCELLED
    again.resume()
    assert again.status().snapshot.state is RunState.RUNNING


def test_a_complete_run_is_not_cancelled_nor_paused_any_more(settings: Settings, photos: Path, ledger: Ledger) -> None:
    handle = submit(recipe(photos), run_id="r", settings=settings)
    finished_in_ledger(ledger, "r")
    handle.cancel()
    handle.pause()
    assert handle.status().snapshot.state is RunState.COMPLETE
    assert read_state(handle.store, "r").state is RunState.RUNNING


def finished_in_ledger(ledger: Ledger, run_id: str) -> None:
    """As if workers had made everything."""
    none_left = {Outcome.DONE: 1, Outcome.REJECTED: 0, Outcome.FAILED: 0}
    for stage in (Stage.DETECT, Stage.GENERATE):
        for batch in range(ledger.snapshot(run_id).stages[stage].batches):
            ledger.commit(run_id, stage, batch, none_left)
    assert ledger.complete(run_id)


def delete_run(store: Store, run_id: str) -> None:
    for info in list(store.list(RunKeys(run_id).root)):
        store.delete(info.key)


def test_a_deleted_run_that_is_submitted_again_begins_anew(
    store: Store, ledger: Ledger, settings: Settings, photos: Path
) -> None:
    submit(recipe(photos), run_id="r", settings=settings)
    finished_in_ledger(ledger, "r")
    delete_run(store, "r")
    snapshot = submit(recipe(photos), run_id="r", settings=settings).status().snapshot
    assert (snapshot.state, [counts.batches_done for counts in snapshot.stages.values()]) == (RunState.RUNNING, [0, 0])
    assert ledger.open_runs() == ["r"]


@pytest.mark.parametrize("look", [lambda handle: handle.status(), lambda handle: handle.wait(timeout_seconds=0)])
def test_a_deleted_run_is_no_run_whatever_the_ledger_says(
    store: Store, ledger: Ledger, settings: Settings, photos: Path, look: Callable[[RunHandle], object]
) -> None:
    handle = submit(recipe(photos), run_id="r", settings=settings)
    finished_in_ledger(ledger, "r")
    delete_run(store, "r")
    with pytest.raises(NotFound, match="holds no run 'r'"):
        look(handle)


def test_the_ledger_of_a_run_that_storage_holds_is_left_alone(ledger: Ledger, settings: Settings, photos: Path) -> None:
    handle = submit(recipe(photos), run_id="r", settings=settings)
    finished_in_ledger(ledger, "r")
    submit(recipe(photos), run_id="r", settings=settings)
    assert handle.wait(timeout_seconds=0).snapshot.state is RunState.COMPLETE


def test_workers_and_dispatcher_read_a_new_run_under_an_old_id(
    store: Store, ledger: Ledger, settings: Settings, photos: Path
) -> None:
    submit(recipe(photos), run_id="r", settings=settings)
    slices, plans = Slices(store), PlanReader(store)
    first = ledger.submission("r")
    plans.follow("r", first)
    old = slices.items(slices.run("r", first), 0), plans.run("r").recipe
    delete_run(store, "r")
    submit(recipe(photos, prompts=["another {c}"]), run_id="r", settings=settings)
    second = ledger.submission("r")
    plans.follow("r", second)
    assert second != first
    assert slices.items(slices.run("r", second), 0)[0].prompt == "another red" != old[0][0].prompt
    assert plans.run("r").recipe != old[1]

"""Old runs go, and what they alone used; whatever another run needs stays."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as property_settings
from hypothesis import strategies as st

from posemill.contract.keys import SUBMISSIONS, SWEEP, RunKeys, Stage, control_key, pose_key, source_key
from posemill.contract.records import (
    BatchRecord,
    ControlResult,
    Item,
    Outcome,
    Run,
    RunState,
    ShardHeader,
    Source,
    SourceResult,
    StoredObject,
    decode,
    encode,
    encode_shard,
)  # fmt: skip
from posemill.errors import RunConflict, TransientError, UnreadableRecord
from posemill.queue.ledger import Ledger
from posemill.queue.rebuild import rebuild
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.runs import turns
from producer.runs.listing import list_runs
from producer.runs.pruning import prune
from producer.runs.turns import Mark, submitting, sweeping
from producer.submitting.submission import submit
from tests.conftest import wait_until
from tests.planned import plan_run, write_records

AGES = timedelta(days=1)


def digest(name: str) -> str:
    return name.encode().hex().ljust(64, "0")


def shared(store: Store) -> set[str]:
    return {info.key for prefix in ("sources/", "controls/") for info in store.list(prefix)}


def make_run(store: Store, ledger: Ledger, run_id: str, sources: list[str], *, ready_made: list[str] = []) -> set[str]:  # noqa: B006
    """A run of which all is made; gives the shared objects that it uses."""
    plan_run(store, ledger, run_id)
    keys, used = RunKeys(run_id), [source_key(digest(name)) for name in (*sources, *ready_made)]
    rows = [Source(name=name, identity=digest(name), key=source_key(digest(name))) for name in sources]
    store.put(keys.shard(Stage.DETECT, 0), encode_shard(ShardHeader(first=0, rows=len(rows), needs=[]), rows))
    items = [Item(id=name, prompt="p", seed=1, control_image=Source(name=name, identity=digest(name),
             key=source_key(digest(name)))) for name in ready_made]  # fmt: skip
    store.put(keys.shard(Stage.GENERATE, 0), encode_shard(ShardHeader(first=0, rows=len(items), needs=[]), items))
    for stage in (Stage.DETECT, Stage.GENERATE):
        write_records(store, run_id, stage, [0, 1])
    results = []
    for number, name in enumerate(sources):
        drawn, note = control_key(digest(name)[:32]), pose_key(digest(name)[:32])
        used += [drawn, note]
        image, pose = (StoredObject(key=key, sha256="", etag="", size=1) for key in (drawn, note))
        control = ControlResult(kind="openpose", detector="d", image=image)
        results.append(
            SourceResult(source_number=number, name=name, outcome=Outcome.DONE, controls=[control], pose=pose)
        )
    record = BatchRecord(run_id=run_id, stage=Stage.DETECT, batch=0, attempt=1, worker="", finished_at="", made_with={},
                         results=results)  # fmt: skip
    store.put(keys.record(Stage.DETECT, 0), encode(record))
    for key in used:
        store.put_if_absent(key, b"x")
    rebuild(store, ledger, run_id)
    assert ledger.complete(run_id)
    return set(used)


@property_settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sets(st.sampled_from("abcdef"), max_size=4), st.booleans()), min_size=1, max_size=4))
def test_just_what_kept_runs_use_stays(store: Store, ledger: Ledger, runs: list[tuple[set[str], bool]]) -> None:
    for info in list(store.list("")):
        store.delete(info.key)
    needed: set[str] = set()
    for number, (names, is_kept) in enumerate(runs):
        used = make_run(
            store, ledger, f"{'new' if is_kept else 'old'}-{number}", sorted(names), ready_made=[f"m{number % 2}"]
        )
        needed |= used if is_kept else set()
    prune(store, ledger, older_than=AGES, pattern="old-*")
    assert shared(store) == needed
    assert {one.run_id for one in list_runs(store, ledger)} == {f"new-{n}" for n, run in enumerate(runs) if run[1]}


def test_a_dry_run_counts_what_the_removal_then_removes(store: Store, ledger: Ledger) -> None:
    make_run(store, ledger, "old", ["a", "b"])
    make_run(store, ledger, "new", ["b", "c"])
    store.put("sources/README.txt", b"a person's own")
    before = {info.key for info in store.list("")}
    asked: dict[str, Any] = {"older_than": AGES, "pattern": "old"}
    foreseen = prune(store, ledger, dry_run=True, **asked)
    assert {info.key for info in store.list("")} == before
    done = prune(store, ledger, **asked)
    assert msgspec.to_builtins(done) == msgspec.to_builtins(foreseen)
    assert (done.runs, done.sources, done.controls) == (["old"], 1, 2)
    left = [info for info in store.list("") if info.key.startswith(("runs/", "sources/", "controls/"))]
    assert done.kept_bytes == sum(info.size for info in left)
    assert "sources/README.txt" in shared(store), "what posemill never wrote stays"


def test_the_newest_runs_stay_however_old_and_so_do_those_that_go_on(store: Store, ledger: Ledger) -> None:
    for run_id in ("a", "b", "open"):
        make_run(store, ledger, run_id, [run_id])
    ledger.set_state("open", RunState.PAUSED)
    assert prune(store, ledger, older_than=AGES, keep_last=3).runs == []
    assert len(prune(store, ledger, older_than=AGES, keep_last=1, pattern="[ab]").runs) == 1
    prune(store, ledger, older_than=AGES)
    assert [one.run_id for one in list_runs(store, ledger)] == ["open"]


def test_while_a_run_detects_control_images_stay(store: Store, ledger: Ledger) -> None:
    make_run(store, ledger, "r", ["a"])
    store.put(control_key("ab" * 16), b"unused")
    store.delete(RunKeys("r").record(Stage.DETECT, 1))
    assert prune(store, ledger).controls_kept_for == "r"
    assert store.head(control_key("ab" * 16))
    store.put(RunKeys("r").state, b'{"state":"cancelled"}')
    assert prune(store, ledger).controls == 1


def test_of_a_run_that_cannot_be_read_nobody_knows_what_it_uses(store: Store, ledger: Ledger) -> None:
    make_run(store, ledger, "r", ["a"])
    store.put(RunKeys("r").shard(Stage.DETECT, 0), b"{\n{")
    store.put(source_key(digest("unused")), b"x")
    with pytest.raises(UnreadableRecord):
        prune(store, ledger)
    assert store.head(source_key(digest("unused")))
    assert store.head(SWEEP) is None


def test_a_sweep_gives_way_to_a_submission_and_to_one_that_was_cut_off(store: Store, ledger: Ledger) -> None:
    with submitting(store, "r"), pytest.raises(RunConflict, match="'r' is being submitted"):
        prune(store, ledger)
    prune(store, ledger)
    store.put(f"{SUBMISSIONS}killed/0.json", msgspec.json.encode(Mark(since=datetime.now(UTC))))
    with pytest.raises(RunConflict, match="submit it again under that id"):
        prune(store, ledger)


def test_a_submission_that_ends_well_takes_the_marks_of_those_that_were_cut_off_along(store: Store) -> None:
    store.put(f"{SUBMISSIONS}r/killed.json", msgspec.json.encode(Mark(since=datetime.now(UTC))))
    with pytest.raises(KeyError), submitting(store, "r"):
        raise KeyError
    assert [info.key for info in store.list(SUBMISSIONS)] == [f"{SUBMISSIONS}r/killed.json"], "one that fails does not"
    with submitting(store, "r"):
        pass
    assert list(store.list(SUBMISSIONS)) == []


def test_one_of_two_submissions_of_a_run_that_fails_leaves_the_other_s_mark(store: Store, ledger: Ledger) -> None:
    with submitting(store, "r"):
        with pytest.raises(KeyError), submitting(store, "r"):
            raise KeyError
        with pytest.raises(RunConflict, match="'r' is being submitted"):
            prune(store, ledger)


def test_a_sweep_renews_its_mark_while_it_goes_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "RENEW_SECONDS", 0.01)
    with sweeping(store):
        first = store.get(SWEEP)
        wait_until(lambda: store.get(SWEEP) != first)
    assert store.head(SWEEP) is None


def test_what_a_record_that_retry_set_aside_names_stays(store: Store, ledger: Ledger) -> None:
    used = make_run(store, ledger, "r", ["a"])
    keys = RunKeys("r")
    store.put(keys.superseded(Stage.DETECT, 0), store.get(keys.record(Stage.DETECT, 0)))
    store.delete(keys.record(Stage.DETECT, 0))
    store.put(keys.state, b'{"state":"cancelled"}')
    assert prune(store, ledger).controls == 0
    assert shared(store) == used


def test_marks_that_the_dead_left_are_passed_over_in_time(store: Store, ledger: Ledger) -> None:
    long_ago = msgspec.json.encode(Mark(since=datetime(2026, 1, 1, tzinfo=UTC)))
    store.put(f"{SUBMISSIONS}killed/0.json", long_ago)
    store.put(SWEEP, long_ago)
    store.put(source_key(digest("unused")), b"x")
    assert prune(store, ledger).sources == 1
    with submitting(store, "r", wait_seconds=0):
        pass


def test_a_submission_that_meets_a_sweep_waits_for_its_end(
    store: Store, settings: Settings, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "POLL_SECONDS", 0.01)
    recipe = {"sources": str(photos), "prompts": ["p"], "generate": {"model": "embedded"}}
    with sweeping(store):
        with pytest.raises(TransientError, match="posemill prune"), submitting(store, "r", wait_seconds=0):
            pass
        waiting = threading.Thread(target=submit, args=(recipe,), kwargs={"run_id": "r", "settings": settings})
        waiting.start()
        wait_until(lambda: list(store.list(f"{SUBMISSIONS}r/")))
        assert shared(store) == set(), "nothing is stored while the sweep goes on"
    waiting.join(60)
    assert len(shared(store)) == 2
    assert store.head(RunKeys("r").sealed)
    assert list(store.list(SUBMISSIONS)) == []


def judging(store: Store, run_id: str, judged: str) -> None:
    """Make a run one that judges the images of another."""
    keys = RunKeys(run_id)
    run = decode(store.get(keys.run), Run)
    store.put(keys.run, encode(msgspec.structs.replace(run, images_of=judged)))
    store.put(RunKeys(judged).judged_by(run_id), b"")


def test_a_run_whose_images_another_one_judges_goes_no_sooner_than_that(store: Store, ledger: Ledger) -> None:
    for run_id in ("first", "second", "third"):
        make_run(store, ledger, run_id, ["a"])
    judging(store, "second", "first")
    judging(store, "third", "second")
    for run_id in ("first", "second", "third"):
        rebuild(store, ledger, run_id)
        assert ledger.complete(run_id)
    dry = prune(store, ledger, older_than=AGES, pattern="[fs]*", dry_run=True)
    found = prune(store, ledger, older_than=AGES, pattern="[fs]*")
    assert (found.runs, sorted(found.kept_for_judges)) == (dry.runs, sorted(dry.kept_for_judges))
    assert (found.runs, sorted(found.kept_for_judges)) == ([], ["first", "second"])
    whole = prune(store, ledger, older_than=AGES)
    assert (whole.runs, whole.kept_for_judges) == (["third", "second", "first"], [])
    assert list(store.list("runs/")) == []

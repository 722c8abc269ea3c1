"""The loop is closed: an image that does not pass is made again, by a rule that always gives the same data set."""

import io
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pyarrow import parquet

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, Item, JudgedResult, Outcome, RunState, decode, decode_rows
from posemill.contract.rounds import next_try
from posemill.errors import BadInput
from posemill.processes.supervisor import Supervisor
from posemill.queue.ledger import Ledger
from posemill.queue.rebuild import read_layouts, rebuild
from posemill.settings import Settings
from posemill.storage.run_documents import read_plan, read_rounds, read_run
from posemill.storage.store import Store
from producer.exports.dataset import export_run
from producer.exports.proof import check_export
from producer.exports.samples.options import Form, Options
from producer.exports.writing.destinations import open_destination
from producer.runs.checking import check
from producer.runs.forgetting import forget
from producer.runs.handle import RunHandle
from producer.submitting.judging import judge_run
from producer.submitting.submission import submit
from tests.chaos.runs import chaos_workers, images, recipe, write_sources
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
Start = Callable[..., Supervisor]


@pytest.fixture
def start(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    for name in ("POSEMILL_LEASE_SECONDS", "POSEMILL_RESEND_SECONDS"):
        monkeypatch.setenv(name, "2")
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
    """48 items in six batches; three of ten images do not pass."""
    judged = {"tries": 3, "checks": [{"check": "pose"}]}
    return recipe(write_sources(tmp_path / "in", 12), seeds=2) | {"verify": judged}


def judged(store: Store, run_id: str) -> dict[str, tuple[str, Outcome, int]]:
    """Of every try that was judged: the item wanted, the outcome, and which try it was."""
    found = {}
    for info in store.list(RunKeys(run_id).records(Stage.VERIFY)):
        for result in decode(store.get(info.key), BatchRecord).judged:
            found[result.id] = (result.wanted_id, result.outcome, result.try_number)
    return found


def results(store: Store, run_id: str) -> Iterator[JudgedResult]:
    for info in store.list(RunKeys(run_id).records(Stage.VERIFY)):
        yield from decode(store.get(info.key), BatchRecord).judged


def planned(store: Store, run_id: str) -> list[Item]:
    shards = [store.get(info.key) for info in store.list(RunKeys(run_id).shards(Stage.GENERATE))]
    return [item for shard in shards for item in decode_rows(shard, Item)]


def test_what_does_not_pass_is_made_again_until_it_does_or_has_no_try_left(
    settings: Settings, store: Store, start: Start, wanted: dict[str, Any], tmp_path: Path
) -> None:
    start()
    handle = submit(wanted, run_id="loop", settings=settings)
    status = handle.wait(timeout_seconds=120)
    assert status.snapshot.state is RunState.COMPLETE
    found = judged(store, "loop")
    tries = Counter(try_number for _, _, try_number in found.values())
    again = Counter(try_number for _, outcome, try_number in found.values() if outcome is Outcome.AGAIN)
    assert tries[1] == handle.plan.items == 48
    assert (tries[2], tries[3]) == (again[1], again[2])
    assert again[1] > 0
    assert tries[4] == again[3] == 0
    final = {wish: outcome for wish, outcome, _ in found.values() if outcome is not Outcome.AGAIN}
    assert len(final) == 48, "every item has one final outcome"
    items = {item.id: item for item in planned(store, "loop")}
    assert all(next_try(item).id in items for item in items.values() if found[item.id][1] is Outcome.AGAIN)
    rounds = handle.rounds()
    assert [one.images for one in rounds] == [48, again[1], again[2]]
    assert {one.open for one in rounds} == {0}
    counts = status.snapshot.last
    assert (counts.done, counts.again) == (list(final.values()).count(Outcome.DONE), again.total())
    assert check(store, "loop", deep=True).faults == []
    run, steps = read_run(store, "loop"), read_rounds(store, read_run(store, "loop"))
    layout = read_layouts(store, run, read_plan(store, "loop"))[Stage.GENERATE]
    assert [step.read for step in steps] == list(range(layout.shards))
    assert layout.rows == len(found)
    assert sum(layout.rows_in(batch) < 8 for batch in layout.numbers()) <= 2, "the last batch of a round may be short"
    exported = export_run(store, "loop", str(tmp_path / "set"), Options(form=Form.IMAGEFOLDER))
    assert (exported.samples, exported.complete) == (counts.done, True)
    files = (tmp_path / "set").rglob("metadata.parquet")
    rows = [row for file in files for row in parquet.read_table(file).to_pylist()]
    assert Counter(row["tries"] for row in rows) == Counter(
        try_number for _, outcome, try_number in found.values() if outcome is Outcome.DONE
    )
    _is_shown(tmp_path / "set", store, exported.samples)


def _is_shown(folder: Path, store: Store, samples: int) -> None:
    """Each source once on the sheet, with scores and the tries that did not pass; what judges said in the report."""
    verdicts = list(results(store, "loop"))
    sheet, report = ((folder / name).read_text() for name in ("contact_sheet.html", "report.html"))
    titles = re.findall(r"<h3><bdi>(.*?)</bdi>", sheet)
    assert sorted(titles) == sorted({one.source_name for one in verdicts}), "a later try is no source of its own"
    shown = re.findall(r"<small>seed (\d+) · OKS (\d\.\d\d)(?:, try (\d))?", sheet)
    passed = {str(one.seed): one for one in verdicts if one.outcome is Outcome.DONE}
    assert {seed: (oks, attempt) for seed, oks, attempt in shown} == {
        seed: (f"{one.figures['pose']['oks_mean']:.2f}", str(one.try_number) if one.try_number > 1 else "")
        for seed, one in passed.items()
    }
    refused = sum(one.outcome is not Outcome.DONE for one in verdicts)
    assert sheet.count('alt="did not pass: ') == refused
    assert sheet.count('class="skeleton thin"') == samples
    first = [one for one in verdicts if one.try_number == 1]
    share = 100 * sum(one.outcome is Outcome.DONE for one in first) / len(first)
    assert f"{share:.0f} % of {len(first)}" in report.partition("Passed, by try")[2].partition("</table>")[0]
    assert f"of {len(verdicts)} images passed" in report
    worst = re.search(r"OKS (\d\.\d\d) · pose mismatch", report.partition("Furthest from their pose")[2])
    assert worst
    assert float(worst[1]) == pytest.approx(min(one.figures["pose"]["oks_mean"] for one in verdicts), abs=0.006)


def test_pairs_of_a_good_and_a_bad_image_are_read_by_the_training_script_and_keypoints_are_those_that_were_found(
    settings: Settings, store: Store, start: Start, wanted: dict[str, Any], tmp_path: Path
) -> None:
    start()
    submit(wanted, run_id="loop", settings=settings).wait(timeout_seconds=120)
    options = Options(form=Form.PREFERENCE, where="margin > 0.2")
    exported = export_run(store, "loop", str(tmp_path / "pairs"), options)
    table = parquet.read_table(next((tmp_path / "pairs").rglob("*.parquet")))
    rows = table.to_pylist()
    verdicts = {one.id: one for one in results(store, "loop")}
    worst: dict[str, float] = {}
    for one in verdicts.values():
        if one.outcome is Outcome.AGAIN:
            oks = one.figures["pose"]["oks_mean"]
            worst[one.wanted_id] = min(oks, worst.get(one.wanted_id, 1.0))
    passed = {one.id: one for one in verdicts.values() if one.outcome is Outcome.DONE and one.wanted_id in worst}
    wide = {name for name, one in passed.items() if one.figures["pose"]["oks_mean"] - worst[one.wanted_id] > 0.2}
    assert exported.samples == len(rows) == len(wide) > 0
    assert {row["label_0"] for row in rows} == {0, 1}, "where the good one stands teaches nothing"
    stored = images(store, "loop")
    for row in rows:
        good, bad = verdicts[row["item_id"]], verdicts[row["rejected_id"]]
        assert (good.wanted_id, good.prompt, good.source_number) == (bad.wanted_id, bad.prompt, bad.source_number)
        assert row["margin"] == pytest.approx(
            good.figures["pose"]["oks_mean"] - bad.figures["pose"]["oks_mean"], abs=1e-3
        )
        sides = [row["jpg_0"], row["jpg_1"]] if row["label_0"] == 1 else [row["jpg_1"], row["jpg_0"]]
        assert [sha256(side) for side in sides] == [stored[f"{one.id[:2]}/{one.id}.png"] for one in (good, bad)]
        assert row["caption"] == good.prompt
        assert all(Image.open(io.BytesIO(row[name])).convert("RGB") for name in ("jpg_0", "jpg_1"))
    assert check_export(open_destination(str(tmp_path / "pairs")), store, "loop").faults == []

    export_run(store, "loop", str(tmp_path / "found"), Options(form=Form.PARQUET, relabel=True))
    found = parquet.read_table(next((tmp_path / "found").rglob("*.parquet"))).to_pylist()
    for row in found:
        place = verdicts[row["item_id"]].figures["pose"]["oks_mean"] * row["width"]
        (person,) = json.loads(row["coco_keypoints"])
        assert person["keypoints"][0] == pytest.approx(place, abs=0.1), "the judge's nose, and not the control's"
        assert json.loads(row["openpose"]) == json.loads(row["found_keypoints"])


def test_images_that_are_not_to_be_kept_are_gone_and_the_run_is_whole_without_them(
    settings: Settings, store: Store, start: Start, wanted: dict[str, Any], tmp_path: Path
) -> None:
    start()
    wanted["verify"]["keep_rejects"] = False
    wanted["verify"]["tries"] = 2
    submit(wanted, run_id="loop", settings=settings).wait(timeout_seconds=120)
    verdicts = list(results(store, "loop"))
    passed = {one.id for one in verdicts if one.outcome is Outcome.DONE}
    refused = [one for one in verdicts if one.outcome is Outcome.REJECTED]
    assert refused, "somebody must have been refused twice"
    assert {name[3:].removesuffix(".png") for name in images(store, "loop")} == passed
    assert check(store, "loop", deep=True).faults == []
    assert export_run(store, "loop", str(tmp_path / "set")).samples == len(passed)
    by_id = {one.id: one for one in verdicts}
    for one in refused:
        tries = [other for other in verdicts if other.wanted_id == one.wanted_id]
        assert one.best
        assert by_id[one.best.id].figures["pose"]["oks_mean"] == pytest.approx(
            max(other.figures["pose"]["oks_mean"] for other in tries), abs=1e-3
        )
    again = judge_run("loop", settings=settings)
    again.wait(timeout_seconds=60)
    seen = {one.wanted_id: one.outcome for one in results(store, again.id)}
    assert seen == {one.wanted_id: one.outcome for one in verdicts if one.outcome is not Outcome.AGAIN}


def test_pairs_and_found_keypoints_need_a_judge_of_poses(
    settings: Settings, store: Store, start: Start, wanted: dict[str, Any], tmp_path: Path
) -> None:
    del wanted["verify"]
    submit(wanted, run_id="plain", settings=settings)
    for options in (Options(form=Form.PREFERENCE), Options(relabel=True)):
        with pytest.raises(BadInput, match="posemill verify plain"):
            export_run(store, "plain", str(tmp_path / "set"), options)


def test_two_runs_of_which_one_is_under_fire_end_with_the_same_images_in_the_same_places(
    settings: Settings, store: Store, ledger: Ledger, start: Start, wanted: dict[str, Any]
) -> None:
    workers = start(generate=2)
    fire = submit(wanted, run_id="fire", settings=settings)
    for batches in (1, 3, 5, 7, 8):
        wait_until(lambda: _is_over(fire) or fire.status().snapshot.last.batches_done >= batches)  # noqa: B023
        for name in ("detect-0", "generate-0"):
            if pid := workers.pid(name):
                os.kill(pid, signal.SIGKILL)
        if batches == 5:
            rebuild(store, ledger, "fire")
    assert fire.wait(timeout_seconds=180).snapshot.state is RunState.COMPLETE
    submit(wanted, run_id="calm", settings=settings).wait(timeout_seconds=120)
    assert planned(store, "fire") == planned(store, "calm")
    assert judged(store, "fire") == judged(store, "calm")
    assert images(store, "fire") == images(store, "calm")
    assert len(images(store, "fire")) == len(judged(store, "fire")) > 48
    assert check(store, "fire", deep=True).faults == []


def test_a_redis_that_forgot_everything_between_two_rounds_is_told_by_storage(
    settings: Settings, store: Store, ledger: Ledger, start: Start, wanted: dict[str, Any], tmp_path: Path
) -> None:
    start()
    handle = submit(wanted, run_id="lost", settings=settings)
    wait_until(lambda: any(True for _ in store.list(RunKeys("lost").rounds)))
    ledger.redis.flushdb()
    handle.resume()
    assert handle.wait(timeout_seconds=120).snapshot.state is RunState.COMPLETE
    assert check(store, "lost").faults == []
    photograph = str(min((tmp_path / "in").iterdir()))
    assert forget(store, ledger, photograph).runs == ["lost"]
    counts = handle.status().snapshot.last
    assert counts.done + counts.rejected == 48, "every item has one outcome still"
    assert check(store, "lost").faults == []


def _is_over(handle: RunHandle) -> bool:
    return handle.status().snapshot.state is RunState.COMPLETE

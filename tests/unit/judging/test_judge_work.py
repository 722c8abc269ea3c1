"""The verify stage's own part: what is looked at, what is passed on, and what a judgement becomes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from PIL import Image

from posemill.catalogue.checks import Option
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import (
    BatchRecord,
    BestTry,
    CheckSpec,
    Item,
    ItemResult,
    JudgedResult,
    Outcome,
    Run,
    ShardHeader,
    Slicing,
    VerifySpec,
    encode,
    encode_shard,
)
from posemill.contract.rounds import next_try
from posemill.errors import TransientError
from posemill.pictures.poses import Person, Pose
from tests.memory_store import MemoryStore
from tests.planned import make_run
from tests.small_pictures import picture
from workers.batches.plan_reader import Slices
from workers.judging.check import ItemFacts, Judgement, Models
from workers.judging.judge_work import JudgeWork, on_canvas

RUN = "r"
POINT = (0.25, 0.25, 0.9)


class Says:
    """A check that says what it is told, and remembers whom it saw."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.seen: list[str] = []

    @classmethod
    def load(cls, options: Mapping[str, Option], models: Models) -> Self:
        return cls()

    def judge(self, picture: Image.Image, facts: ItemFacts) -> Judgement:
        self.seen.append(facts.prompt)
        passed = facts.prompt not in self.refused
        return Judgement(passed=passed, reason=None if passed else "not_so", figures={"value": 1 / 3})


def judged_run(*checks: str, tries: int = 2) -> Run:
    slicing = {stage: Slicing(batch_size=4, shard_size=4) for stage in Stage}
    verify = VerifySpec(checks=tuple(CheckSpec(check=check) for check in checks), tries=tries)
    return msgspec.structs.replace(make_run(RUN), slicing=slicing, verify=verify)


def filled(run: Run, *, without_record: bool = False) -> MemoryStore:
    """Three images, of which one is a second try, and an item that has none."""
    store, keys = MemoryStore(), RunKeys(RUN)
    items = [
        Item(id="a", prompt="good", seed=1), Item(id="b", prompt="bad", seed=2),
        Item(id="c", prompt="bad", seed=3, wanted="z", try_number=2), Item(id="d", prompt="none", seed=4),
    ]  # fmt: skip
    store.put(keys.run, encode(run))
    store.put(keys.shard(Stage.GENERATE, 0), encode_shard(ShardHeader(first=0, rows=4, needs=[[]]), items))
    made: list[ItemResult] = []
    for item in items[:3]:
        image = store.put(keys.image(item.id), picture(item.seed))
        made.append(ItemResult(id=item.id, outcome=Outcome.DONE, image=image, width=8, height=8))
    made.append(ItemResult(id="d", outcome=Outcome.REJECTED, reason="no_person", message="nobody"))
    record = BatchRecord(run_id=RUN, stage=Stage.GENERATE, batch=0, attempt=1, worker="w", finished_at="",
                         made_with={}, results=made)  # fmt: skip
    if not without_record:
        store.put(keys.record(Stage.GENERATE, 0), encode(record))
    return store


def results(run: Run, store: MemoryStore, checks: dict[str, Says], kept: Any = None) -> dict[str, JudgedResult]:
    work = JudgeWork(store, Slices(store), load_check=lambda spec, _: checks[spec.check])
    found = work.save(run, work.compute(run, work.load(run, 0, kept)))
    return {result.id: result for result in found}


def test_a_refused_image_comes_again_while_it_has_tries_and_is_rejected_then() -> None:
    run = judged_run("first")
    found = results(run, filled(run), {"first": Says("bad")})
    assert {name: (one.outcome, one.reason) for name, one in found.items()} == {
        "a": (Outcome.DONE, ""),
        "b": (Outcome.AGAIN, "not_so"),
        "c": (Outcome.REJECTED, "not_so"),
        "d": (Outcome.REJECTED, "no_person"),
    }
    assert (found["c"].wanted_id, found["c"].try_number, found["b"].wanted_id) == ("z", 2, "b")
    assert found["a"].figures == {"first": {"value": 0.3333}}
    assert found["d"].message == "nobody"


def test_what_one_check_has_refused_no_later_one_looks_at() -> None:
    run = judged_run("first", "second")
    second = Says("good")
    found = results(run, filled(run), {"first": Says("bad"), "second": second})
    assert second.seen == ["good"]
    assert (found["a"].reason, set(found["a"].figures), set(found["b"].figures)) == (
        "not_so", {"first", "second"}, {"first"}
    )  # fmt: skip


def test_judgements_that_stand_are_kept_but_for_failed_ones() -> None:
    run = judged_run("first")
    old = [JudgedResult(id="a", outcome=Outcome.FAILED), JudgedResult(id="b", outcome=Outcome.DONE)]
    kept = BatchRecord(run_id=RUN, stage=Stage.VERIFY, batch=0, attempt=1, worker="w", finished_at="",
                       made_with={}, results=old)  # fmt: skip
    check = Says("bad")
    found = results(run, filled(run), {"first": check}, kept)
    assert check.seen == ["good", "bad"]
    assert (found["a"].outcome, found["b"].outcome) == (Outcome.DONE, Outcome.DONE)


def test_an_image_that_is_gone_or_changed_fails_alone() -> None:
    run = judged_run("first")
    store = filled(run)
    store.delete(RunKeys(RUN).image("a"))
    found = results(run, store, {"first": Says()})
    assert [found[name].outcome for name in "abc"] == [Outcome.FAILED, Outcome.DONE, Outcome.DONE]
    assert found["a"].message


def test_a_batch_that_is_not_made_yet_is_put_off() -> None:
    run = judged_run("first")
    with pytest.raises(TransientError, match="cannot be judged"):
        results(run, filled(run, without_record=True), {"first": Says()})


@pytest.mark.parametrize(
    ("control", "size", "wanted"),
    [
        ((512, 512), (256, 256), (0.25, 0.25)),
        ((512, 512), (1024, 512), (0.375, 0.25)),
        ((100, 200), (200, 200), (0.375, 0.25)),
        ((200, 100), (200, 200), (0.25, 0.375)),
    ],
    ids=["same shape", "bars left and right", "narrow", "bars above and below"],
)
def test_a_pose_lies_where_its_control_image_lies_on_the_picture(
    control: tuple[int, int], size: tuple[int, int], wanted: tuple[float, float]
) -> None:
    pose = Pose(width=control[0], height=control[1], people=(Person(body=(POINT, *[None] * 17)),))
    moved = on_canvas(pose, control, size)
    point = moved.people[0].body[0]
    assert point is not None
    assert point[:2] == pytest.approx(wanted)
    assert (moved.width, moved.height, moved.people[0].body[1]) == (*size, None)


def test_the_check_that_the_documents_show_works_as_it_stands() -> None:
    text = (Path(__file__).parents[3] / "docs/verifying.md").read_text()
    shown: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], shown)
    check = shown["Bright"].load({}, Models())
    dark, light = (check.judge(Image.new("RGB", (8, 8), (grey,) * 3), ItemFacts()) for grey in (10, 200))
    assert (dark.passed, dark.reason, light.passed, light.figures) == (False, "too_dark", True, {"mean": 200.0})


class Near(Says):
    """Refuses everything; how near each came is its picture's number."""

    def judge(self, picture: Any, facts: ItemFacts) -> Judgement:
        return Judgement(passed=False, reason="far", score=float(facts.prompt))


@pytest.mark.parametrize(
    ("before", "prompt", "best"),
    [
        pytest.param(None, "0.4", ("c", 2, 0, 0.4), id="the first that is judged"),
        pytest.param((0, 0.3), "0.4", ("c", 2, 0, 0.4), id="nearer than the one before"),
        pytest.param((0, 0.4), "0.4", ("first", 1, 0, 0.4), id="of two alike the earlier"),
        pytest.param((1, 0.1), "0.4", ("first", 1, 1, 0.1), id="one that passed more checks"),
    ],
)
def test_the_best_of_the_tries_that_did_not_pass_is_kept_in_mind(
    before: tuple[int, float] | None, prompt: str, best: tuple[str, int, int, float]
) -> None:
    earlier = BestTry(id="first", try_number=1, passed=before[0], score=before[1]) if before else None
    item = Item(id="c", prompt=prompt, seed=3, wanted="first", try_number=2, best=earlier)
    run, store = judged_run("near"), MemoryStore()
    image = store.put(RunKeys(RUN).image("c"), picture(3))
    made = ItemResult(id="c", outcome=Outcome.DONE, image=image, width=8, height=8)
    store.put(RunKeys(RUN).run, encode(run))
    store.put(RunKeys(RUN).shard(Stage.GENERATE, 0), encode_shard(ShardHeader(first=0, rows=1, needs=[[]]), [item]))
    record = BatchRecord(run_id=RUN, stage=Stage.GENERATE, batch=0, attempt=1, worker="w", finished_at="",
                         made_with={}, results=[made])  # fmt: skip
    store.put(RunKeys(RUN).record(Stage.GENERATE, 0), encode(record))
    (found,) = results(run, store, {"near": Near("")}).values()
    assert found.best is not None
    assert (found.best.id, found.best.try_number, found.best.passed, found.best.score) == best
    assert next_try(item, found.best).best == found.best, "it goes on with the next try"


def test_images_that_did_not_pass_are_removed_where_they_are_not_wanted() -> None:
    run = judged_run("first")
    assert run.verify
    run = msgspec.structs.replace(run, verify=msgspec.structs.replace(run.verify, keep_rejects=False))
    store = filled(run)
    work = JudgeWork(store, Slices(store), load_check=lambda *_: Says("bad"))
    found = work.save(run, work.compute(run, work.load(run, 0, None)))
    record = BatchRecord(run_id=RUN, stage=Stage.VERIFY, batch=0, attempt=1, worker="w", finished_at="",
                         made_with={}, results=found)  # fmt: skip
    for _ in range(2):  # somebody may have died in between
        work.recorded(run, record)
        left = {info.key for info in store.list(RunKeys(RUN).images)}
        assert left == {RunKeys(RUN).image("a")}

"""Rows become items, items become shards: the same rows always the same ones."""

from datetime import date
from pathlib import Path

import msgspec
import pytest

from posemill.contract.keys import Stage
from posemill.contract.records import Run, Source, encode_shard, slicing_for
from posemill.errors import RowError
from producer.recipes.recipe import parse_recipe
from producer.sources.rows import Candidate, Row
from producer.submitting.planning import Expander, Planner, Shard
from tests.planned import make_run


def run_of(*, detect: int = 2, generate: int = 3) -> Run:
    """A run whose batches have these sizes, four of them a shard."""
    slices = {
        stage: msgspec.structs.replace(slicing_for(size), shard_size=4 * size)
        for stage, size in ((Stage.DETECT, detect), (Stage.GENERATE, generate))
    }
    return msgspec.structs.replace(make_run("r"), slicing=slices)


def source(number: int = 0) -> Source:
    return Source(name=f"{number}.png", identity=f"digest {number}", key=f"sources/{number}")


def row(**more) -> Row:
    return Row(place="m.csv:2", source=Candidate(name="0.png", path=Path("0.png")), **more)


def expander(*, run: Run | None = None, **recipe) -> Expander:
    return Expander(parse_recipe({"sources": "photos/", **recipe}), run or run_of())


def items_of(one_row: Row | None = None, *, run: Run | None = None, **recipe):
    return list(expander(run=run, **recipe).items(one_row or row(), source(), 0))


def shards_of(sources: int, items_a_source: int, *, run: Run | None = None) -> list[Shard]:
    """All shards of a plan in which each source has so many items."""
    run = run or run_of()
    planner, makes = Planner(run), expander(run=run, prompts=["p"], seeds=items_a_source)
    shards = []
    for number in range(sources):
        shards += planner.add_row(row(), source(number), makes)
        shards += planner.shards()
    return [*shards, *planner.shards(last=True)]


def test_a_row_gives_each_prompt_each_matrix_value_and_each_seed():
    items = items_of(prompts=["in {room}", "plain"], matrix={"room": ["a", "b"]}, seeds=[5, 6])
    assert [(item.prompt, item.seed) for item in items] == [
        ("in a", 5), ("in a", 6), ("in b", 5), ("in b", 6), ("plain", 5), ("plain", 6),
    ]  # fmt: skip
    assert [item.columns for item in items] == [{"room": "a"}] * 2 + [{"room": "b"}] * 2 + [{}] * 2


def test_a_rows_own_prompt_replaces_the_recipes_and_is_taken_literally():
    (item,) = items_of(row(prompt="a {room}"), prompts=["x", "y"], matrix={"room": ["a", "b"]})
    assert (item.prompt, item.columns) == ("a {room}", {})


def test_a_rows_own_seed_replaces_the_recipes():
    assert [item.seed for item in items_of(row(seed=9), prompts=["p"], seeds=4)] == [9]


def test_a_rows_own_column_hides_the_matrix():
    items = items_of(row(columns={"room": "attic"}), prompts=["in {room}"], matrix={"room": ["a", "b"]})
    assert [item.prompt for item in items] == ["in attic"]


@pytest.mark.parametrize(("own", "used"), [(None, "blurry"), ("", ""), ("dark", "dark")])
def test_a_rows_own_negative_prompt_replaces_the_recipes_even_when_empty(own, used):
    generate = {"model": "embedded", "negative_prompt": "blurry"}
    assert items_of(row(negative_prompt=own), prompts=["p"], generate=generate)[0].negative_prompt == used


def test_a_prompt_that_names_a_missing_column_says_file_line_and_column():
    with pytest.raises(RowError, match=r"^m\.csv:2, column room: the prompt names \{room\}") as raised:
        items_of(prompts=["in {room}"])
    assert raised.value.place == "m.csv:2, column room"


def test_a_row_without_any_prompt_is_refused():
    with pytest.raises(RowError, match=r"^m\.csv:2: no prompt"):
        items_of()


@pytest.mark.parametrize(
    ("more", "recipe"),
    [
        pytest.param({}, {"prompts": ["a", "{x}"], "matrix": {"x": [1, 2, 3]}, "seeds": 5}, id="matrix"),
        pytest.param({"prompt": "own"}, {"seeds": [1, 2]}, id="own prompt"),
        pytest.param({"seed": 3}, {"prompts": ["a", "b"], "seeds": 9}, id="own seed"),
    ],
)
def test_counting_items_counts_those_that_are_made(more, recipe):
    assert expander(**recipe).wanted(row(**more)) == len(items_of(row(**more), **recipe))


def test_derived_seeds_are_repeatable_and_differ_by_image_prompt_source_and_base():
    def seeds(number=0, **recipe):
        made = expander(**{"prompts": ["a", "b"], "seeds": 50, **recipe})
        return [item.seed for item in made.items(row(), source(number), 0)]

    assert seeds()[:3] == [3536994577, 3414733608, 2809866617], "others would make every item anew"
    assert len({*seeds(), *seeds(number=1), *seeds(seed=1)}) == 300
    assert all(0 <= seed < 2**32 for seed in seeds())


def test_more_images_keep_the_seeds_of_the_first():
    few, many = items_of(prompts=["p"], seeds=3), items_of(prompts=["p"], seeds=5)
    assert [item.id for item in many[:3]] == [item.id for item in few]


def test_a_ready_made_control_image_belongs_to_no_source():
    (item,) = expander(prompts=["p"]).items(Row(place="x"), source(), None)
    assert (item.source_number, item.control_image) == (None, source())


def changed(**changes) -> Run:
    """A run with these values changed in its control, its ControlNet or its pipeline."""
    run = run_of()
    nets = tuple(_changed(net, changes) for net in run.generate.controlnets)
    generate = msgspec.structs.replace(_changed(run.generate, changes), controlnets=nets)
    detects = tuple(_changed(spec, changes) for spec in run.detects)
    return msgspec.structs.replace(run, detects=detects, generate=generate)


def _changed(spec, changes):
    here = {name: value for name, value in changes.items() if name in spec.__struct_fields__}
    return msgspec.structs.replace(spec, **here)


@pytest.mark.parametrize(
    "change",
    [
        {"base": "b"}, {"controlnet": "c"}, {"base_revision": "r"}, {"controlnet_revision": "r"}, {"scheduler": "ddim"},
        {"num_inference_steps": 21}, {"guidance_scale": 7.6}, {"controlnet_conditioning_scale": 0.5},
        {"width": 512, "height": 512}, {"resolution": 256}, {"safety_checker": True},
        {"detector": "openpose"}, {"weights": "w"}, {"revision": "r"}, {"include_hand": True}, {"include_face": True},
        {"detect_resolution": 256}, {"image_resolution": 256}, {"min_score": 0.5}, {"limit_pixels": 5},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_an_items_id_changes_with_every_setting_that_changes_the_picture(change):
    run = changed(**change)
    assert run != run_of()
    assert items_of(run=run, prompts=["p"], seeds=[1])[0].id != items_of(prompts=["p"], seeds=[1])[0].id


@pytest.mark.parametrize(
    "own", [{"prompt": "q"}, {"negative_prompt": "q"}, {"seed": 2}], ids=["prompt", "negative prompt", "seed"]
)
def test_an_items_id_changes_with_what_its_row_says(own):
    assert items_of(row(**own), prompts=["p"], seeds=[1])[0].id != items_of(prompts=["p"], seeds=[1])[0].id


def test_an_items_id_changes_with_its_sources_bytes_but_not_with_their_name():
    made = expander(prompts=["p"], seeds=[1])
    (plain,) = made.items(row(), source(), 0)
    (renamed,) = made.items(row(), msgspec.structs.replace(source(), name="z", key="k"), 7)
    (other,) = made.items(row(), source(1), 0)
    assert plain.id == renamed.id != other.id


def test_an_items_id_does_not_know_the_models_name():
    assert items_of(run=changed(model="mine"), prompts=["p"])[0].id == items_of(prompts=["p"])[0].id


@pytest.mark.parametrize("batch_size", [1, 3, 8, 256, 999, 1000, 5000])
def test_a_shard_holds_whole_batches_and_about_a_thousand_rows(batch_size):
    cut = slicing_for(batch_size)
    assert cut.shard_size % batch_size == 0
    assert cut.shard_size == batch_size if batch_size > 500 else 750 <= cut.shard_size <= 1000


def test_shards_hold_every_row_once_in_order():
    shards = shards_of(sources=21, items_a_source=4)
    for stage, rows, size in ((Stage.DETECT, 21, 8), (Stage.GENERATE, 84, 12)):
        cut = [shard for shard in shards if shard.stage is stage]
        assert [shard.number for shard in cut] == list(range(-(-rows // size)))
        assert [shard.header.first for shard in cut] == list(range(0, rows, size))
        assert all(shard.header.rows == len(shard.rows) == size for shard in cut[:-1])
        assert sum(len(shard.rows) for shard in cut) == rows
    items = [item for shard in shards if shard.stage is Stage.GENERATE for item in shard.rows]
    assert [item.source_number for item in items] == [number for number in range(21) for _ in range(4)]


def test_each_batch_needs_exactly_the_detect_batches_of_its_items():
    for shard in shards_of(sources=21, items_a_source=4):
        if shard.stage is Stage.DETECT:
            assert shard.header.needs == []
            continue
        batches = [shard.rows[start : start + 3] for start in range(0, len(shard.rows), 3)]
        assert shard.header.needs == [sorted({item.source_number // 2 for item in batch}) for batch in batches]
        assert all(shard.header.needs)


def test_ready_made_control_images_wait_for_nothing():
    planner = Planner(run_of())
    control = Row(place="x", control_image=Candidate(name="0.png", path=Path("0.png")))
    list(planner.add_row(control, source(), expander(prompts=["p"], seeds=3)))
    (shard,) = planner.shards(last=True)
    assert shard.header.needs == [[]]


def test_the_same_rows_plan_to_the_same_bytes():
    def written():
        return [encode_shard(shard.header, shard.rows) for shard in shards_of(sources=9, items_a_source=5)]

    assert written() == written()


def test_full_shards_are_given_out_at_once_and_not_again():
    planner = Planner(run_of(detect=1))
    for number in range(9):
        planner.add_source(source(number))
    assert [len(shard.rows) for shard in planner.shards()] == [4, 4]
    assert list(planner.shards()) == []
    assert planner.add_source(source(9)) == 9
    assert [len(shard.rows) for shard in planner.shards(last=True)] == [2]


def test_the_plan_counts_what_was_cut_and_what_was_refused():
    planner = Planner(run_of())
    for number in range(4):
        planner.add_source(source(number))
    cut = list(planner.add_row(row(), source(4), expander(prompts=["p"], seeds=7)))
    refused = planner.refuse(RowError("no prompt", place="m.csv:9"))
    assert len([*cut, *planner.shards(last=True)]) == 2
    assert (refused.place, refused.message) == ("m.csv:9", "m.csv:9: no prompt")
    plan = planner.plan()
    assert (list(plan.rows.values()), list(plan.batches.values()), plan.refused_rows) == ([5, 7], [3, 3], 1)


def test_a_rows_caption_is_kept_for_training_and_changes_no_identity():
    (captioned,) = items_of(row(columns={"caption": "a chef, seen"}), prompts=["in a room"])
    (plain,) = items_of(row(), prompts=["in a room"])
    assert captioned.columns == {"caption": "a chef, seen"}
    assert (captioned.id, captioned.seed, plain.columns) == (plain.id, plain.seed, {})


def planned(rows: list[Row], *, run: Run | None = None, **recipe):
    """The items of these rows, all of one source, and the totals."""
    planner, makes = Planner(run or run_of()), expander(run=run, **recipe)
    shards = [shard for one in rows for shard in planner.add_row(one, source(), makes)]
    shards += planner.shards(last=True)
    return [item for shard in shards if shard.stage is Stage.GENERATE for item in shard.rows], planner


@pytest.mark.parametrize(
    ("recipe", "prompts", "repeated"),
    [
        pytest.param({"prompts": ["{c}"], "matrix": {"c": ["red", "red", "blue"]}}, ["red", "blue"], 1, id="value"),
        pytest.param({"prompts": ["{c}"], "matrix": {"c": [1, "1"]}}, ["1"], 1, id="number and text"),
        pytest.param({"prompts": ["a {c}", "a red"], "matrix": {"c": ["red"]}}, ["a red"], 1, id="templates that meet"),
        pytest.param({"prompts": ["p", "p"]}, ["p"], 1, id="prompt"),
        pytest.param({"prompts": ["p"], "seeds": [3, 3, 4]}, ["p", "p"], 1, id="seed"),
        pytest.param({"prompts": ["p", "p"], "seeds": [3, 3]}, ["p"], 3, id="both"),
    ],
)
def test_a_row_makes_an_item_once_however_often_it_names_it(recipe, prompts, repeated):
    items, planner = planned([row()], **recipe)
    assert [item.prompt for item in items] == prompts
    assert (planner.repeated_items, planner.repeated_rows) == (repeated, 0)
    assert len({item.id for item in items}) == len(items)


def test_a_row_whose_items_are_all_planned_is_counted_and_none_is_refused():
    items, planner = planned([row(seed=1), row(seed=2), row(seed=1)], prompts=["a", "b"])
    assert len(items) == 4
    assert (planner.repeated_rows, planner.repeated_items, planner.refused) == (1, 2, 0)
    assert planner.first_repeated == ["m.csv:2"]


def test_of_a_row_that_is_partly_planned_the_rest_is_planned():
    items, planner = planned([row(columns={"x": "a"}), row()], prompts=["{x}", "c"], matrix={"x": ["a", "b"]})
    assert [item.prompt for item in items] == ["a", "c", "b"]
    assert (planner.repeated_rows, planner.repeated_items) == (0, 2)


def test_a_row_of_many_items_fills_shards_while_it_is_read():
    planner, makes = Planner(run_of()), expander(prompts=["p"], seeds=50)
    shards = planner.add_row(row(), source(), makes)
    assert len(next(shards).rows) == 12
    assert planner.plan().items == 12


@pytest.mark.parametrize(
    ("value", "text"),
    [(7.0, "7"), (0.5, "0.5"), (3, "3"), (True, "true"), ("007", "007"), (date(2024, 1, 2), "2024-01-02")],
    ids=str,
)
def test_a_columns_value_is_the_text_that_it_means(value, text):
    (item,) = items_of(row(columns={"x": value, "caption": value}), prompts=["in {x}"])
    assert (item.prompt, item.columns) == (f"in {text}", {"x": text, "caption": text})


@pytest.mark.parametrize("value", [["a"], {"en": "a"}, b"a", "a\0b", "\ud800"], ids=repr)
@pytest.mark.parametrize("column", ["x", "caption"])
def test_what_is_no_text_is_refused_and_not_printed_as_python_does(value, column):
    with pytest.raises(RowError, match=rf"^m\.csv:2, column {column}: ") as raised:
        items_of(row(columns={"x": "fine", column: value}), prompts=["in {x}"])
    str(raised.value).encode()

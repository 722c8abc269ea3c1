"""Records come back as they were written, and a batch finds its rows in its shard."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posemill.contract.keys import RunKeys, Stage, batch_of
from posemill.contract.records import (
    BatchRecord,
    Item,
    ItemResult,
    Outcome,
    Plan,
    ShardHeader,
    Slicing,
    Source,
    SourceResult,
    StoredObject,
    decode,
    decode_header,
    decode_lines,
    decode_rows,
    encode,
    encode_shard,
)
from tests.planned import by_stage

SLICING = Slicing(batch_size=4, shard_size=12)
PROMPT = "line\nbreak\r, \x85, \u2028 and \u2029, \0, 厨师 👩‍🍳"  # all that str.splitlines would cut at


def record(**more) -> BatchRecord:
    values = {"run_id": "r", "stage": Stage.GENERATE, "batch": 3, "attempt": 1, "worker": "w", "finished_at": "now"}
    return BatchRecord(**values, made_with={"device": "cpu"}, **more)


@pytest.mark.parametrize(
    ("batch", "place"),
    [(0, (0, slice(0, 4))), (2, (0, slice(8, 12))), (3, (1, slice(0, 4))), (7, (2, slice(4, 8)))],
)
def test_a_batch_is_a_slice_of_its_shard(batch, place):
    assert SLICING.place(batch) == place


@pytest.mark.parametrize(("rows", "batches"), [(0, 0), (1, 1), (4, 1), (5, 2), (12, 3), (13, 4)])
def test_the_last_batch_may_be_short(rows, batches):
    assert SLICING.batches(rows) == batches
    assert sum(SLICING.rows_in(batch, rows) for batch in range(batches)) == rows


@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 2000))
def test_the_batches_cover_every_row_once(batch_size, batches_a_shard, rows):
    cut = Slicing(batch_size=batch_size, shard_size=batch_size * batches_a_shard)
    covered = []
    for batch in range(cut.batches(rows)):
        shard, place = cut.place(batch)
        in_shard = range(shard * cut.shard_size, min((shard + 1) * cut.shard_size, rows))
        assert len(in_shard[place]) == cut.rows_in(batch, rows)
        covered += in_shard[place]
    assert covered == list(range(rows))


def test_a_shard_comes_back_as_it_was_written():
    header = ShardHeader(first=24, rows=5, needs=[[6, 7], []])
    items = [Item(id=f"{n}", prompt=PROMPT, seed=2**63 - 1, source_number=n, columns={"a": "b\n"}) for n in range(5)]
    content = encode_shard(header, items)
    assert content.count(b"\n") == 6
    assert decode_header(content) == header
    assert decode_rows(content, Item) == items
    assert decode_rows(content, Item, slice(4, 8)) == items[4:]


@pytest.mark.parametrize(
    "where", [{"key": "k"}, {"uri": "s3://b/k"}, {"pose": {"people": []}}], ids=lambda w: next(iter(w))
)
def test_a_source_comes_back_as_it_was_written(where):
    source = Source(name=PROMPT, identity="i", **where)
    content = encode_shard(ShardHeader(first=0, rows=1, needs=[]), [source])
    assert decode_rows(content, Source) == [source]


def test_a_batch_record_comes_back_as_it_was_written():
    image = StoredObject(key="k", sha256="s", etag="e", size=5)
    written = record(results=[ItemResult(id="i", outcome=Outcome.DONE, prompt=PROMPT, image=image, seconds=0.5)])
    assert decode(encode(written), BatchRecord) == written


def test_a_record_counts_its_outcomes():
    outcomes = [Outcome.DONE, Outcome.FAILED, Outcome.DONE, Outcome.REJECTED]
    items = record(results=[ItemResult(id="i", outcome=outcome) for outcome in outcomes])
    sources = record(results=[SourceResult(source_number=0, name="n", outcome=outcome) for outcome in outcomes[:2]])
    assert items.counts == {Outcome.DONE: 2, Outcome.REJECTED: 1, Outcome.FAILED: 1, Outcome.AGAIN: 0}
    assert sources.counts == {Outcome.DONE: 1, Outcome.REJECTED: 0, Outcome.FAILED: 1, Outcome.AGAIN: 0}


def test_a_plan_knows_the_totals_of_each_stage():
    plan = Plan(rows=by_stage(5, 40), batches=by_stage(2, 10), refused_rows=1)
    assert (plan.sources, plan.items) == (plan.rows[Stage.DETECT], plan.rows[Stage.GENERATE]) == (5, 40)


def test_lines_are_decoded_one_by_one():
    rows = [Source(name=PROMPT, identity=str(n), key="k") for n in range(3)]
    assert list(decode_lines(b"\n".join(encode(row) for row in rows), Source)) == rows


@pytest.mark.parametrize("batch", [0, 999, 1000, 123_456_789])
def test_a_batchs_number_can_be_read_from_its_keys(batch):
    keys = RunKeys("r")
    assert batch_of(keys.record(Stage.DETECT, batch)) == batch_of(keys.flag(Stage.DETECT, batch)) == batch


def test_records_are_listed_in_the_order_of_their_batches():
    batches = [0, 9, 10, 999, 1000, 99_999, 100_000]
    keys = [RunKeys("r").record(Stage.GENERATE, batch) for batch in batches]
    assert keys == sorted(keys)

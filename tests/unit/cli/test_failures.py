"""`posemill failures` puts together what has one reason."""

from posemill.contract.records import ItemResult, Outcome, RefusedRow, SourceResult
from producer.runs.grouping import by_reason

FAILURES = [
    RefusedRow(place="m.csv:3", message="m.csv:3: no prompt"),
    SourceResult(source_number=1, name="a.png", outcome=Outcome.REJECTED, reason="no_person"),
    *(ItemResult(id=f"i{n}", outcome=Outcome.FAILED, reason="nan", message="no numbers", prompt="a chef", seed=n,
                 source_name="b.png") for n in range(3)),
]  # fmt: skip


def test_failures_come_by_reason_the_largest_group_first_with_prompt_and_seed():
    items, rows, sources = by_reason(FAILURES, most=2)
    assert (items.count, items.rows, items.outcome, items.reason) == (3, "items", "failed", "nan")
    assert items.shown == [f"i{n} of b.png, seed {n}, 'a chef': no numbers" for n in range(2)]
    assert (rows.count, rows.shown) == (1, ["m.csv:3: no prompt"])
    assert (sources.reason, sources.shown) == ("no_person", ["a.png"])


def test_all_are_shown_where_that_is_asked():
    assert len(by_reason(FAILURES, most=0)[0].shown) == 3

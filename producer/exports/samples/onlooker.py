"""What looks at the samples while an export goes through them."""

from typing import Any

from posemill.contract.records import ItemResult, JudgedResult
from producer.exports.samples.reading import Sample


class Onlooker:
    """Is shown every item as it goes by, in the plan's order; this one looks away."""

    def taken(self, sample: Sample, row: dict[str, Any], shard: int) -> None:
        """It goes into a shard of that number, of its row's split."""

    def left_out(self, item: ItemResult, judged: JudgedResult | None = None) -> None:
        """It is not done, or the filter leaves it out."""

    def again(self, item: ItemResult, judged: JudgedResult) -> None:
        """It did not pass, and was made again: its next try comes later."""


class Onlookers(Onlooker):
    """Several that look at the same samples."""

    def __init__(self, *onlookers: Onlooker) -> None:
        self._onlookers = onlookers

    def taken(self, sample: Sample, row: dict[str, Any], shard: int) -> None:
        """Each is shown it."""
        for one in self._onlookers:
            one.taken(sample, row, shard)

    def left_out(self, item: ItemResult, judged: JudgedResult | None = None) -> None:
        """Each is shown it."""
        for one in self._onlookers:
            one.left_out(item, judged)

    def again(self, item: ItemResult, judged: JudgedResult) -> None:
        """Each is shown it."""
        for one in self._onlookers:
            one.again(item, judged)

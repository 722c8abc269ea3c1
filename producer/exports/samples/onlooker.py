"""What looks at the samples while an export goes through them."""

from typing import Any

from posemill.contract.records import ItemResult
from producer.exports.samples.reading import Sample


class Onlooker:
    """Is shown every item as it goes by, in the plan's order; this one looks away."""

    def taken(self, sample: Sample, row: dict[str, Any], shard: int) -> None:
        """It goes into a shard of that number, of its row's split."""

    def left_out(self, item: ItemResult) -> None:
        """It is not done, or the filter leaves it out."""

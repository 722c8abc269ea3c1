"""Which of a run's samples an export holds."""

from typing import Any

from producer.exports.counts.duplicates import Duplicates
from producer.exports.samples.columns import Columns
from producer.exports.samples.filters import parse_filter
from producer.exports.samples.options import Form, Options
from producer.exports.samples.reading import Sample


class Selection:
    """Asked of every sample once, in the run's order."""

    def __init__(self, options: Options, columns: Columns) -> None:
        self._is_pairs = options.form is Form.PREFERENCE
        self._passes = parse_filter(options.where, columns.filterable)
        self._taken = Duplicates() if options.drop_near_duplicates else None

    def takes(self, sample: Sample, row: dict[str, Any]) -> bool:
        """Whether the filter lets the row pass, and it is no near-duplicate of one taken before, if that is asked for.

        Pairs need a try that did not pass. A sample whose record has no hash is taken.
        """
        if not self._passes(row) or (self._is_pairs and sample.rejected is None):
            return False
        hash_bits = sample.item.perceptual_hash
        if self._taken is None or not hash_bits:
            return True
        if self._taken.nearest(int(hash_bits, 16)):
            return False
        self._taken.add(sample.item.id, int(hash_bits, 16))
        return True

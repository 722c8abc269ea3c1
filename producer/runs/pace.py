"""How long a run will still take, from what it did lately."""

from collections.abc import Sequence

from posemill.contract.keys import Stage
from posemill.queue.progress import Snapshot

WINDOW_SECONDS = 60.0  # the past that counts
LEAST_SECONDS = 1.5  # a rate over less is a guess

Sample = tuple[float, int, int]  # time in seconds, sources finished, items finished


def rate(samples: Sequence[Sample], column: int) -> float | None:
    """Rows a second over the last WINDOW_SECONDS in which rows were finished; None while it cannot be known.

    The clock starts with the first finished row, so the time to load a model does not count.
    """
    if len(samples) < 2:
        return None
    newest = samples[-1]
    recent = [sample for sample in samples if newest[0] - sample[0] <= WINDOW_SECONDS]
    before = [sample for sample in recent if sample[column] == 0]
    begin = before[-1] if before else recent[0]
    seconds, rows = newest[0] - begin[0], newest[column] - begin[column]
    return rows / seconds if rows > 0 and seconds >= LEAST_SECONDS else None


def remaining_seconds(snapshot: Snapshot, samples: Sequence[Sample]) -> float | None:
    """Seconds until the slower stage is through; None while a stage with work left has no rate yet."""
    longest = 0.0
    for column, stage in ((1, Stage.DETECT), (2, Stage.GENERATE)):
        left = snapshot.stages[stage].rows - snapshot.stages[stage].finished
        if left <= 0:
            continue
        speed = rate(samples, column)
        if speed is None:
            return None
        longest = max(longest, left / speed)
    return longest

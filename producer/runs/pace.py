"""How long a run will still take, from what it did lately."""

from collections.abc import Mapping, Sequence

from posemill.contract.keys import Stage
from posemill.queue.progress import Snapshot

WINDOW_SECONDS = 60.0  # the past that counts
LEAST_SECONDS = 1.5  # a rate over less is a guess

Sample = tuple[float, Mapping[str, int]]  # time in seconds, rows finished by stage


def rate(samples: Sequence[Sample], stage: Stage) -> float | None:
    """A stage's rows a second over the last WINDOW_SECONDS in which rows were finished; None while nobody knows.

    The clock starts with the first finished row, so the time to load a model does not count.
    """
    if len(samples) < 2:
        return None
    newest = samples[-1]
    recent = [sample for sample in samples if newest[0] - sample[0] <= WINDOW_SECONDS]
    before = [sample for sample in recent if sample[1][stage] == 0]
    begin = before[-1] if before else recent[0]
    seconds, rows = newest[0] - begin[0], newest[1][stage] - begin[1][stage]
    return rows / seconds if rows > 0 and seconds >= LEAST_SECONDS else None


def remaining_seconds(snapshot: Snapshot, samples: Sequence[Sample]) -> float | None:
    """Seconds until the slowest stage is through; None while a stage with work left has no rate yet."""
    longest = 0.0
    for stage, counts in snapshot.stages.items():
        left = counts.rows - counts.finished
        if left <= 0:
            continue
        speed = rate(samples, stage)
        if speed is None:
            return None
        longest = max(longest, left / speed)
    return longest

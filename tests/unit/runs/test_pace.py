"""The remaining time follows the slowest stage, and is not known before there is something to go by."""

import pytest

from posemill.contract.keys import Stage
from posemill.contract.records import RunState
from posemill.queue.progress import Snapshot, StageCounts
from producer.runs.pace import LEAST_SECONDS, WINDOW_SECONDS, Sample, rate, remaining_seconds


def counts(done: int, rows: int) -> StageCounts:
    return StageCounts(
        rows=rows,
        batches=rows,
        end=0,
        again=0,
        batches_done=done,
        done=done,
        rejected=0,
        failed=0,
        leased=0,
        sent=0,
        waiting=0,
    )


def at(seconds: float, detect: int, generate: int) -> Sample:
    return seconds, {Stage.DETECT: detect, Stage.GENERATE: generate}


def snapshot(detect: tuple[int, int], generate: tuple[int, int]) -> Snapshot:
    stages = {Stage.DETECT: counts(*detect), Stage.GENERATE: counts(*generate)}
    return Snapshot(run_id="r", state=RunState.RUNNING, reason="", refused_rows=0, stages=stages)


def test_the_rate_is_rows_over_seconds():
    assert rate([at(100.0, 10, 3), at(110.0, 30, 3)], Stage.DETECT) == pytest.approx(2.0)


def test_the_time_before_the_first_finished_row_does_not_count():
    assert rate([at(0.0, 0, 0), at(40.0, 0, 0), at(50.0, 20, 0)], Stage.DETECT) == pytest.approx(2.0)


def test_only_the_last_minute_counts():
    slow, fast = [at(float(t), 1 + t, 0) for t in range(100)], [at(100.0 + t, 101 + 10 * t, 0) for t in range(61)]
    assert rate(slow + fast, Stage.DETECT) == pytest.approx(10.0)
    assert WINDOW_SECONDS == 60.0


@pytest.mark.parametrize(
    "samples",
    [
        [],
        [at(0.0, 5, 0)],
        [at(0.0, 5, 0), at(9.0, 5, 0)],
        [at(0.0, 5, 0), at(LEAST_SECONDS - 0.1, 9, 0)],
        [at(3.0, 1, 0)] * 2,
    ],
    ids=["none", "one", "standstill", "too short", "no time passed"],
)
def test_a_rate_that_cannot_be_known_is_none(samples):
    assert rate(samples, Stage.DETECT) is None


def test_the_slowest_stage_decides():
    samples = [at(0.0, 1, 1), at(10.0, 11, 6)]
    assert remaining_seconds(snapshot((11, 21), (6, 16)), samples) == pytest.approx(20.0)
    assert remaining_seconds(snapshot((11, 111), (6, 16)), samples) == pytest.approx(100.0)


def test_a_stage_that_is_through_needs_no_rate():
    assert remaining_seconds(snapshot((5, 5), (6, 16)), [at(0.0, 5, 1), at(10.0, 5, 6)]) == pytest.approx(20.0)


def test_nothing_left_takes_no_time():
    assert remaining_seconds(snapshot((5, 5), (9, 9)), []) == 0.0


def test_a_stage_that_has_not_begun_leaves_the_time_unknown():
    assert remaining_seconds(snapshot((11, 21), (0, 16)), [at(0.0, 1, 0), at(10.0, 11, 0)]) is None

"""How a run, a submission and an export end, as exit statuses: each table whole."""

from itertools import product

import msgspec
import pytest

from posemill.contract.keys import Stage
from posemill.contract.records import RunState
from posemill.exit_codes import ExitCode
from posemill.queue.progress import Snapshot, stage_counts
from producer.cli.endings import code_of, code_of_export, code_of_submission
from producer.exports.dataset import Exported
from producer.runs.handle import Status

DONE, FAILED, CANCELLED = ExitCode.DONE, ExitCode.FAILED, ExitCode.CANCELLED
PAUSED, NOT_OVER = ExitCode.PAUSED, ExitCode.NOT_OVER


def stood(state: RunState, *, reason: str = "", failed: int = 0, refused: int = 0, rows: int = 9) -> Status:
    stages = {stage: stage_counts(stage, {}, 0, 0, 0) for stage in (Stage.DETECT, Stage.GENERATE)}
    last = msgspec.structs.replace(stages[Stage.GENERATE], rows=rows, failed=failed)
    stages[Stage.GENERATE] = last
    snapshot = Snapshot(run_id="r", state=state, reason=reason, refused_rows=refused, stages=stages)
    return Status(snapshot=snapshot, remaining_seconds=None)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (stood(RunState.COMPLETE), DONE),
        (stood(RunState.COMPLETE, failed=1), FAILED),
        (stood(RunState.COMPLETE, refused=1), FAILED),
        (stood(RunState.CANCELLED, failed=1, reason="x"), CANCELLED),
        (stood(RunState.PAUSED, reason="x"), PAUSED),
        (stood(RunState.PAUSED), NOT_OVER),
        (stood(RunState.RUNNING, failed=1, reason="x"), NOT_OVER),
        (stood(RunState.RETRYING), NOT_OVER),
    ],
)
def test_a_run_s_state_is_an_exit_status(status: Status, code: ExitCode) -> None:
    assert code_of(status) is code
    assert code_of_submission(status) is (DONE if code is NOT_OVER else code), "one that has begun well is 0"


def test_a_submission_that_has_nothing_to_make_is_1() -> None:
    assert code_of_submission(stood(RunState.RUNNING, rows=0)) is FAILED
    assert code_of_submission(stood(RunState.COMPLETE, rows=0)) is DONE


@pytest.mark.parametrize("state", product((0, 1), repeat=5))
def test_an_export_says_what_is_missing_of_it(state: tuple[int, ...]) -> None:
    refused, failed, complete, cancelled, partial = state
    exported = Exported(folder="", samples=1, splits={}, skipped=0, refused=refused, near_duplicates=0,
                        complete=bool(complete), failed=failed, cancelled=bool(cancelled))  # fmt: skip
    found = code_of_export(exported, partial=bool(partial))
    if refused or (complete and failed and not partial):
        assert found is FAILED
    elif partial or complete:
        assert found is DONE
    else:
        assert found is (CANCELLED if cancelled else NOT_OVER)


def test_each_number_stands_for_what_scripts_rely_on() -> None:
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4, 5, 6, 7, 130]
    assert all(code.words for code in ExitCode)

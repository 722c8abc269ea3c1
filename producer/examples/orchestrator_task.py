"""The body of an orchestrator's task (Airflow, Prefect, Dagster, …): one run a day, safe to repeat at any point.

The run's name is made of the day, so a task that is started again finds its run and goes on with it: nothing is
submitted, made or exported twice. Errors come in two kinds, and only one of them is worth another try.
"""

import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from posemill import PermanentError, PosemillError, RunFault, export, open_run, submit

DEMO = Path(__file__).parent / "demo.yaml"
LONGEST = timedelta(hours=6)


@dataclass(frozen=True, kw_only=True)
class DayResult:
    """What the orchestrator keeps of a day."""

    run_id: str
    samples: int
    failed: int


class WorthAnotherTry(Exception):
    """Redis, storage or the fleet is to blame: let the orchestrator repeat the task later."""


def make_day(day: str, recipe: str | Path, folder: str) -> DayResult:
    """Make the day's images and their data set below `folder`, which may be an s3:// prefix."""
    run_id = f"daily-{day}"
    try:
        status = submit(recipe, run_id=run_id, strict=True).wait(timeout_seconds=LONGEST.total_seconds())
        exported = export(run_id, f"{folder}/{day}", format="webdataset", validation=0.1)
    except (PermanentError, RunFault):
        raise  # the recipe, a row or a model is wrong: another try would end in the same way
    except (PosemillError, TimeoutError) as error:
        raise WorthAnotherTry(str(error)) from error
    return DayResult(run_id=run_id, samples=exported.samples, failed=status.failed)


def stop_day(day: str) -> None:
    """For the orchestrator's cancel button: what is done stays, and `make_day` can be called again after a resume."""
    open_run(f"daily-{day}").cancel()


if __name__ == "__main__":
    print(make_day(sys.argv[1], recipe=sys.argv[2] if len(sys.argv) > 2 else DEMO, folder="daily"))

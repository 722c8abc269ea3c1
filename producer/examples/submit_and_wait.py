"""From Python what the command line does: submit a recipe, wait for its run, prove it, write its data set.

`python submit_and_wait.py [RECIPE [DATASET]]`, with `posemill up` in another terminal, in the same folder.
"""

import sys
from pathlib import Path

from posemill import PosemillError, Status, check, export, submit

DEMO = Path(__file__).parent / "demo.yaml"


def main(recipe: str | Path = DEMO, dataset: str = "dataset") -> int:
    """Gives the exit status: 0 when all was made."""
    run = submit(recipe)  # where the environment says, or to the services that `posemill up` keeps in this folder
    print(f"run {run.id}: {run.plan.sources} photographs, {run.plan.items} images wanted")
    status = run.wait(report=show)
    for failure in run.failures():
        print(failure)
    proof = check(run.id)
    exported = export(run.id, dataset, format="parquet", licence="cc0-1.0")
    print(f"{exported.samples} samples in {exported.folder}; proof: {'complete' if proof.complete else proof.faults}")
    return 1 if status.failed or not proof.complete else 0


def show(status: Status) -> None:
    """Called several times a second while the run goes on."""
    done = {stage.value: counts.done for stage, counts in status.snapshot.stages.items()}
    print(done, "to go:", status.remaining_seconds, end="\r", file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except PosemillError as error:
        sys.exit(f"{error.code}: {error}")

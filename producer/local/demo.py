"""The demo: a whole small fleet on this machine, one run, its data set and contact sheet on disk."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from posemill.contract.keys import Stage
from posemill.errors import BadInput
from producer.exports.dataset import Exported, export_run
from producer.local.local_fleet import local_fleet
from producer.runs.checking import Proof, check
from producer.runs.handle import Status
from producer.submitting.submission import submit

RUN_ID = "demo"
RECIPE = Path(__file__).parents[1] / "examples" / "demo.yaml"  # ships inside the package, with its photographs


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo left behind."""

    status: Status
    proof: Proof
    exported: Exported
    contact_sheet: str


def run_demo(
    recipe: Path | None, destination: Path, *, say: Callable[[str], None], report: Callable[[Status], None]
) -> DemoResult:
    """Run `recipe` (or the one that ships) with services and workers of its own; its data set goes to `destination`."""
    recipe = recipe or RECIPE
    _clear(destination)
    with tempfile.TemporaryDirectory(prefix="posemill-demo-") as folder:
        say("Starting Redis, S3, a detect worker and a generate worker on this machine")
        with local_fleet(Path(folder), workers=dict.fromkeys(Stage, 1)) as settings:
            handle = submit(recipe, run_id=RUN_ID, settings=settings)
            say(f"Submitted {recipe}: {handle.plan.sources} photographs, {handle.plan.items} images wanted")
            status = handle.wait(report=report)
            proof = check(handle.store, RUN_ID)
            exported = export_run(
                handle.store, RUN_ID, destination,
                title="posemill demo", subtitle="photograph, detected pose, generated images",
            )  # fmt: skip
    return DemoResult(
        status=status, proof=proof, exported=exported, contact_sheet=str(destination / "contact_sheet.png")
    )


def _clear(destination: Path) -> None:
    """Remove the last demo's output, and nothing else."""
    if not destination.exists() or not any(destination.iterdir()):
        return
    if not (destination / "posemill.json").is_file():
        raise BadInput(f"{destination} holds files that are no export of posemill; choose another folder with --out")
    shutil.rmtree(destination)

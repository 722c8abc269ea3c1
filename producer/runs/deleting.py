"""Removes a run from storage and Redis; what runs share stays."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from posemill.contract.keys import RunKeys, Stage
from posemill.errors import NotFound, RunConflict, UnreadableRecord
from posemill.queue.ledger import ENDED, Ledger
from posemill.storage.run_documents import read_run
from posemill.storage.store import Store

THREADS = 16


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed."""

    run_id: str
    objects: int
    size_bytes: int


def delete_run(store: Store, ledger: Ledger, run_id: str) -> Deleted:
    """Remove everything below the run's prefix, and its ledger. Safe to repeat where it was interrupted.

    The ledger goes first, so that what an interruption leaves is judged by storage.

    Raises NotFound where there is nothing of that id, and RunConflict while workers may still write into it, or another
    run judges its images.
    """
    keys, state = RunKeys(run_id), ledger.state(run_id)
    if state and (state not in ENDED or ledger.is_worked_on(run_id)):
        raise RunConflict(f"run {run_id!r} is {state} and may still be written to: `posemill cancel {run_id}` "
                          "first, and wait until no batch is worked on")  # fmt: skip
    judged = _images_of(store, run_id)
    found = list(store.list(keys.root))
    if not found and state is None:
        raise NotFound(f"{store.url} holds no run {run_id!r}; `posemill runs` lists them")
    if judges := judging_runs(store, run_id):
        raise RunConflict(f"run {run_id!r} holds the images of {', '.join(judges)}; delete that first")
    ledger.forget(run_id)
    with ThreadPoolExecutor(THREADS) as pool:
        for removed_together in _in_order(keys, [info.key for info in found]):
            list(pool.map(store.delete, removed_together))
    ledger.forget(run_id)  # whoever looked meanwhile has made it known again
    if judged:
        store.delete(RunKeys(judged).judged_by(run_id))
    return Deleted(run_id=run_id, objects=len(found), size_bytes=sum(info.size for info in found))


def _in_order(keys: RunKeys, found: Iterable[str]) -> list[list[str]]:
    """What may be removed together, in an order that never leaves what could be taken for a whole run.

    Outcomes go before what they name, what was added to the plan from its end, the seal before what it seals, and the
    run's own document last: submitted again, a run whose removal was cut off makes what is gone.
    """
    shards = tuple(keys.shards(stage) for stage in Stage)
    outcomes = tuple(prefix for stage in Stage for prefix in (keys.records(stage), keys.set_aside(stage)))
    recorded, steps, planned, others = list[str](), list[str](), list[str](), list[str]()
    for key in sorted({*found} - {keys.sealed, keys.run}, reverse=True):
        if key.startswith(outcomes):
            recorded.append(key)
        elif key.startswith(keys.rounds):
            steps.append(key)
        else:
            (planned if key.startswith(shards) else others).append(key)
    return [recorded, others, *([step] for step in steps), [keys.sealed], planned, [keys.run]]


def judging_runs(store: Store, run_id: str) -> list[str]:
    """The runs that are there and judge the images of this one."""
    keys = RunKeys(run_id)
    named = [info.key.removeprefix(keys.judges) for info in store.list(keys.judges)]
    return [name for name in named if store.head(RunKeys(name).run) is not None]


def _images_of(store: Store, run_id: str) -> str:
    try:
        return read_run(store, run_id).images_of
    except (NotFound, UnreadableRecord):
        return ""

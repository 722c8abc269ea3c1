"""Adds to the plans of runs whose images are judged, as soon as a shard was judged whole; called by the dispatcher."""

import msgspec

from posemill.contract.keys import Stage
from posemill.contract.records import Item, Plan, Run
from posemill.contract.rounds import PlanLayout, RoundStep, layouts_of, next_to_read
from posemill.contract.stages import LAST_STAGE
from posemill.errors import NotFound
from posemill.queue.ledger import Ledger
from posemill.queue.progress import Snapshot
from posemill.storage.rounds import add_step, is_closed, missed_tries, rejects_of
from posemill.storage.run_documents import read_plan, read_rounds
from posemill.storage.store import Store

KEPT_RUNS = 64


class _Known(msgspec.Struct, kw_only=True):
    """What was read of a run."""

    submission: str
    plan: Plan
    steps: list[RoundStep]
    judged: int = -1  # batches, when its shards were last looked at

    def layouts(self, run: Run) -> dict[Stage, PlanLayout]:
        """Where the rows of each stage's plan stand by now."""
        return layouts_of(run, self.plan, self.steps)


class Rounds:
    """Steps of all open runs. Storage has them; what is kept here may be behind it, and is read again then."""

    def __init__(self, store: Store, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._runs: dict[str, _Known] = {}

    def advance(self, run: Run, snapshot: Snapshot) -> bool:
        """Read the shards that were judged whole, and plan what is to be made again; True where the plan has grown."""
        known = self._known(run, snapshot)
        judged = snapshot.last.batches_done
        if judged == known.judged:
            return False
        grown = self._grow(run, known)
        while (rejects := self._next_rejects(run, known, is_over=judged == snapshot.last.batches)) is not None:
            layout = known.layouts(run)[LAST_STAGE]
            step = add_step(self._store, run, layout, known.steps, rejects)
            known.steps = [*known.steps, step] if step else read_rounds(self._store, run)
            grown = self._grow(run, known) or grown
        known.judged = judged
        return grown

    def are_over(self, run: Run) -> bool:
        """Whether storage says that nothing is to be made again; if not, everything is looked at anew."""
        over = is_closed(self._store, run, read_plan(self._store, run.id), read_rounds(self._store, run))
        if not over:
            self._runs.pop(run.id, None)
        return over

    def _grow(self, run: Run, known: _Known) -> bool:
        return self._ledger.grow(run.id, known.layouts(run), submission=known.submission)

    def _next_rejects(self, run: Run, known: _Known, *, is_over: bool) -> list[Item] | None:
        """Those of the next shard, if it was judged whole; of a retry, if all was; None where nothing is to be done."""
        layout = known.layouts(run)[LAST_STAGE]
        shard = next_to_read(layout, known.steps)
        if shard is None:
            return (missed_tries(self._store, run, layout) or None) if is_over else None
        if not self._ledger.are_done(run.id, LAST_STAGE, layout.batches_of(shard)):
            return None
        try:
            return rejects_of(self._store, run, layout, shard)
        except NotFound:  # a retry has set one aside at this moment
            return None

    def _known(self, run: Run, snapshot: Snapshot) -> _Known:
        known = self._runs.get(run.id)
        if known is None or known.submission != snapshot.submission:
            while len(self._runs) >= KEPT_RUNS:
                del self._runs[next(iter(self._runs))]
            plan, steps = read_plan(self._store, run.id), read_rounds(self._store, run)
            known = self._runs[run.id] = _Known(submission=snapshot.submission, plan=plan, steps=steps)
        return known

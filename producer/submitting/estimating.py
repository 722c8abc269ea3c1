"""How long the device will compute for a run, from what earlier runs with the same models and settings took."""

import itertools
from collections.abc import Iterator
from statistics import fmean

import msgspec

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, Outcome, Run
from posemill.errors import NotFound, PosemillError
from posemill.storage.run_documents import read_document, read_run
from posemill.storage.store import Store
from producer.runs.handle import run_ids
from producer.submitting.streaming import in_order

MOST_RUNS = 200  # the last ones by name are looked at
MOST_RECORDS = 5  # of the run that is measured by: the first holds the time of warming up


class DeviceTime(msgspec.Struct, frozen=True, kw_only=True):
    """What an image took, and in which run."""

    seconds_an_image: float
    run_id: str

    def of(self, items: int) -> float:
        """Seconds of one device for so many images."""
        return items * self.seconds_an_image


def device_time(store: Store, run: Run) -> DeviceTime | None:
    """As the newest run with the same models and settings had it; None where there is none."""
    others = [other for other in _runs(store) if other.generate == run.generate]
    for other in sorted(others, key=lambda one: one.created_at, reverse=True):
        seconds = [
            item.seconds
            for record in itertools.islice(_records(store, other.id), MOST_RECORDS)
            for item in record.items
            if item.outcome is Outcome.DONE and item.seconds > 0
        ]
        if seconds:
            return DeviceTime(seconds_an_image=fmean(seconds), run_id=other.id)
    return None


def _runs(store: Store) -> list[Run]:
    def read(run_id: str) -> Run | None:
        try:
            return read_run(store, run_id)
        except PosemillError:  # one that is being deleted, or that nobody can read
            return None

    return [run for run in in_order(read, sorted(run_ids(store))[-MOST_RUNS:]) if run]


def _records(store: Store, run_id: str) -> Iterator[BatchRecord]:
    for info in store.list(RunKeys(run_id).records(Stage.GENERATE)):
        try:
            yield read_document(store, info.key, BatchRecord)
        except NotFound:
            continue

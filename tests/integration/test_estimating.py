"""The device time that a dry run foretells, from records of earlier runs."""

import msgspec

from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, ItemResult, Outcome, encode
from posemill.storage.store import Store
from producer.submitting.estimating import device_time
from tests.planned import make_run


def write_run(store: Store, run_id: str, seconds: float, **changes: object) -> None:
    run = msgspec.structs.replace(make_run(run_id), **changes)
    items = [
        ItemResult(id="a", outcome=Outcome.DONE, seconds=seconds),
        ItemResult(id="b", outcome=Outcome.FAILED, seconds=900.0),
    ]
    record = BatchRecord(
        run_id=run_id, stage=Stage.GENERATE, batch=0, attempt=1, worker="w", finished_at="", made_with={}, results=items
    )
    store.put(RunKeys(run_id).run, encode(run))
    store.put(RunKeys(run_id).record(Stage.GENERATE, 0), encode(record))


def test_the_newest_run_with_the_same_models_tells_what_an_image_takes(store: Store) -> None:
    wanted = make_run("dry-run")
    assert device_time(store, wanted) is None
    slow = msgspec.structs.replace(wanted.generate, num_inference_steps=99)
    write_run(store, "a", 2.0, created_at="2026-02-01T00:00:00+00:00")
    write_run(store, "b", 5.0, created_at="2026-01-01T00:00:00+00:00")
    write_run(store, "c", 50.0, created_at="2026-03-01T00:00:00+00:00", generate=slow)
    store.put(RunKeys("d").run, b"{cut short")
    found = device_time(store, wanted)
    assert found is not None
    assert (found.run_id, found.seconds_an_image, found.of(100)) == ("a", 2.0, 200.0)

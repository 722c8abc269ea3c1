"""`rebuild_rate`: the ledger of 100,000 items made again from storage, against listing the same keys."""

import os
import statistics
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import boto3

from benchmarks.figure import Figure, alternate, median_ratio
from benchmarks.submitting import recipe_of, write_manifest
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, Item, ItemResult, Outcome, Source, SourceResult, decode_rows, encode
from posemill.queue.rebuild import rebuild
from posemill.settings import Settings
from posemill.storage.store import Store, split_s3_uri
from producer.local.services import EmbeddedServices
from producer.runs.handle import RunHandle
from producer.submitting.streaming import in_order
from producer.submitting.submission import submit

SOURCES, IMAGES_EACH = 25_000, 4
REJECTED_EVERY = 400  # one photograph of so many has nobody in it
ROUNDS = 5
THREADS = 16


def measure() -> Iterable[Figure]:
    """Alternate both over a run whose every record stands in storage."""
    with tempfile.TemporaryDirectory(prefix="posemill-bench-") as name:
        folder = Path(name)
        manifest = write_manifest(folder / "photographs.jsonl", SOURCES)
        with EmbeddedServices(folder / "services") as services:
            os.environ.update(services.environment())
            handle = submit(recipe_of(manifest, seeds=IMAGES_EACH), run_id="bench", settings=Settings())
            records = _write_records(handle)
            yield _compare(handle, records)


def _compare(handle: RunHandle, records: int) -> Figure:
    listed: list[int] = []
    ours, peer = alternate(lambda: _rebuild(handle), lambda: listed.append(_list_and_get(handle)), ROUNDS)
    assert set(listed) == {records}, f"{records} records were written and {set(listed)} listed"
    plan = handle.plan
    return Figure(
        name="rebuild_rate", value=round(median_ratio(ours, peer), 3), unit="ratio", goal="<= 1.5",
        peer="boto3's paged listing of the records and a GET of each plan shard",
        detail={"items": plan.items, "sources": plan.sources, "records": records,
                "flagged": sum(1 for _ in handle.store.list(f"{RunKeys(handle.id).root}flags/")),
                "seconds": round(statistics.median(ours), 2), "peer_seconds": round(statistics.median(peer), 2),
                "rounds": ROUNDS},
    )  # fmt: skip


def _rebuild(handle: RunHandle) -> None:
    handle.ledger.forget(handle.id)
    rebuild(handle.store, handle.ledger, handle.id)
    snapshot, plan = handle.ledger.snapshot(handle.id), handle.plan
    assert snapshot, "the ledger does not know the run"
    for stage in (Stage.DETECT, Stage.GENERATE):
        found = snapshot.stages[stage]
        assert (found.finished, found.batches_done) == (plan.rows[stage], plan.batches[stage]), f"{stage}: {found}"


def _list_and_get(handle: RunHandle) -> int:
    """What anybody must do who wants to know the run from storage; gives how many records there are."""
    client = boto3.session.Session().client("s3")
    bucket, prefix = split_s3_uri(handle.store.url)
    prefix = f"{prefix}/" if prefix else ""
    keys = RunKeys(handle.id)

    def pages(below: str) -> Iterator[dict[str, Any]]:
        yield from client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + below)

    found = sum(len(page.get("Contents", ())) for page in pages(f"{keys.root}records/"))
    for stage in (Stage.DETECT, Stage.GENERATE):
        for page in pages(f"{keys.root}plan/{stage}/"):
            for entry in page.get("Contents", ()):
                client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
    return found


# records as workers write them --------------------------------------------------------------------------------------


def _write_records(handle: RunHandle) -> int:
    """Write a record for every planned batch, with flags where a row is not done; gives how many."""
    return sum(1 for _ in in_order(lambda record: _write(handle.store, record), _records(handle), threads=THREADS))


def _write(store: Store, record: BatchRecord) -> None:
    keys = RunKeys(record.run_id)
    if record.counts[Outcome.DONE] < len(record.results):
        store.put(keys.flag(record.stage, record.batch), b"")
    store.put_if_absent(keys.record(record.stage, record.batch), encode(record), content_type="application/json")


def _records(handle: RunHandle) -> Iterator[BatchRecord]:
    """What workers would have written, batch by batch; one source in REJECTED_EVERY has no person."""
    run, plan, keys = handle.run, handle.plan, RunKeys(handle.id)
    for stage, kind in ((Stage.DETECT, Source), (Stage.GENERATE, Item)):
        slicing = run.slicing[stage]
        for batch in range(plan.batches[stage]):
            shard, rows = slicing.place(batch)
            if rows.start == 0:
                content = handle.store.get(keys.shard(stage, shard))
            first = batch * slicing.batch_size
            results = [_result(row, first + place) for place, row in enumerate(decode_rows(content, kind, rows))]
            yield BatchRecord(
                run_id=run.id, stage=stage, batch=batch, attempt=1, worker="bench:1",
                finished_at="2026-01-01T00:00:00+00:00", made_with={"device": "none"},
                results=results,
            )  # fmt: skip


def _result(row: Source | Item, number: int) -> SourceResult | ItemResult:
    source = row.source_number or 0 if isinstance(row, Item) else number
    rejected = source % REJECTED_EVERY == 0
    outcome, reason = (Outcome.REJECTED, "no_person") if rejected else (Outcome.DONE, "")
    if isinstance(row, Source):
        return SourceResult(
            source_number=number, name=row.name, outcome=outcome, reason=reason, people=int(not rejected)
        )
    return ItemResult(
        id=row.id, outcome=outcome, reason=reason, prompt=row.prompt, seed=row.seed, source_number=row.source_number
    )

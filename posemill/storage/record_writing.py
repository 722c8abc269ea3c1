"""Writes a batch's record: last of all that the batch makes, and once."""

from posemill.contract.keys import RunKeys
from posemill.contract.records import BatchRecord, Outcome, encode
from posemill.storage.run_documents import read_document
from posemill.storage.store import Store


def write_record(store: Store, record: BatchRecord) -> BatchRecord:
    """Write a record, and before it the flag that not all of it is done: gives the record that stands.

    That is this one or an earlier one.
    """
    keys = RunKeys(record.run_id)
    if record.counts[Outcome.DONE] < sum(record.counts.values()):
        store.put(keys.flag(record.stage, record.batch), b"")
    key = keys.record(record.stage, record.batch)
    _, created = store.put_if_absent(key, encode(record), content_type="application/json")
    return record if created else read_document(store, key, BatchRecord)

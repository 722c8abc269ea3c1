"""What is read of a run in storage: the run, its plan, its state, its records."""

from collections.abc import Sequence
from typing import TypeVar

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys, Stage, checked_run_id
from posemill.contract.records import BatchRecord, Plan, Run, RunState, ShardHeader, StateChange, decode, decode_header
from posemill.contract.rounds import RoundStep
from posemill.errors import NotFound, RunConflict, UnreadableRecord
from posemill.storage.store import Store, get_many

T = TypeVar("T")


def read_run(store: Store, run_id: str) -> Run:
    """Raises NotFound, UnreadableRecord, and BadInput for what no run can be called."""
    try:
        return read_document(store, RunKeys(checked_run_id(run_id)).run, Run)
    except NotFound as error:
        raise NotFound(f"{store.url} holds no run {run_id!r}; `posemill runs` lists them") from error


def read_plan(store: Store, run_id: str) -> Plan:
    """Raises RunConflict while the submission is unfinished, and UnreadableRecord."""
    try:
        return read_document(store, RunKeys(run_id).sealed, Plan)
    except NotFound as error:
        raise RunConflict(unfinished_submission(run_id)) from error


def unfinished_submission(run_id: str) -> str:
    """What is said of a run whose plan is not sealed, wherever that is met."""
    return f"run {run_id!r} was not submitted to the end; submit the same recipe again with --run-id {run_id}"


def submission_digest(store: Store, run_id: str) -> str:
    """Tells a submission from every other one, also of the same recipe under the same id: run and plan, digested.

    Raises NotFound, and RunConflict while the submission is unfinished.
    """
    keys = RunKeys(run_id)
    try:
        return sha256(store.get(keys.run) + store.get(keys.sealed))[:32]
    except NotFound:
        read_plan(store, read_run(store, run_id).id)  # says which of the two is missing
        raise


def read_state(store: Store, run_id: str) -> StateChange:
    """The last wish for the run; running when there was none. Raises UnreadableRecord."""
    try:
        return read_document(store, RunKeys(run_id).state, StateChange)
    except NotFound:
        return StateChange(state=RunState.RUNNING)


def read_record(store: Store, run_id: str, stage: Stage, batch: int) -> BatchRecord | None:
    """A batch's record, if it has one. Raises UnreadableRecord."""
    try:
        return read_document(store, RunKeys(run_id).record(stage, batch), BatchRecord)
    except NotFound:
        return None


def read_rounds(store: Store, run: Run, known: Sequence[RoundStep] = ()) -> list[RoundStep]:
    """What was added to a run's plan so far, in order; those that are known are not read again.

    Raises UnreadableRecord.
    """
    if run.verify is None:
        return []
    keys = [info.key for info in store.list(RunKeys(run.id).rounds)][len(known) :]
    steps = list(known)
    for key, content in zip(keys, get_many(store, keys), strict=True):
        try:
            steps.append(decode(content, RoundStep))
        except UnreadableRecord as error:
            raise unreadable(store, key, error) from error
    return steps


def read_shard(store: Store, run_id: str, stage: Stage, shard: int) -> tuple[ShardHeader, bytes]:
    """A plan shard's header and its whole content. Raises NotFound, and UnreadableRecord where rows are missing."""
    key = RunKeys(run_id).shard(stage, shard)
    content = store.get(key)
    try:
        return decode_header(content), content
    except UnreadableRecord as error:
        raise unreadable(store, key, error) from error


def read_document(store: Store, key: str, kind: type[T]) -> T:
    """An object that holds one record. Raises NotFound and UnreadableRecord."""
    try:
        return decode(store.get(key), kind)
    except UnreadableRecord as error:
        raise unreadable(store, key, error) from error


def unreadable(store: Store, key: str, error: UnreadableRecord) -> UnreadableRecord:
    """The error with the object's place and what to do."""
    return UnreadableRecord(f"{store.url}/{key} cannot be read ({error}); restore it, then `posemill resume` the run")

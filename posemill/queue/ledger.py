"""Which batches of a run are done, leased or pending: counters, bitmaps and small sets in Redis.

Everything here can be lost: rebuild.py makes it again from storage. What must be decided at one moment is a Lua script
(posemill/queue/lua), and the clock is Redis's own.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from importlib import resources
from typing import Any, cast

import msgspec
import redis

from posemill.contract import keys as names
from posemill.contract.keys import Stage, StageKeys
from posemill.contract.records import Outcome, Plan, RunState
from posemill.contract.rounds import PlanLayout
from posemill.errors import ServiceError
from posemill.queue.progress import Snapshot, StageProgress, stage_counts

PACE_SAMPLES = 240  # kept for the remaining time
ENDED_RUN_SECONDS = 30 * 86_400  # a run that has ended is forgotten then; storage knows it as well
ENDED = (RunState.COMPLETE, RunState.CANCELLED)  # the dispatcher looks after all others
WORKER_SECONDS = 60.0  # a worker that was silent longer is taken off the list


class Verdict(StrEnum):
    """The answer to a claim."""

    CLAIMED = "claimed"
    DONE = "done"
    LEASED = "leased"  # another worker holds it
    WAITING = "waiting"  # its retry is not due yet
    PAUSED = "paused"
    CANCELLED = "cancelled"
    COMPLETE = "complete"
    RETRYING = "retrying"
    UNKNOWN = "unknown"  # the ledger has no such run


class History(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to a batch so far; docs/architecture.md has the table of evidence and consequence."""

    claims: int = 0  # how often it was given to a worker
    expiries: int = 0  # leases that ran out without a word
    deaths: int = 0  # processes that were seen to die while it was on their device
    failures: int = 0  # attempts that an error ended which posemill does not know
    delays: int = 0  # times that a transient error put it off
    error: str = ""  # the last one
    rows: dict[str, list[str]] = {}  # how the processes ended that made this row and nothing else


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim's answer; fence and history only mean something when it was granted."""

    verdict: Verdict
    fence: int = 0  # grows with each claim of the run: an older holder can be told from a newer one
    history: History = History()
    submission: str = ""  # of the run, so that nothing is read from an earlier one's plan


class OnDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A worker's note of the batch that it computes."""

    run_id: str
    stage: Stage
    batch: int
    fence: int
    alone: bool  # its rows are made in a process of their own: this worker's death says nothing about them


class Ledger:
    """The ledger of all runs on one Redis."""

    def __init__(self, client: "redis.Redis[str]") -> None:  # type: ignore[type-arg]
        self.redis = client
        folder = resources.files("posemill.queue") / "lua"
        self._scripts = {
            name: client.register_script((folder / f"{name}.lua").read_text())
            for name in (
                "claim",
                "renew",
                "commit",
                "release",
                "death",
                "row_death",
                "complete",
                "pause",
                "expire",
                "grow",
            )
        }

    # runs ---------------------------------------------------------------------------------------------------------

    def restore(
        self,
        run_id: str,
        plan: Plan,
        progress: Mapping[Stage, StageProgress],
        state: RunState,
        reason: str = "",
        *,
        submission: str,
    ) -> None:
        """Make a run known as storage has it, in place of all that was known of it; the dispatcher finds it.

        At once: a submitter killed in between would leave a run that nobody finds, or one that begins anew.
        `submission`: its digest, by which a later run under the same id is told from this one.
        """
        values: dict[Any, Any] = {"state": state, "reason": reason, "submission": submission}
        values |= {"refused_rows": plan.refused_rows, "repeated_items": plan.repeated_items}
        pipe = self.redis.pipeline()
        pipe.delete(names.pace_list(run_id))
        for stage, found in progress.items():
            pipe.delete(*StageKeys(run_id, stage).all())
            if found.done:
                pipe.set(StageKeys(run_id, stage).done, found.done)
            values |= {f"{stage}.{name}": number for name, number in _sizes(found.layout).items()}
            values |= {f"{stage}.batches_done": found.batches_done, f"{stage}.cursor": 0}
            values |= {f"{stage}.{outcome}": found.counts[outcome] for outcome in Outcome}
        pipe.hset(names.run_hash(run_id), mapping=values | {"changed": self._now()})
        pipe.hsetnx(names.run_hash(run_id), "opened", time.time())
        (pipe.srem if state in ENDED else pipe.sadd)(names.RUNS, run_id)
        _keep(pipe, run_id, is_ended=state in ENDED)
        pipe.execute()

    def forget(self, run_id: str) -> None:
        """Remove all that the ledger knows of a run."""
        self.redis.delete(*_keys_of(run_id))
        self.redis.srem(names.RUNS, run_id)

    def open_runs(self) -> list[str]:
        """Runs that the dispatcher looks after, by id."""
        return sorted(cast(set[str], self.redis.smembers(names.RUNS)))

    def state(self, run_id: str) -> RunState | None:
        """None where the ledger does not know the run."""
        value = self.redis.hget(names.run_hash(run_id), "state")
        return RunState(cast(str, value)) if value else None

    def submission(self, run_id: str) -> str:
        """The digest of the submission that the ledger knows under this id; nothing when it knows none."""
        return cast(str | None, self.redis.hget(names.run_hash(run_id), "submission")) or ""

    def set_state(self, run_id: str, state: RunState, reason: str = "") -> None:
        """Set the state whatever it was, with the reason; the dispatcher lets go of a run that has ended."""
        values: dict[Any, Any] = {"state": state, "reason": reason, "changed": self._now()}
        pipe = self.redis.pipeline()
        pipe.hset(names.run_hash(run_id), mapping=values)
        (pipe.srem if state in ENDED else pipe.sadd)(names.RUNS, run_id)
        _keep(pipe, run_id, is_ended=state in ENDED)
        pipe.execute()

    def state_age_seconds(self, run_id: str) -> float:
        """How long ago the state was set."""
        changed = cast(str | None, self.redis.hget(names.run_hash(run_id), "changed"))
        return self._now() - float(changed or 0)

    def complete(self, run_id: str) -> bool:
        """Set a running run complete if every planned batch is done; False when it is not so."""
        answer = self._scripts["complete"](
            keys=[names.RUNS, *_keys_of(run_id)], args=[run_id, ENDED_RUN_SECONDS, *Stage]
        )
        return bool(answer)

    def pause(self, run_id: str, reason: str) -> bool:
        """Pause a run for a fault; False when it has ended or is being retried."""
        return bool(self._scripts["pause"](keys=[names.run_hash(run_id)], args=[reason]))

    def grow(self, run_id: str, layouts: Mapping[Stage, PlanLayout], *, submission: str) -> bool:
        """Count the shards that were added to a run's plan; nothing where the ledger knows as many, or another run."""
        grown = False
        for stage, layout in layouts.items():
            sizes = _sizes(layout)
            known = int(cast(str | None, self.redis.hget(names.run_hash(run_id), f"{stage}.end")) or 0)
            if layout.end <= known:
                continue
            unused = [bound for one in layout.unused() if one.stop > known for bound in (one.start, one.stop)]
            answer = self._scripts["grow"](
                keys=[names.run_hash(run_id), StageKeys(run_id, stage).done],
                args=[submission, stage, sizes["rows"], sizes["batches"], sizes["end"], *unused],
            )
            grown = grown or bool(answer)
        return grown

    def snapshot(self, run_id: str) -> Snapshot | None:
        """The run as it stands; None where the ledger does not know it."""
        pipe = self.redis.pipeline()
        pipe.hgetall(names.run_hash(run_id))
        for stage in Stage:
            keys = StageKeys(run_id, stage)
            for key in (keys.leases, keys.sent, keys.waiting):
                pipe.zcard(key)
        fields, *sizes = pipe.execute()
        if "state" not in fields:
            return None
        stages = {
            stage: stage_counts(stage, fields, *sizes[3 * position : 3 * position + 3])
            for position, stage in enumerate(Stage)
            if f"{stage}.rows" in fields
        }
        return Snapshot(
            run_id=run_id,
            state=RunState(fields["state"]),
            reason=fields.get("reason", ""),
            refused_rows=int(fields.get("refused_rows", 0)),
            repeated_items=int(fields.get("repeated_items", 0)),
            submission=fields.get("submission", ""),
            stages=stages,
        )

    # batches ------------------------------------------------------------------------------------------------------

    def claim(self, run_id: str, stage: Stage, batch: int, lease_seconds: float) -> Claim:
        """Take a batch for so many seconds, if nobody holds it and it is due; a claim charges nothing."""
        keys = StageKeys(run_id, stage)
        answer = self._scripts["claim"](
            keys=[names.run_hash(run_id), keys.done, keys.leases, keys.holders, keys.sent, keys.waiting, keys.history],
            args=[batch, lease_seconds],
        )
        verdict = Verdict(answer[0])
        if verdict is not Verdict.CLAIMED:
            return Claim(verdict=verdict)
        history = msgspec.json.decode(answer[2], type=History)
        return Claim(verdict=verdict, fence=int(answer[1]), history=history, submission=answer[3])

    def renew(self, run_id: str, stage: Stage, batch: int, fence: int, lease_seconds: float) -> bool:
        """Keep the lease; False when another worker has it, or the run is cancelled."""
        keys = StageKeys(run_id, stage)
        answer = self._scripts["renew"](
            keys=[names.run_hash(run_id), keys.leases, keys.holders], args=[batch, fence, lease_seconds]
        )
        return answer not in ("lost", RunState.CANCELLED)

    def commit(self, run_id: str, stage: Stage, batch: int, counts: dict[Outcome, int]) -> str:
        """Count a batch whose record stands, once however often it is said; gives the script's word."""
        keys = StageKeys(run_id, stage)
        answer: str = self._scripts["commit"](
            keys=[
                names.run_hash(run_id), keys.done, keys.leases, keys.holders, keys.sent, keys.waiting, keys.blocked,
                keys.history,
            ],
            args=[stage, batch, *(word for pair in counts.items() for word in pair)],
        )  # fmt: skip
        return answer

    def release(
        self,
        run_id: str,
        stage: Stage,
        batch: int,
        fence: int,
        *,
        delay_seconds: float = 0.0,
        failed: bool = False,
        put_off: bool = False,
        error: str = "",
    ) -> None:
        """Hand a batch back, with what went wrong; nothing happens when another worker holds it by now."""
        keys = StageKeys(run_id, stage)
        self._scripts["release"](
            keys=[keys.leases, keys.holders, keys.waiting, keys.history],
            args=[batch, fence, delay_seconds, int(failed), int(put_off), error],
        )

    def take_back(self, run_id: str, stage: Stage, *, limit: int, queue_length: int, resend_seconds: float) -> int:
        """Put batches whose lease ran out, or whose message vanished, back in line; gives how many.

        A message has vanished when nobody claimed its batch for resend_seconds and the queue is short of one.
        """
        keys = StageKeys(run_id, stage)
        back = self._scripts["expire"](
            keys=[keys.leases, keys.holders, keys.sent, keys.waiting, keys.history],
            args=[limit, queue_length, resend_seconds],
        )
        return int(cast(int, back))

    def are_done(self, run_id: str, stage: Stage, batches: Iterable[int]) -> bool:
        """Whether every one of the batches is counted."""
        pipe = self.redis.pipeline(transaction=False)
        for batch in batches:
            pipe.getbit(StageKeys(run_id, stage).done, batch)
        return all(pipe.execute())

    def done_batches(self, run_id: str, stage: Stage) -> bytes:
        """The bitmap of a stage's batches that are done, the most significant bit first."""
        key = StageKeys(run_id, stage).done
        bits: bytes | None = self.redis.execute_command("GET", key, NEVER_DECODE=True)  # type: ignore[no-untyped-call]
        return bits or b""

    def is_worked_on(self, run_id: str) -> bool:
        """Whether a worker holds a batch of the run; a dead one does until its lease runs out."""
        now = self._now()
        return any(self.redis.zcount(StageKeys(run_id, stage).leases, now, "+inf") for stage in Stage)

    def history(self, run_id: str, stage: Stage, batch: int) -> History:
        """What happened to a batch so far; an empty one where nothing did."""
        found = cast(str | None, self.redis.hget(StageKeys(run_id, stage).history, str(batch)))
        return msgspec.json.decode(found, type=History) if found else History()

    # evidence -----------------------------------------------------------------------------------------------------

    def note_device(self, worker: str, note: OnDevice, *, seconds: float) -> None:
        """Note which batch is on a worker's device; forgotten after `seconds`."""
        self.redis.set(names.device_note(worker), msgspec.json.encode(note), px=max(1, int(1000 * seconds)))

    def clear_device(self, worker: str) -> None:
        """Take away the note of what is on a worker's device."""
        self.redis.delete(names.device_note(worker))

    def report_death(self, worker: str, words: str, *, delay_seconds: Callable[[int], float]) -> OnDevice | None:
        """A process was seen to die: what was on its device is charged and handed back; gives what that was.

        A batch whose rows had a process of their own is handed back only. `delay_seconds`: of the deaths so far.
        """
        found = cast(str | None, self.redis.get(names.device_note(worker)))
        if found is None:
            return None
        note = msgspec.json.decode(found, type=OnDevice)
        keys = StageKeys(note.run_id, note.stage)
        delay = 0.0 if note.alone else delay_seconds(self.history(note.run_id, note.stage, note.batch).deaths + 1)
        self._scripts["death"](
            keys=[names.device_note(worker), keys.done, keys.leases, keys.holders, keys.waiting, keys.history],
            args=[found, note.batch, note.fence, delay, int(not note.alone), words],
        )
        return note

    def note_row_death(self, run_id: str, stage: Stage, batch: int, row: int, words: str) -> list[str]:
        """Note how a process ended that made this row and nothing else; gives all its ends so far."""
        answer = self._scripts["row_death"](keys=[StageKeys(run_id, stage).history], args=[batch, row, words])
        return msgspec.json.decode(answer, type=History).rows[str(row)]

    # pace and workers ---------------------------------------------------------------------------------------------

    def note_pace(self, run_id: str, finished: dict[Stage, int]) -> None:
        """Keep a sample of the rows finished by stage, for the remaining time; the oldest goes."""
        sample = json.dumps([self._now(), finished])
        pipe = self.redis.pipeline()
        pipe.rpush(names.pace_list(run_id), sample)
        pipe.ltrim(names.pace_list(run_id), -PACE_SAMPLES, -1)
        pipe.execute()

    def pace(self, run_id: str) -> list[tuple[float, dict[str, int]]]:
        """Samples (time in seconds, rows finished by stage), oldest first."""
        samples = cast(list[str], self.redis.lrange(names.pace_list(run_id), 0, -1))
        return [tuple(json.loads(sample)) for sample in samples]

    def note_worker(self, worker: str, fields: dict[str, Any]) -> None:
        """Keep a worker's heartbeat, with the moment at which it was heard."""
        self.redis.hset(names.WORKERS, worker, json.dumps(fields | {"seen": self._now()}))

    def workers(self) -> dict[str, dict[str, Any]]:
        """Heartbeats of the workers heard of lately, by worker id; `seen` is by the caller's clock."""
        beats = cast(dict[str, str], self.redis.hgetall(names.WORKERS))
        known = {worker: json.loads(beat) for worker, beat in beats.items()}
        now = self._now()
        gone = [worker for worker, beat in known.items() if now - beat["seen"] > WORKER_SECONDS]
        if gone:
            self.redis.hdel(names.WORKERS, *gone)
        ahead = time.time() - now
        heard = {worker: beat | {"seen": beat["seen"] + ahead} for worker, beat in sorted(known.items())}
        return {worker: beat for worker, beat in heard.items() if worker not in gone}

    def forget_worker(self, worker: str) -> None:
        """Take a worker off the list."""
        self.redis.hdel(names.WORKERS, worker)

    def fitting(self, key: str) -> int | None:
        """Images that fit at once on a kind of device, as a worker noted it."""
        value = cast(str | None, self.redis.hget(names.FITTING, key))
        return int(value) if value else None

    def note_fitting(self, key: str, images: int) -> None:
        """Remember how many images of this card, model and size fit at once."""
        self.redis.hset(names.FITTING, key, images)

    def _now(self) -> float:
        """Redis's clock: a worker's own may be wrong."""
        seconds, microseconds = self.redis.time()
        return float(seconds + microseconds / 1e6)


def _sizes(layout: PlanLayout) -> dict[str, int]:
    return {"rows": layout.rows, "batches": layout.batches, "end": layout.end}


def _keys_of(run_id: str) -> list[str]:
    """Every key that belongs to one run, its hash first."""
    stages = [key for stage in Stage for key in StageKeys(run_id, stage).all()]
    return [names.run_hash(run_id), names.pace_list(run_id), *stages]


def _keep(pipe: Any, run_id: str, *, is_ended: bool) -> None:
    """A run's keys stay as long as it is not over, and a month longer."""
    for key in _keys_of(run_id):
        pipe.expire(key, ENDED_RUN_SECONDS) if is_ended else pipe.persist(key)


def open_ledger(url: str) -> Ledger:
    """The ledger on the Redis at url; raises ServiceError when nobody answers there."""
    client = redis.Redis.from_url(url, decode_responses=True, socket_connect_timeout=5, socket_timeout=30)
    try:
        client.ping()
    except redis.RedisError as error:
        raise ServiceError(
            f"Redis does not answer ({error}); look at POSEMILL_REDIS_URL, or run `posemill up` here first"
        ) from error
    return Ledger(client)

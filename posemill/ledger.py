"""Which batches of a run are done, leased or pending: counters, bitmaps and small sets in Redis.

Everything here can be lost: posemill/rebuild.py makes it again from storage. What must be decided at one moment is
a Lua script (posemill/lua), and the clock is Redis's own.
"""

import json
import time
from enum import StrEnum
from importlib import resources
from typing import Any, cast

import msgspec
import redis

from posemill import names
from posemill.errors import ServiceError
from posemill.names import Stage, StageKeys
from posemill.progress import Snapshot, stage_counts
from posemill.records import Outcome, Plan, RunState

PACE_SAMPLES = 240  # kept for the remaining time
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
    UNKNOWN = "unknown"  # the ledger has no such run


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A claim's answer; fence and attempt only mean something when it was granted."""

    verdict: Verdict
    fence: int = 0  # grows with each claim of the run: an older holder can be told from a newer one
    attempt: int = 0  # 1 for the first


class Ledger:
    """The ledger of all runs on one Redis."""

    def __init__(self, client: "redis.Redis[str]") -> None:  # type: ignore[type-arg]
        self.redis = client
        folder = resources.files("posemill") / "lua"
        self._scripts = {
            name: client.register_script((folder / f"{name}.lua").read_text())
            for name in ("claim", "renew", "commit", "release")
        }

    # runs ---------------------------------------------------------------------------------------------------------

    def open(self, run_id: str, plan: Plan) -> bool:
        """Make a run known and let the dispatcher find it; False when it was known already."""
        key = names.run_hash(run_id)
        pipe = self.redis.pipeline()  # at once: a submitter killed in between would leave a run that nobody finds
        pipe.hsetnx(key, "state", RunState.RUNNING)
        pipe.hset(
            key,
            mapping={
                "detect.rows": plan.sources,
                "detect.batches": plan.detect_batches,
                "generate.rows": plan.items,
                "generate.batches": plan.generate_batches,
                "refused_rows": plan.refused_rows,
            },
        )
        pipe.hsetnx(key, "opened", time.time())
        pipe.sadd(names.RUNS, run_id)
        return bool(pipe.execute()[0])

    def restore(self, run_id: str, stage: Stage, done: bytes, counts: dict[Outcome, int], batches: int) -> None:
        """Set a stage's progress to what storage says: `done` is a bitmap, most significant bit first."""
        keys = StageKeys(run_id, stage)
        values: dict[Any, Any] = {f"{stage}.{outcome}": counts[outcome] for outcome in Outcome}
        values |= {f"{stage}.batches_done": batches, f"{stage}.cursor": 0}
        pipe = self.redis.pipeline()
        pipe.delete(*keys.all())
        if done:
            pipe.set(keys.done, done)
        pipe.hset(names.run_hash(run_id), mapping=values)
        pipe.execute()

    def forget(self, run_id: str) -> None:
        """Remove all that the ledger knows of a run."""
        keys = [key for stage in Stage for key in StageKeys(run_id, stage).all()]
        self.redis.delete(names.run_hash(run_id), names.pace_list(run_id), *keys)
        self.redis.srem(names.RUNS, run_id)

    def open_runs(self) -> list[str]:
        return sorted(cast(set[str], self.redis.smembers(names.RUNS)))

    def state(self, run_id: str) -> RunState | None:
        value = self.redis.hget(names.run_hash(run_id), "state")
        return RunState(cast(str, value)) if value else None

    def set_state(self, run_id: str, state: RunState, reason: str = "") -> None:
        self.redis.hset(names.run_hash(run_id), mapping={"state": state, "reason": reason})
        if state in (RunState.RUNNING, RunState.PAUSED):
            self.redis.sadd(names.RUNS, run_id)
        else:
            self.redis.srem(names.RUNS, run_id)

    def snapshot(self, run_id: str) -> Snapshot | None:
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
        }
        return Snapshot(
            run_id=run_id,
            state=RunState(fields["state"]),
            reason=fields.get("reason", ""),
            refused_rows=int(fields.get("refused_rows", 0)),
            stages=stages,
        )

    # batches ------------------------------------------------------------------------------------------------------

    def claim(self, run_id: str, stage: Stage, batch: int, lease_seconds: float) -> Claim:
        keys = StageKeys(run_id, stage)
        answer = self._scripts["claim"](
            keys=[
                names.run_hash(run_id), keys.done, keys.leases, keys.holders, keys.sent, keys.waiting, keys.attempts
            ],
            args=[batch, lease_seconds],
        )  # fmt: skip
        verdict = Verdict(answer[0])
        if verdict is not Verdict.CLAIMED:
            return Claim(verdict=verdict)
        return Claim(verdict=verdict, fence=int(answer[1]), attempt=int(answer[2]))

    def renew(self, run_id: str, stage: Stage, batch: int, fence: int, lease_seconds: float) -> bool:
        """Keep the lease; False when another worker has it, or the run is cancelled."""
        keys = StageKeys(run_id, stage)
        answer = self._scripts["renew"](
            keys=[names.run_hash(run_id), keys.leases, keys.holders], args=[batch, fence, lease_seconds]
        )
        return answer not in ("lost", RunState.CANCELLED)

    def commit(self, run_id: str, stage: Stage, batch: int, counts: dict[Outcome, int]) -> str:
        keys = StageKeys(run_id, stage)
        answer: str = self._scripts["commit"](
            keys=[
                names.run_hash(run_id), keys.done, keys.leases, keys.holders, keys.sent, keys.waiting, keys.blocked,
                keys.attempts, keys.errors, keys.delays,
            ],
            args=[stage, batch, counts[Outcome.DONE], counts[Outcome.REJECTED], counts[Outcome.FAILED]],
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
        refund: bool = False,
        error: str = "",
        overdue: bool = False,
    ) -> None:
        """Hand a batch back, with what went wrong; `refund` takes its attempt off the count.

        When the lease is lost nothing happens, except that an `overdue` call still takes the attempt off.
        """
        keys = StageKeys(run_id, stage)
        self._scripts["release"](
            keys=[keys.leases, keys.holders, keys.waiting, keys.attempts, keys.errors],
            args=[batch, fence, delay_seconds, int(refund), error, int(overdue)],
        )

    def count_delay(self, run_id: str, stage: Stage, batch: int) -> int:
        """Note that a transient error puts the batch off; gives how often one has."""
        return self.redis.hincrby(StageKeys(run_id, stage).delays, str(batch), 1)

    def begin_row(self, run_id: str, stage: Stage, batch: int, row: int) -> int:
        """Note that a row is begun alone; gives how often it was begun and not ended, this time included."""
        return self.redis.hincrby(StageKeys(run_id, stage).alone, f"{batch}:{row}", 1)

    def end_row(self, run_id: str, stage: Stage, batch: int, row: int) -> None:
        self.redis.hdel(StageKeys(run_id, stage).alone, f"{batch}:{row}")

    def last_error(self, run_id: str, stage: Stage, batch: int) -> str:
        """Why the batch's last attempt failed; nothing when its worker died without a word."""
        return cast(str, self.redis.hget(StageKeys(run_id, stage).errors, str(batch)) or "")

    # pace and workers ---------------------------------------------------------------------------------------------

    def note_pace(self, run_id: str, finished: dict[Stage, int]) -> None:
        sample = json.dumps([self._now(), finished[Stage.DETECT], finished[Stage.GENERATE]])
        pipe = self.redis.pipeline()
        pipe.rpush(names.pace_list(run_id), sample)
        pipe.ltrim(names.pace_list(run_id), -PACE_SAMPLES, -1)
        pipe.execute()

    def pace(self, run_id: str) -> list[tuple[float, int, int]]:
        """Samples (time in seconds, sources finished, items finished), oldest first."""
        samples = cast(list[str], self.redis.lrange(names.pace_list(run_id), 0, -1))
        return [tuple(json.loads(sample)) for sample in samples]

    def note_worker(self, worker: str, fields: dict[str, Any]) -> None:
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
        self.redis.hdel(names.WORKERS, worker)

    def fitting(self, key: str) -> int | None:
        """Images that fit at once on a kind of device, as a worker noted it."""
        value = cast(str | None, self.redis.hget(names.FITTING, key))
        return int(value) if value else None

    def note_fitting(self, key: str, images: int) -> None:
        self.redis.hset(names.FITTING, key, images)

    def _now(self) -> float:
        """Redis's clock: a worker's own may be wrong."""
        seconds, microseconds = self.redis.time()
        return float(seconds + microseconds / 1e6)


def open_ledger(url: str) -> Ledger:
    """The ledger on the Redis at url; raises ServiceError when nobody answers there."""
    client = redis.Redis.from_url(url, decode_responses=True, socket_connect_timeout=5, socket_timeout=30)
    try:
        client.ping()
    except redis.RedisError as error:
        raise ServiceError(f"Redis does not answer ({error}); look at POSEMILL_REDIS_URL") from error
    return Ledger(client)

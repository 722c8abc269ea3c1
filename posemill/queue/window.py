"""What of one stage is on the broker, what may go there next, and where new batches begin.

Only the elected dispatcher changes these; if two do for a moment, messages go out twice and claims sort it out.
"""

from collections.abc import Callable
from typing import cast

import redis

from posemill.contract import keys as names
from posemill.contract.keys import Priority, Stage, StageKeys, queue_list
from posemill.contract.stages import STAGES
from posemill.queue.ledger import Ledger


class Window:
    """The messages of one stage of one run; at most `limit` are out."""

    def __init__(self, ledger: Ledger, run_id: str, stage: Stage, queue: str, limit: int) -> None:
        self.run_id = run_id
        self.stage = stage
        self.queue = queue
        self.limit = limit
        self._ledger = ledger
        self._redis = ledger.redis
        self._keys = StageKeys(run_id, stage)
        needs = STAGES[stage].needs
        self.waits = needs is not None  # whether its batches wait for another stage's
        self._needed = StageKeys(run_id, needs or stage).done

    def take_back(self, resend_seconds: float) -> int:
        """Put what was lost back in line; gives how many batches."""
        length = queue_length(self._redis, self.queue)
        return self._ledger.take_back(
            self.run_id, self.stage, limit=self.limit, queue_length=length, resend_seconds=resend_seconds
        )

    def room(self) -> int:
        """How many more messages may go out."""
        pipe = self._redis.pipeline()
        pipe.zcard(self._keys.leases)
        pipe.zcard(self._keys.sent)
        out: list[int] = pipe.execute()
        return self.limit - sum(out)

    def due(self, room: int) -> list[int]:
        """Batches whose retry is due."""
        found = self._redis.zrangebyscore(self._keys.waiting, "-inf", self._now(), start=0, num=room)
        return [int(batch) for batch in cast(list[str], found)]

    def passed_over(self) -> list[int]:
        """The first batches that were not ready when they were looked at."""
        found = self._redis.zrange(self._keys.blocked, 0, self.limit - 1)
        return [int(batch) for batch in cast(list[str], found)]

    def fresh(self, limit: int) -> tuple[list[int], int]:
        """The next batches below `limit` never sent and not done, and where the look ended."""
        cursor = int(cast(str, self._redis.hget(names.run_hash(self.run_id), f"{self.stage}.cursor")) or 0)
        end = min(limit, cursor + self.limit)
        pipe = self._redis.pipeline(transaction=False)
        for batch in range(cursor, end):
            pipe.getbit(self._keys.done, batch)
        flags = pipe.execute()
        return [batch for batch, done in zip(range(cursor, end), flags, strict=True) if not done], end

    def advance(self, passed: list[int], end: int) -> None:
        """Remember the batches passed over, and that all before `end` were looked at."""
        pipe = self._redis.pipeline()
        if passed:
            pipe.zadd(self._keys.blocked, {str(batch): batch for batch in passed})
        pipe.hset(names.run_hash(self.run_id), f"{self.stage}.cursor", end)
        pipe.execute()

    def mark_sent(self, batches: list[int]) -> None:
        """Count the batches among the messages that are out."""
        now = self._now()
        pipe = self._redis.pipeline()
        pipe.zadd(self._keys.sent, {str(batch): now for batch in batches})
        pipe.zrem(self._keys.waiting, *batches)
        pipe.zrem(self._keys.blocked, *batches)
        pipe.execute()

    def ready(self, needs: dict[int, list[int]]) -> set[int]:
        """Those of the batches whose needed batches, of the stage before, are all done."""
        wanted = sorted({batch for needed in needs.values() for batch in needed})
        pipe = self._redis.pipeline(transaction=False)
        for batch in wanted:
            pipe.getbit(self._needed, batch)
        done = {batch for batch, bit in zip(wanted, pipe.execute(), strict=True) if bit}
        return {batch for batch, needed in needs.items() if done.issuperset(needed)}

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return seconds + microseconds / 1e6


def queue_length(client: "redis.Redis", queue: str) -> int:
    """Messages that wait on a queue."""
    pipe = client.pipeline()
    for priority in Priority:
        pipe.llen(queue_list(queue, priority))
    lengths: list[int] = pipe.execute()
    return sum(lengths)


def take(
    batches: list[int], room: int, ready: Callable[[int], bool], *, limit_passed: int | None = None
) -> tuple[list[int], list[int]]:
    """The first `room` ready batches, and those passed over on the way, at most `limit_passed`."""
    chosen: list[int] = []
    passed: list[int] = []
    for batch in batches:
        if len(chosen) >= room:
            break
        if ready(batch):
            chosen.append(batch)
        elif limit_passed is not None and len(passed) >= limit_passed:
            break
        else:
            passed.append(batch)
    return chosen, passed

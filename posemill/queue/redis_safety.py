"""What is wrong with a Redis that would lose the queue by its configuration: one rule, for workers and doctor."""

from collections.abc import Iterator
from typing import NamedTuple

import redis

from posemill.errors import ServiceError


class RedisTrouble(NamedTuple):
    """A setting that loses messages or leases, and the mend."""

    what: str
    found: str
    mend: str


def redis_troubles(client: "redis.Redis", *, persistent: bool) -> Iterator[RedisTrouble]:
    """Whether it may evict keys, and, where it must be persistent, whether it forgets all when it is restarted."""
    policy = client.info("memory").get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield RedisTrouble(
            "Redis eviction",
            f"Redis evicts keys when memory is short (maxmemory-policy {policy})",
            "redis-cli CONFIG SET maxmemory-policy noeviction",
        )
    if persistent and not is_persistent(client):
        yield RedisTrouble(
            "Redis persistence",
            "Redis keeps nothing across a restart",
            "redis-cli CONFIG SET appendonly yes "
            "(or set POSEMILL_REDIS_PERSISTENCE=optional and run `posemill resume RUN` after each restart)",
        )


def require_safe_redis(client: "redis.Redis", *, persistent: bool) -> None:
    """Raises ServiceError, with the mend, for the first trouble."""
    for trouble in redis_troubles(client, persistent=persistent):
        raise ServiceError(f"{trouble.found}; mend it: {trouble.mend}")


def is_persistent(client: "redis.Redis") -> bool:
    """Whether an append-only file or snapshots are kept."""
    if client.info("persistence").get("aof_enabled"):
        return True
    try:
        return bool(client.config_get("save").get("save"))
    except redis.ResponseError:  # managed servers hide CONFIG; nobody can tell, so trust them
        return True

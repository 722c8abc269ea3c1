"""Refuses a Redis that would lose the queue by its configuration."""

import redis

from posemill.errors import ServiceError


def require_safe_redis(client: "redis.Redis", *, persistent: bool) -> None:
    """Raises ServiceError, with the mend, where Redis may evict keys or forgets all when it is restarted."""
    policy = client.info("memory").get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise ServiceError(
            f"Redis evicts keys when memory is short (maxmemory-policy {policy}); "
            "mend it: redis-cli CONFIG SET maxmemory-policy noeviction"
        )
    if persistent and not is_persistent(client):
        raise ServiceError(
            "Redis keeps nothing across a restart; mend it: redis-cli CONFIG SET appendonly yes "
            "(or set POSEMILL_REDIS_PERSISTENCE=optional and run `posemill resume RUN` after each restart)"
        )


def is_persistent(client: "redis.Redis") -> bool:
    """Whether an append-only file or snapshots are kept."""
    if client.info("persistence").get("aof_enabled"):
        return True
    try:
        return bool(client.config_get("save").get("save"))
    except redis.ResponseError:  # managed servers hide CONFIG; nobody can tell, so trust them
        return True

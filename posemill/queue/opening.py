"""Storage and Redis, opened together and refused where they could lose or repeat work."""

from posemill.queue.ledger import Ledger, open_ledger
from posemill.queue.redis_safety import require_safe_redis
from posemill.settings import Settings
from posemill.storage.store import S3Store, open_store, require_conditional_writes


def open_services(settings: Settings) -> tuple[S3Store, Ledger]:
    """Raises ServiceError when either cannot be used."""
    store, ledger = open_store(settings.store), open_ledger(settings.redis_url.get_secret_value())
    require_safe_redis(ledger.redis, persistent=settings.redis_persistence == "required")
    require_conditional_writes(store)
    return store, ledger

"""Storage and Redis, opened together and refused where they could lose or repeat work."""

from posemill.queue.ledger import Ledger, open_ledger
from posemill.queue.redis_safety import require_safe_redis
from posemill.queue.store_identity import join
from posemill.settings import Settings
from posemill.storage.store import S3Store, open_store, require_conditional_writes


def open_services(settings: Settings) -> tuple[S3Store, Ledger]:
    """For whoever submits or works. Raises ServiceError when either cannot be used, or not with the other."""
    store, ledger = open_store(settings.store), open_ledger(settings.redis_url.get_secret_value())
    require_safe_redis(ledger.redis, persistent=settings.redis_persistence == "required")
    require_conditional_writes(store)
    join(store, ledger)
    return store, ledger


def open_pair(settings: Settings) -> tuple[S3Store, Ledger]:
    """For whoever looks at runs and steers them. Raises ServiceError when the two do not belong together."""
    store, ledger = open_store(settings.store), open_ledger(settings.redis_url.get_secret_value())
    join(store, ledger)
    return store, ledger

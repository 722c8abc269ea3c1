"""The Celery app of both sides: the producer sends with it, workers consume with it."""

import ssl
from typing import Any

import redis
from celery import Celery
from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.exceptions import KombuError

from posemill.contract.keys import Priority, Stage, task_name

RECONNECT_SECONDS = 0.5
SEND_ERRORS: tuple[type[Exception], ...] = (KombuError, redis.RedisError)  # a message could not be put on a queue


class PromptConnection(Connection):
    """Tries again every half second while Redis is away; kombu's own pauses grow by two seconds each time."""

    def _ensure_connection(self, errback: Any = None, max_retries: Any = None, *_: Any, **options: Any) -> Any:
        pauses = {"interval_start": RECONNECT_SECONDS, "interval_step": 0, "interval_max": RECONNECT_SECONDS}
        return super()._ensure_connection(  # type: ignore[no-untyped-call]
            errback, max_retries, **(options | pauses)
        )


class PromptAMQP(AMQP):  # type: ignore[misc]  # Celery has no types
    """Celery's AMQP over connections that fail promptly."""

    Connection = PromptConnection


class Doorbell(Celery):  # type: ignore[misc]  # Celery ships no types
    """Celery on the Redis that it was made for; by itself it would prefer CELERY_BROKER_URL of the environment."""

    def __init__(self, redis_url: str) -> None:
        super().__init__("posemill", broker=redis_url, loader="app", amqp=PromptAMQP)
        self._redis_url = redis_url

    def connection(self, url: str | None = None, **options: Any) -> Any:
        """To the broker, for whoever asks for no kind of connection."""
        return self.connection_for_write(url, **options)

    def connection_for_read(self, url: str | None = None, **options: Any) -> Any:
        """To the Redis that this app was made for, unless another is named."""
        return super().connection_for_read(url or self._redis_url, **options)

    def connection_for_write(self, url: str | None = None, **options: Any) -> Any:
        """To the Redis that this app was made for, unless another is named."""
        return super().connection_for_write(url or self._redis_url, **options)


def make_app(redis_url: str) -> Celery:
    """Celery on Redis as a doorbell: small JSON messages, acked when a thread takes them, no results kept.

    Acked early, because the ledger sends again what is lost, and because a late ack that fails while Redis is away
    takes one place of the worker's for good: kombu asks for no message any more. Nothing is fetched ahead of a free
    thread.
    """
    app = Doorbell(redis_url)
    if redis_url.startswith("rediss://") and "ssl_cert_reqs" not in redis_url:
        app.conf.broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED}  # kombu alone would take any certificate
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_store_errors_even_if_ignored=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "queue_order_strategy": "priority",
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
        },
    )
    return app


def send_batches(
    app: Celery, stage: Stage, queue: str, run_id: str, batches: list[int], *, priority: Priority = Priority.NORMAL
) -> None:
    """Put one message for each batch on the queue."""
    with app.producer_pool.acquire(block=True) as producer:
        for batch in batches:
            app.send_task(task_name(stage), args=[run_id, batch], queue=queue, producer=producer, priority=priority)

"""Object storage that misbehaves: a fault-injecting proxy in front of the real server."""

from collections.abc import Iterator
from itertools import count

import pytest

from posemill.errors import RunFault, TransientError
from posemill.settings import Settings
from posemill.storage.store import S3Store, open_store
from producer.local.services import EmbeddedServices
from tests.chaos.proxy import Fault, FaultProxy


@pytest.fixture
def proxy(services: EmbeddedServices) -> Iterator[FaultProxy]:
    with FaultProxy(services.s3_url) as running:
        yield running


@pytest.fixture
def spoiled(proxy: FaultProxy, settings: Settings) -> S3Store:
    return open_store(settings.store, endpoint_url=proxy.url)


def first(faults: int, fault: Fault):  # type: ignore[no-untyped-def]
    """Spoil the first requests, and none after."""
    numbers = count()
    return lambda method, path: fault if next(numbers) < faults else None


@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.SLOW_DOWN, Fault.NOTHING])
def test_a_passing_fault_is_not_noticed(proxy: FaultProxy, spoiled: S3Store, fault: Fault) -> None:
    proxy.choose = first(2, fault)
    spoiled.put("k", b"content")
    assert spoiled.get("k") == b"content"
    assert proxy.injected == {fault: 2}


@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.SLOW_DOWN, Fault.NOTHING])
def test_a_lasting_fault_is_transient(proxy: FaultProxy, spoiled: S3Store, fault: Fault) -> None:
    proxy.choose = lambda method, path: fault
    with pytest.raises(TransientError):
        spoiled.get("k")


@pytest.mark.parametrize("fault", [Fault.FORBIDDEN, Fault.NO_BUCKET])
def test_a_refusal_is_a_fault_of_the_run(proxy: FaultProxy, spoiled: S3Store, fault: Fault) -> None:
    proxy.choose = lambda method, path: fault
    with pytest.raises(RunFault):
        spoiled.put("k", b"content")


def test_a_write_whose_reply_was_lost_is_found_to_be_written(proxy: FaultProxy, spoiled: S3Store) -> None:
    proxy.choose = first(1, Fault.LOST_REPLY)
    stored, _ = spoiled.put_if_absent("k", b"content")
    assert stored == spoiled.head("k")
    assert spoiled.get("k") == b"content"


def test_half_a_body_is_never_taken_for_the_whole(proxy: FaultProxy, spoiled: S3Store) -> None:
    spoiled.put("k", b"content" * 1000)
    proxy.choose = lambda method, path: Fault.HALF_BODY if method == "GET" else None
    with pytest.raises(TransientError):
        spoiled.get("k")

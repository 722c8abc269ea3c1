"""Reads by obstore give what boto3 gives, and all that is out of the ordinary is boto3's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from posemill.errors import NotFound, RunFault, TransientError
from posemill.settings import Settings
from posemill.storage import obstore_reads as quick_reads
from posemill.storage.obstore_reads import MOST_FAILURES
from posemill.storage.store import S3Store, open_store
from producer.local.services import EmbeddedServices
from tests.chaos.proxy import Fault, FaultProxy


@pytest.fixture
def quick(settings: Settings) -> S3Store:
    return open_store(settings.store, many_reads=True)


@pytest.fixture
def by_boto3(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that boto3 reads."""
    keys: list[str] = []
    whole = S3Store._get_with_boto3

    def noted(store: S3Store, bucket: str, key: str) -> bytes:
        keys.append(key)
        return whole(store, bucket, key)

    monkeypatch.setattr(S3Store, "_get_with_boto3", noted)
    return keys


@pytest.fixture
def proxy(services: EmbeddedServices) -> Iterator[FaultProxy]:
    with FaultProxy(services.s3_url) as running:
        yield running


def test_objects_of_every_size_are_read_by_many_threads(quick: S3Store, by_boto3: list[str]) -> None:
    contents = {f"quick/{n}": bytes([n]) * n**3 for n in range(64)}
    for key, content in contents.items():
        quick.put(key, content)
    with ThreadPoolExecutor(16) as pool:
        assert dict(zip(contents, pool.map(quick.get, contents), strict=True)) == contents
    assert quick.get_uri(f"{quick.url}/quick/3") == contents["quick/3"]
    assert by_boto3 == []


@pytest.mark.parametrize("key", ["a b", "a#b", "a%20b", "größe", "a+b", "a//b", ".hidden", "a?b", "~"])
def test_a_key_that_libraries_write_differently_is_read_by_boto3(quick, by_boto3, key) -> None:
    quick.put(key, key.encode())
    assert quick.get(key) == key.encode()
    assert len(by_boto3) == 1


def test_a_missing_object_is_not_found_and_costs_no_trust(quick: S3Store, by_boto3: list[str]) -> None:
    for _ in range(2 * MOST_FAILURES):
        with pytest.raises(NotFound, match="nothing"):
            quick.get("nothing")
    quick.put("something", b"1")
    by_boto3.clear()
    assert quick.get("something") == b"1"
    assert by_boto3 == []


@pytest.mark.parametrize("fault", [Fault.ERROR_500, Fault.NOTHING, Fault.HALF_BODY])
def test_a_fault_of_the_server_is_boto3_s_to_mend_or_to_tell(proxy, settings, fault) -> None:
    store = open_store(settings.store, endpoint_url=proxy.url, many_reads=True)
    store.put("k", b"content" * 1000)
    faults = iter([fault])
    proxy.choose = lambda method, path: next(faults, None)
    assert store.get("k") == b"content" * 1000
    assert proxy.injected == {fault: 1}
    proxy.choose = lambda method, path: fault
    with pytest.raises(TransientError):
        store.get("k")


def test_a_server_that_obstore_cannot_talk_to_is_asked_by_boto3_alone(quick, by_boto3, monkeypatch) -> None:
    quick.put("k", b"1")
    opened: list[str] = []

    def closed(self, bucket: str):
        opened.append(bucket)
        raise ValueError("no such certificate")

    monkeypatch.setattr(quick_reads.QuickReads, "_open", closed)
    assert {quick.get("k") for _ in range(3 * MOST_FAILURES)} == {b"1"}
    assert (len(by_boto3), len(opened)) == (3 * MOST_FAILURES, MOST_FAILURES)


def test_wrong_credentials_are_a_fault_of_the_run(services: EmbeddedServices) -> None:
    wrong = open_store("s3://posemill", endpoint_url=services.s3_url, access_key="nobody", secret_key="hunter2",
                       region="us-east-1", many_reads=True)  # fmt: skip
    with pytest.raises(RunFault) as caught:
        wrong.get("k")
    assert "hunter2" not in str(caught.value)


def test_without_obstore_boto3_reads_everything(settings, by_boto3, monkeypatch) -> None:
    monkeypatch.setattr(quick_reads, "find_spec", lambda name: None)
    store = open_store(settings.store, many_reads=True)
    store.put("k", b"1")
    assert (store.get("k"), len(by_boto3)) == (b"1", 1)

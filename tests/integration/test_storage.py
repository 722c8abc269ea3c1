"""Object storage against a real S3 server."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from posemill.contract.records import StoredObject
from posemill.errors import BadInput, NotFound, RunFault, ServiceError, TransientError
from posemill.settings import Settings
from posemill.storage.store import Store, open_store, require_conditional_writes, split_s3_uri
from producer.local.services import EmbeddedServices


def test_the_first_writer_of_a_key_wins(store: Store) -> None:
    first, created = store.put_if_absent("a", b"first")
    second, created_again = store.put_if_absent("a", b"second")
    assert (created, created_again) == (True, False)
    assert second == first
    assert store.get("a") == b"first"


def test_of_twenty_writers_at_once_one_wins_and_all_learn_what_stands(store: Store) -> None:
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda n: store.put_if_absent("race", b"%d" % n), range(20)))
    assert sum(created for _, created in results) == 1
    assert {stored.sha256 for stored, _ in results} == {store.head("race").sha256}


def test_a_listing_crosses_pages_and_keeps_to_its_prefix(store: Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: store.put(f"many/{n:04d}", b"x"), range(1005)))
    store.put("other", b"x")
    assert [info.key for info in store.list("many/")] == [f"many/{n:04d}" for n in range(1005)]


def test_folders_are_the_first_level_of_names(store: Store) -> None:
    for key in ("runs/a/x", "runs/a/y", "runs/b/x"):
        store.put(key, b"")
    assert sorted(store.folders("runs/")) == ["runs/a/", "runs/b/"]


def test_what_was_written_can_be_told_from_what_stands_there_later(store: Store) -> None:
    written = store.put("k", b"one")
    assert store.head("k") == written
    store.put("k", b"two")
    changed = store.head("k")
    assert isinstance(changed, StoredObject)
    assert changed.etag != written.etag


def test_a_missing_object_is_not_found(store: Store) -> None:
    assert store.head("nothing") is None
    with pytest.raises(NotFound, match="nothing"):
        store.get("nothing")


def test_wrong_credentials_are_a_fault_of_the_run_and_are_not_in_the_message(services: EmbeddedServices) -> None:
    wrong = open_store(
        "s3://posemill", endpoint_url=services.s3_url, access_key="nobody", secret_key="hunter2", region="us-east-1"
    )
    with pytest.raises(RunFault) as caught:
        wrong.get("a")
    assert "hunter2" not in str(caught.value)


def test_an_unreachable_server_is_transient() -> None:
    away = open_store(
        "s3://posemill", endpoint_url="http://127.0.0.1:9", access_key="a", secret_key="b", region="us-east-1"
    )
    with pytest.raises(TransientError, match="AWS_ENDPOINT_URL"):
        away.get("a")


def test_a_server_that_ignores_conditions_is_refused(store: Store) -> None:
    require_conditional_writes(store)

    class Careless:
        url = "s3://careless"
        put = staticmethod(store.put)

        @staticmethod
        def put_if_absent(key: str, content: bytes) -> tuple[StoredObject, bool]:
            return store.put(key, content), True

    with pytest.raises(ServiceError, match="If-None-Match"):
        require_conditional_writes(Careless())  # type: ignore[arg-type]


@pytest.mark.parametrize("url", ["bucket/prefix", "http://bucket", "s3://", "", "s3://[x", "\udcff"])
def test_an_address_that_is_not_s3_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        split_s3_uri(url)


def test_a_file_larger_than_a_part_comes_back_as_it_went(store: Store, tmp_path: Path) -> None:
    content = b"0123456789abcdef" * (9 << 16)  # 9 MiB, boto3's parts are 8
    (tmp_path / "up").write_bytes(content)
    store.put_file("large", tmp_path / "up")
    store.get_file("large", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == content
    with pytest.raises(NotFound):
        store.get_file("nothing", tmp_path / "none")


def test_a_file_that_storage_refuses_to_take_is_a_fault_of_the_run(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"x")
    with pytest.raises(RunFault, match="check the bucket and the credentials"):
        open_store(settings.store, access_key="nobody", secret_key="wrong").put_file("up", tmp_path / "up")

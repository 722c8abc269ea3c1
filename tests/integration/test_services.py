"""Embedded services keep their data, their ports and their secrets to themselves."""

import json
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import redis

from posemill.errors import PosemillError, ServiceError
from posemill.storage.store import open_store
from producer.cli.local_settings import local_settings
from producer.local import embedded_servers
from producer.local.services import EmbeddedServices
from tests.another_user import Doors, as_another_user, break_in, needs_root

Value = TypeVar("Value")


@pytest.fixture(scope="module")
def own_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServices]:
    """Not the session's, for the tests here kill servers."""
    with EmbeddedServices(tmp_path_factory.mktemp("services")) as services:
        yield services


def eventually(attempt: Callable[[], Value], *, seconds: float = 20.0) -> Value:
    """The first answer of an attempt that may fail for a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(redis.RedisError, PosemillError):
            return attempt()
        time.sleep(0.05)
    return attempt()


def connect(services: EmbeddedServices) -> redis.Redis:
    return redis.Redis.from_url(services.redis_url)


def kill(services: EmbeddedServices, name: str) -> None:
    pid = services.supervisor.pid(name)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def wait_for_append_only_file(client: redis.Redis) -> None:
    """Until what was written so far is on disk, as appendfsync everysec promises within two seconds."""
    assert client.waitaof(num_local=1, num_replicas=0, timeout=5000)[0] == 1


def test_data_and_ports_survive_a_restart(tmp_path: Path) -> None:
    with EmbeddedServices(tmp_path) as first:
        connect(first).set("answer", "42")
        first.open_store().put("kept", b"bytes")
    with EmbeddedServices(tmp_path) as second:
        assert connect(second).get("answer") == b"42"
        assert second.open_store().get("kept") == b"bytes"
        assert second.environment() == first.environment()


def test_data_survive_a_change_of_ports(tmp_path: Path) -> None:
    with EmbeddedServices(tmp_path) as first:
        connect(first).set("answer", "42")
        first.open_store().put("kept", b"bytes")
    with socket.socket() as intruder:
        intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        intruder.bind(("127.0.0.1", first.state.ports.s3))
        intruder.listen()
        with EmbeddedServices(tmp_path) as second:
            assert second.state.ports.s3 != first.state.ports.s3
            assert connect(second).get("answer") == b"42"
            assert second.open_store().get("kept") == b"bytes"


def test_a_killed_redis_comes_back_on_its_port_with_what_was_on_disk(own_services: EmbeddedServices) -> None:
    client = connect(own_services)
    client.set("answer", "42")
    wait_for_append_only_file(client)
    kill(own_services, "redis")
    assert eventually(lambda: connect(own_services).get("answer")) == b"42"


def test_a_killed_s3_server_comes_back_on_its_port_with_every_object(own_services: EmbeddedServices) -> None:
    store = own_services.open_store()
    store.put("kept", b"bytes")
    kill(own_services, "s3")
    assert eventually(lambda: store.get("kept")) == b"bytes"
    eventually(lambda: store.put("new", b"bytes"))


def test_redis_never_evicts_and_is_closed_to_those_without_the_password(
    own_services: EmbeddedServices,
) -> None:
    assert connect(own_services).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    stranger = redis.Redis(host="127.0.0.1", port=own_services.state.ports.redis)
    with pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_storage_is_closed_to_those_without_the_keys(own_services: EmbeddedServices) -> None:
    stranger = open_store(
        "s3://posemill",
        endpoint_url=own_services.s3_url,
        access_key="stranger",
        secret_key="stranger",
        region="us-east-1",
    )
    with pytest.raises(PosemillError):
        stranger.put("key", b"bytes")


def test_secrets_are_in_files_of_the_owner_alone_and_on_no_command_line(
    own_services: EmbeddedServices,
) -> None:
    stored = json.loads((own_services.folder / "services.json").read_text())
    secrets = [stored["redis_password"], stored["secret_key"]]
    files = [path for path in own_services.folder.rglob("*") if path.is_file()]
    holding = [path for path in files if any(secret in path.read_text("latin-1") for secret in secrets)]
    assert {stat.S_IMODE(path.stat().st_mode) for path in holding} == {0o600}
    assert not any(secret in repr(own_services.state) for secret in secrets)
    for name in ("redis", "s3"):
        command = Path(f"/proc/{own_services.supervisor.pid(name)}/cmdline")
        assert not command.exists() or not any(each in command.read_text() for each in secrets)


def test_a_second_start_in_the_same_folder_is_refused_and_names_the_first(
    own_services: EmbeddedServices,
) -> None:
    with pytest.raises(ServiceError, match=rf"in use.*process {os.getpid()}"):
        EmbeddedServices(own_services.folder).start()
    assert connect(own_services).ping()


def test_stop_leaves_no_server_behind(tmp_path: Path) -> None:
    services = EmbeddedServices(tmp_path)
    services.start()
    pids = [services.supervisor.pid(name) for name in ("redis", "s3")]
    services.stop()
    for pid in pids:
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_server_that_cannot_start_is_reported_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(embedded_servers.REDIS_SETTINGS, "appendfsync", "whenever")
    with pytest.raises(ServiceError, match=r"redis died.*logs/redis\.log(.|\n)*appendfsync"):
        EmbeddedServices(tmp_path).start()


def test_a_missing_package_is_reported_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_servers, "S3_PACKAGE", "seaweedfs-that-is-not-there")
    with pytest.raises(ServiceError, match=r"pip install 'posemill\[embedded\]'"):
        EmbeddedServices(tmp_path).start()


NASTY_NAMES = (
    "a,b",
    "q\"u'o`te",
    "back\\slash",
    "-dash",
    "sp ace #x;y&z$HOME",
    "tab\tline\nend",
    "größe-日本",
    "%s{}*?[",
)


def test_a_folder_s_name_may_hold_anything(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*NASTY_NAMES)
    with EmbeddedServices(folder) as services:
        connect(services).set("answer", "42")
        services.open_store().put("kept", b"bytes")
    with EmbeddedServices(folder) as services:
        assert connect(services).get("answer") == b"42"
        assert services.open_store().get("kept") == b"bytes"
    above = [*folder.parents[: len(NASTY_NAMES)], folder]
    assert [path for path in tmp_path.rglob("*") if not path.is_relative_to(folder) and path not in above] == []


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_folder_that_others_can_write_to_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    folder = tmp_path / ".posemill"
    folder.mkdir()
    (folder / "services.json").write_text("{}")
    folder.chmod(mode)
    monkeypatch.chdir(tmp_path)
    for name in ("POSEMILL_STORE", "POSEMILL_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for door in (EmbeddedServices(folder).start, local_settings):
        with pytest.raises(ServiceError, match=r"written to by other users.*chmod go-rwx"):
            door()


@needs_root
def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".posemill"
    folder.mkdir(mode=0o700)
    (folder / "services.json").write_text("{}")
    os.chown(folder, 65534, 65534)
    monkeypatch.chdir(tmp_path)
    for name in ("POSEMILL_STORE", "POSEMILL_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for door in (EmbeddedServices(folder).start, local_settings):
        with pytest.raises(ServiceError, match="belongs to another user"):
            door()


@needs_root
def test_another_user_finds_every_door_closed(own_services: EmbeddedServices) -> None:
    store = own_services.open_store()
    store.put("kept", b"bytes")
    own_services.folder.parent.chmod(0o755)
    assert stat.S_IMODE(own_services.folder.stat().st_mode) == 0o700
    doors = Doors.of(own_services)
    assert len(doors.ports) >= 11, "the parts of the S3 server, two ports each, and Redis"
    assert len(doors.sockets) >= 5
    assert as_another_user(lambda: break_in(doors)) == []
    assert {"kept", "probe/ready"} <= {info.key for info in store.list("")}
    assert store.get("kept") == b"bytes"
    assert break_in(replace(doors, ports=())), "the owner gets in by socket and folder, so the probe sees"

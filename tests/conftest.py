"""Real services for all tests: one Redis and one S3 server a session, one storage prefix a test."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex

import pytest

from posemill.contract.keys import Stage
from posemill.processes.supervisor import Supervisor
from posemill.queue.death_reports import DeathReports
from posemill.queue.ledger import Ledger, open_ledger
from posemill.settings import Settings
from posemill.storage.store import Store, open_store
from producer.local.local_fleet import worker_children
from producer.local.services import EmbeddedServices
from tests.loopback_hub import LoopbackHub, lead_to, loopback_hub

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several processes share the cores; torch is imported after this

PHOTOS = Path(__file__).parents[1] / "examples" / "photos"


def wait_until(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    """Wait for a condition; fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true after {seconds} s: {condition}"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServices]:
    with EmbeddedServices(tmp_path_factory.mktemp("services")) as running:
        yield running


@pytest.fixture(scope="session")
def _environment(services: EmbeddedServices, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """boto3's variables for this process and the workers it starts; manifests may name the tests' pictures."""
    before = dict(os.environ)
    os.environ.update(services.environment())
    os.environ["POSEMILL_SOURCE_FOLDERS"] = f"{PHOTOS}:{tmp_path_factory.getbasetemp()}"
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def settings(_environment: None, services: EmbeddedServices, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """An empty Redis database, not that of the session's fleet, and a storage prefix of this test's own."""
    monkeypatch.setenv("POSEMILL_REDIS_URL", f"{services.redis_url.removesuffix('/0')}/1")
    monkeypatch.setenv("POSEMILL_STORE", f"s3://posemill/{token_hex(4)}")
    monkeypatch.setenv("POSEMILL_TICK_SECONDS", "0.1")
    found = Settings()
    open_ledger(found.redis_url.get_secret_value()).redis.flushdb()
    return found


@pytest.fixture
def store(settings: Settings) -> Store:
    return open_store(settings.store)


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return open_ledger(settings.redis_url.get_secret_value())


@pytest.fixture
def photos() -> Path:
    return PHOTOS


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tiny_model import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A model hub without models, to which this process and those it starts are led, with a cache of their own."""
    with loopback_hub() as running:
        lead_to(running, tmp_path / "hf_home", monkeypatch)
        yield running


@pytest.fixture
def start_workers(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Starts worker processes on this test's storage; they end with the test."""
    started: list[Supervisor] = []

    def start(**workers: int) -> Supervisor:
        children = worker_children({Stage(stage): number for stage, number in workers.items()})
        reports = DeathReports(settings)
        supervisor = Supervisor(children, log_folder=tmp_path / f"logs-{len(started)}", on_end=reports)
        started.append(supervisor)
        supervisor.start()
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop(timeout_seconds=0)


@pytest.fixture(scope="session")
def fleet(_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A detect and a generate worker that serve all acceptance tests of the session."""
    os.environ["POSEMILL_STORE"] = f"s3://posemill/fleet-{token_hex(4)}"
    os.environ["POSEMILL_TICK_SECONDS"] = "0.1"
    settings = Settings()
    supervisor = Supervisor(worker_children(dict.fromkeys(Stage, 1)), log_folder=tmp_path_factory.mktemp("logs"))
    with supervisor:
        yield settings

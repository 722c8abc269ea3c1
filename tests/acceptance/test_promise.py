"""Nothing lost, nothing twice: real Redis, S3 and worker processes, a stand-in for the models (tests/chaos)."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posemill.contract.keys import RunKeys, Stage, queue_name
from posemill.contract.records import BatchRecord, ItemResult, Outcome, decode
from posemill.processes.supervisor import Supervisor
from posemill.queue.celery_app import make_app, send_batches
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.local.services import EmbeddedServices
from producer.runs.checking import check
from producer.runs.handle import RunHandle
from producer.submitting.submission import submit
from tests.chaos.aims import kill_busy, on_device
from tests.chaos.runs import chaos_workers, recipe, write_sources
from tests.chaos.worker import BLACK, ERROR, HANG, KILL, NAN
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]


ENVIRONMENT = {
    "POSEMILL_LEASE_SECONDS": "2",
    "POSEMILL_STUCK_SECONDS": "3",
    "POSEMILL_RESEND_SECONDS": "2",
    "POSEMILL_WINDOW": "3",
    "POSEMILL_MAX_ROW_DEATHS": "3",
    "CHAOS_PAUSE_SECONDS": "0.1",
    "CHAOS_LOCK_SECONDS": "2",
}


@pytest.fixture
def workers(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Supervisor]:
    """One detect and two generate workers; `fleet` says what is different for a test."""
    different = getattr(request, "param", {})
    for name, value in {**ENVIRONMENT, **different.get("environment", {})}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)
    supervisor = chaos_workers(tmp_path / "logs", generate=different.get("generate", 2))
    supervisor.start()
    yield supervisor
    supervisor.stop(timeout_seconds=0)


def fleet(generate: int = 2, **environment: str) -> pytest.MarkDecorator:
    different = {"generate": generate, "environment": environment}
    return pytest.mark.parametrize("workers", [different], indirect=True, ids=["fleet"])


def results(store: Store, run_id: str) -> list[ItemResult]:
    records = [decode(store.get(info.key), BatchRecord) for info in store.list(RunKeys(run_id).records(Stage.GENERATE))]
    return [item for record in records for item in record.items]


@pytest.mark.timeout(300)
def test_a_data_set_made_under_faults_is_the_calm_one_byte_for_byte() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--sources", "25", "--kills", "4", "--seed", "3",
               "--killing-rows", "0"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["items"] > 193, "eight for each person, one more, and those made again; an error has none"
    zeros = ("lost", "duplicated", "differing", "innocent_failed")
    assert [report[name] for name in zeros] == [0, 0, 0, 0]
    assert (report["failed"], report["unreadable_run_is_paused"], report["retried_run_is_whole"]) == (1, True, True)
    assert sum(number for name, number in report["faults"].items() if name.startswith("kill_")) >= 6
    assert done.returncode == 0


def test_items_that_cannot_be_made_are_recorded_and_their_neighbours_are_done(
    settings: Settings, store: Store, workers: Supervisor, tmp_path: Path
) -> None:
    wanted = recipe(write_sources(tmp_path / "in", 1), prompts=["good", "fine", KILL, ERROR, BLACK, NAN, HANG], seeds=1)
    handle = submit(wanted, run_id="trouble", settings=settings)
    handle.wait(timeout_seconds=150)
    found = results(store, "trouble")
    assert {item.prompt for item in found if item.outcome is Outcome.DONE} == {"good", "fine"}
    failed = {item.prompt: item.message for item in found if item.outcome is Outcome.FAILED}
    assert failed.keys() == {KILL, ERROR, BLACK, NAN, HANG}
    assert "given up: 3 processes that made it alone ended: signal 9 (SIGKILL); " in failed[KILL]
    assert "given up: 3 processes that made it alone ended: no answer in 3 s; " in failed[HANG]
    assert "cannot be made" in failed[ERROR]
    assert check(store, "trouble", deep=True).complete


@fleet(generate=1, POSEMILL_LEASE_SECONDS="1", POSEMILL_MAX_ROW_DEATHS="2")
def test_three_killing_rows_among_48_fail_and_nobody_else(
    settings: Settings, store: Store, workers: Supervisor, tmp_path: Path
) -> None:
    sources = write_sources(tmp_path / "in", 48)
    killing = (5, 21, 40)  # each in a batch of its own, while two more batches wait in other threads
    rows = [{"source": f"{n:04d}.png", "prompt": KILL if n in killing else "one", "seed": n} for n in range(48)]
    (sources / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    submit(recipe(sources / "rows.jsonl", prompts=()), run_id="killing", settings=settings).wait(timeout_seconds=120)
    found = results(store, "killing")
    assert sorted(item.seed for item in found if item.outcome is Outcome.FAILED) == list(killing)
    assert sum(item.outcome is Outcome.DONE for item in found) == 45


@fleet(generate=1)
def test_kills_aimed_at_the_only_generate_worker_fail_nothing_however_often_they_meet_one_batch(
    settings: Settings, store: Store, ledger: Ledger, workers: Supervisor, tmp_path: Path
) -> None:
    wanted = recipe(write_sources(tmp_path / "in", 6), detect_batch=3)
    handle = submit(wanted, run_id="aimed", settings=settings)
    aim = kill_busy(ledger, workers, ["generate-0"])
    for number in range(11):
        wanted_places = (lambda _: True) if number % 2 else aim.__eq__
        kill_busy(ledger, workers, ["generate-0"], wanted=wanted_places)
    handle.wait(timeout_seconds=60)
    assert {item.outcome for item in results(store, "aimed")} == {Outcome.DONE}
    assert check(store, "aimed", deep=True).complete


def test_a_dead_worker_s_batch_is_taken_over_without_resume(
    settings: Settings, store: Store, workers: Supervisor, tmp_path: Path
) -> None:
    handle = submit(recipe(write_sources(tmp_path / "in", 12)), run_id="dead", settings=settings)
    wait_until(lambda: handle.status().snapshot.stages[Stage.GENERATE].leased > 0, seconds=60)
    for name in ("generate-0", "generate-1"):
        os.kill(workers.pid(name) or 0, signal.SIGKILL)
    assert handle.wait(timeout_seconds=60).snapshot.stages[Stage.GENERATE].done == 96
    assert check(store, "dead").complete


@fleet(POSEMILL_STUCK_SECONDS="60")
def test_a_stopped_worker_s_batch_is_taken_over_and_its_late_commit_changes_nothing(
    settings: Settings, store: Store, ledger: Ledger, workers: Supervisor, tmp_path: Path
) -> None:
    handle = submit(recipe(write_sources(tmp_path / "in", 10)), run_id="stopped", settings=settings)
    stopped = workers.pid("generate-0") or 0
    wait_until(lambda: on_device(ledger, [stopped]))
    os.kill(stopped, signal.SIGSTOP)
    log = tmp_path / "logs" / "generate-0.log"
    try:
        handle.wait(timeout_seconds=90)
        before = {info.key: info.etag for info in store.list(RunKeys("stopped").root)}
        assert "The work on the batch is dropped" not in log.read_text()
    finally:
        os.kill(stopped, signal.SIGCONT)
    wait_until(lambda: "The work on the batch is dropped" in log.read_text(), seconds=30)
    wait_until(lambda: not on_device(ledger, [stopped]), seconds=30)
    assert handle.status().snapshot.stages[Stage.GENERATE].done == 80
    assert {info.key: info.etag for info in store.list(RunKeys("stopped").root)} == before


def test_messages_that_are_repeated_or_garbage_change_nothing(
    settings: Settings, store: Store, ledger: Ledger, workers: Supervisor, tmp_path: Path
) -> None:
    handle: RunHandle = submit(recipe(write_sources(tmp_path / "in", 4)), run_id="noise", settings=settings)
    app = make_app(settings.redis_url.get_secret_value())
    send_batches(app, Stage.GENERATE, queue_name(Stage.GENERATE), "noise", [0] * 10)
    send_batches(app, Stage.GENERATE, queue_name(Stage.GENERATE), "nobody's run", [0])
    app.close()
    ledger.redis.lpush(queue_name(Stage.DETECT), b"\x80\x04no message")
    assert handle.wait(timeout_seconds=60).snapshot.stages[Stage.GENERATE].done == 32
    assert check(store, "noise").complete


def test_no_credential_stands_in_a_log_a_record_or_a_repr(
    services: EmbeddedServices, settings: Settings, store: Store, workers: Supervisor, tmp_path: Path
) -> None:
    handle = submit(recipe(write_sources(tmp_path / "in", 2)), run_id="secret", settings=settings)
    handle.wait(timeout_seconds=60)
    texts = [path.read_text(errors="replace") for path in (tmp_path / "logs").iterdir()]
    texts += [store.get(info.key).decode(errors="replace") for info in store.list("runs/secret/")]
    texts += [repr(settings), repr(handle.status())]
    secrets = (services.state.redis_password, services.state.access_key, services.state.secret_key)
    assert not [secret for secret in secrets for text in texts if secret in text]


def test_a_pickled_message_is_refused_and_the_real_one_is_sent_again(
    settings: Settings, store: Store, ledger: Ledger, workers: Supervisor, tmp_path: Path
) -> None:
    handle = submit(recipe(write_sources(tmp_path / "in", 1)), run_id="pickled", settings=settings)
    app = make_app(settings.redis_url.get_secret_value())
    app.conf.update(task_serializer="pickle", accept_content=["pickle"])
    for _ in range(3):
        send_batches(app, Stage.GENERATE, queue_name(Stage.GENERATE), "pickled", [0])
    app.close()
    assert handle.wait(timeout_seconds=60).snapshot.stages[Stage.GENERATE].done == 8


def test_cancelling_stops_every_worker_within_seconds(
    settings: Settings, ledger: Ledger, workers: Supervisor, tmp_path: Path
) -> None:
    handle = submit(recipe(write_sources(tmp_path / "in", 100), seeds=50), run_id="long", settings=settings)
    wait_until(lambda: handle.status().snapshot.stages[Stage.GENERATE].batches_done > 0, seconds=60)
    handle.cancel()
    wait_until(lambda: handle.status().snapshot.stages[Stage.GENERATE].leased == 0, seconds=10)
    assert handle.status().snapshot.stages[Stage.GENERATE].finished < 10_000

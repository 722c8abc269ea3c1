"""`posemill forget`: a photograph goes, with all that was made of it, from real runs; counted in the bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from posemill.contract.identity import sha256
from posemill.contract.keys import source_key
from posemill.errors import BadInput, NotFound, RunConflict
from posemill.queue.ledger import Ledger
from posemill.settings import Settings
from posemill.storage.store import Store
from producer.exports.dataset import export_run
from producer.runs.checking import check
from producer.runs.forgetting import FORGOTTEN, forget
from producer.runs.handle import RunHandle, open_handle
from producer.submitting.submission import submit
from tests.chaos.runs import chaos_workers, images, recipe, write_sources

ROOT = Path(__file__).parents[2]


@pytest.fixture
def workers(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(ROOT)
    with chaos_workers(tmp_path / "logs"):
        yield


def made(sources: Path, run_id: str, settings: Settings) -> RunHandle:
    handle = submit(recipe(sources, prompts=["one", "two"], seeds=1), run_id=run_id, settings=settings)
    assert handle.wait(timeout_seconds=100).failed == 0
    return handle


def contents(store: Store) -> dict[str, str]:
    return {info.key: info.etag for info in store.list("")}


def test_a_photograph_goes_from_every_run_and_nothing_else_does(
    store: Store, ledger: Ledger, settings: Settings, workers: None, tmp_path: Path
) -> None:
    folder = write_sources(tmp_path / "in", 2)
    gone, kept = sorted(folder.iterdir())
    for run_id in ("r", "s"):
        made(folder, run_id, settings)
    digests, before = (sha256(gone.read_bytes()), sha256(kept.read_bytes())), contents(store)
    foreseen = forget(store, ledger, str(gone), dry_run=True)
    assert contents(store) == before
    forgotten = forget(store, ledger, str(gone))
    assert forgotten == foreseen
    assert (forgotten.identity, forgotten.runs, forgotten.items) == (digests[0], ["r", "s"], 4)
    removed = before.keys() - contents(store).keys()
    assert len(removed) == forgotten.objects
    assert source_key(digests[0]) in removed
    assert source_key(digests[1]) in contents(store)
    for run_id in ("r", "s"):
        assert len(images(store, run_id)) == 2
        assert check(store, run_id, deep=True).complete
        status = open_handle(run_id, settings).status()
        assert [counts.rejected for counts in status.snapshot.stages.values()] == [1, 2]
        exported = export_run(store, run_id, tmp_path / f"out-{run_id}")
        assert (exported.samples, exported.complete) == (2, True)
    assert {failure.reason for failure in open_handle("r", settings).failures()} == {FORGOTTEN}
    assert forget(store, ledger, digests[0]).objects == 0
    with pytest.raises(NotFound, match="no run in"):
        forget(store, ledger, "somebody-else.png")


def test_a_photograph_of_a_run_that_goes_on_stays(
    store: Store, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    folder = write_sources(tmp_path / "in", 1)
    submit(recipe(folder), run_id="r", settings=settings)
    before = contents(store)
    with pytest.raises(RunConflict, match="'r' holds it and is running"):
        forget(store, ledger, str(next(folder.iterdir())))
    assert contents(store) == before


def test_a_name_that_two_photographs_have_is_refused(
    store: Store, ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    folder = write_sources(tmp_path / "in", 2)
    first, second = sorted(folder.iterdir())
    submit(recipe(folder), run_id="r", settings=settings)
    first.write_bytes(second.read_bytes())
    second.unlink()
    submit(recipe(folder), run_id="s", settings=settings)
    with pytest.raises(BadInput, match=rf"2 photographs are called '{first.name}'; give one's SHA-256"):
        forget(store, ledger, first.name)

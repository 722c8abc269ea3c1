"""`export_rate`: samples a second from a local S3 server into WebDataset shards, against `tar` of the same files."""

import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from benchmarks.figure import Figure, alternate, median_ratio
from benchmarks.photographs import composed
from posemill.identity import sha256
from posemill.names import RunKeys, Stage
from posemill.settings import Settings
from posemill.storage import Store, open_store
from producer.exports.destinations import FolderDestination
from producer.exports.exporting import Exporter
from producer.exports.options import Form, Options
from producer.services import EmbeddedServices
from tests.synthetic_run import BATCH, RUN_ID, SyntheticStore, item_id, png

ITEMS = 1000  # of which nine in ten are done
PICTURES = 32  # different ones, of 512 pixels or a little more
ROUNDS = 3


def measure() -> Iterable[Figure]:
    """Both read what is in the page cache, and both write to this machine's disk, on the same two cores."""
    with tempfile.TemporaryDirectory(prefix="posemill-bench-") as name, EmbeddedServices(Path(name) / "s3") as services:
        folder = Path(name)
        os.environ.update(services.environment())
        store = open_store(Settings().store)
        _upload(store)
        numbers = count()

        def export() -> None:
            _export(store, folder / f"export-{next(numbers)}")

        samples = _export(store, folder / "first")
        _unpack(folder / "first", folder / "files")
        ours, tar = alternate(
            export,
            lambda: subprocess.run(["tar", "-cf", folder / "peer.tar", "-C", folder, "files"], check=True),
            ROUNDS,
        )
        size = sum(path.stat().st_size for path in (folder / "first").glob("*/*.tar"))
    yield Figure(
        name="export_rate", value=round(median_ratio(tar, ours), 3), unit="ratio", goal=">= 0.5",
        peer="tar of the same files from local disk",
        detail={"samples": samples, "megabytes": round(size / 1e6), "rounds": ROUNDS,
                "samples_a_second": round(samples / min(ours), 1),
                "tar_samples_a_second": round(samples / min(tar), 1)},
    )  # fmt: skip


def _upload(store: Store) -> None:
    """A whole run, every image under a key of its own."""
    pictures = [png(picture) for picture in composed(PICTURES)]
    run = SyntheticStore(ITEMS, image=lambda number: pictures[number % PICTURES])
    keys = RunKeys(RUN_ID)
    batches = -(-ITEMS // BATCH)
    names = [keys.run, keys.sealed, *(keys.record(Stage.GENERATE, batch) for batch in range(batches))]
    names += [keys.record(Stage.DETECT, batch) for batch in range(-(-batches // 4))]
    for name in (*names, *run.control_keys(), *(keys.image(item_id(number)) for number in range(ITEMS))):
        store.put(name, run.get(name))


def _export(store: Store, destination: Path) -> int:
    exporter = Exporter(store, RUN_ID, FolderDestination(destination), Options(form=Form.WEBDATASET))
    manifest = exporter.export()
    exporter.commit(manifest)
    assert not manifest.refused, "the run in storage is not whole"
    return sum(manifest.samples.values())


def _unpack(export: Path, folder: Path) -> None:
    """The members of the shards as files: what tar packs again."""
    for shard in export.glob("*/*.tar"):
        with tarfile.open(shard) as tar:
            tar.extractall(folder, filter="data")
    assert len({sha256(path.read_bytes()) for path in folder.iterdir()}) > PICTURES

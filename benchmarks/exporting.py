"""`export_rate` and `export_limit`: samples a second from a local S3 server into WebDataset shards.

Against `tar` of the same files, and against a bare read of the same objects.
"""

import os
import statistics
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree

from benchmarks.figure import Figure, alternate, median_ratio
from benchmarks.photographs import composed
from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys, Stage
from posemill.contract.records import BatchRecord, decode
from posemill.settings import Settings
from posemill.storage.store import Store, open_store
from producer.exports.exporting import THREADS, Exporter
from producer.exports.samples.options import Form, Options
from producer.exports.writing.destinations import FolderDestination
from producer.local.services import EmbeddedServices
from tests.synthetic_run import BATCH, RUN_ID, SyntheticStore, item_id, png

ITEMS = 1000  # of which nine in ten are done
PICTURES = 32  # different ones, of 512 pixels or a little more
ROUNDS = 5


def measure() -> Iterable[Figure]:
    """Both read from this machine's disk and have written to it when they end, on the same two cores.

    What neither reads from the disk, because the system still has it in memory, is timed as well, for `detail`.
    """
    with tempfile.TemporaryDirectory(prefix="posemill-bench-") as name, EmbeddedServices(Path(name) / "s3") as services:
        folder = Path(name)
        os.environ.update(services.environment())
        store = open_store(Settings().store, many_reads=True)
        _upload(store)
        samples = _export(store, folder / "first")
        _unpack(folder / "first", folder / "files")

        def export() -> None:
            _export(store, folder / "export")
            _flush(folder / "export")

        def tar() -> None:
            subprocess.run(["tar", "-cf", folder / "peer.tar", "-C", folder, "files"], check=True)
            _flush(folder / "peer.tar")

        def clear() -> None:
            rmtree(folder / "export", ignore_errors=True)
            (folder / "peer.tar").unlink(missing_ok=True)

        warm = alternate(export, tar, ROUNDS, before=clear)
        ours, peer = alternate(export, tar, ROUNDS, before=lambda: (clear(), _forget(folder)))
        keys = [name for name in _uploaded(store) if not name.endswith(".json")]

        def read() -> None:
            with ThreadPoolExecutor(THREADS) as pool:
                for _ in pool.map(store.get, keys):
                    pass

        limited, bare = alternate(export, read, ROUNDS, before=clear)
        size = sum(path.stat().st_size for path in (folder / "first").glob("*/*.tar"))
    yield Figure(
        name="export_rate", value=round(median_ratio(peer, ours), 3), unit="ratio", goal=">= 0.5",
        peer="tar of the same files from local disk",
        detail={"samples": samples, "megabytes": round(size / 1e6), "rounds": ROUNDS,
                "samples_a_second": _rate(samples, ours), "tar_samples_a_second": _rate(samples, peer),
                "samples_a_second_from_memory": _rate(samples, warm[0]),
                "tar_samples_a_second_from_memory": _rate(samples, warm[1])},
    )  # fmt: skip
    yield Figure(
        name="export_limit", value=round(median_ratio(bare, limited), 3), unit="ratio", goal=">= 0.8",
        peer="the same images and control images read from the same server by as many threads, and nothing written",
        detail={"samples_a_second": _rate(samples, limited), "bare_samples_a_second": _rate(samples, bare),
                "objects": len(keys), "threads": THREADS, "rounds": ROUNDS},
    )  # fmt: skip


def _rate(samples: int, seconds: list[float]) -> float:
    return round(samples / statistics.median(seconds), 1)


def _flush(path: Path) -> None:
    """Return when a file, or all files of a folder, are on the disk."""
    for file in [path] if path.is_file() else filter(Path.is_file, path.rglob("*")):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _forget(folder: Path) -> None:
    """Let the system's memory of all files below the folder go, the S3 server's among them."""
    os.sync()
    for file in filter(Path.is_file, folder.rglob("*")):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


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


def _uploaded(store: Store) -> list[str]:
    """The keys of the images that an export takes, and of the control images: each is read once."""
    images = [
        item.image.key for batch in range(-(-ITEMS // BATCH)) for item in _record(store, batch).items if item.image
    ]
    return [*images, *(info.key for info in store.list("controls/"))]


def _record(store: Store, batch: int) -> BatchRecord:
    return decode(store.get(RunKeys(RUN_ID).record(Stage.GENERATE, batch)), BatchRecord)


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

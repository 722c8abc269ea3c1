"""An export is committed shard by shard, goes on where it was interrupted, and tells what is wrong with it."""

import io
import json
import threading
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from PIL import Image

from posemill.contract.identity import sha256
from posemill.contract.keys import RunKeys
from posemill.contract.records import Plan, SkippedFiles, decode, encode
from posemill.errors import BadInput
from producer.exports.counts.statistics import Statistics
from producer.exports.exporting import Exporter
from producer.exports.proof import check_export
from producer.exports.report.card import render_card
from producer.exports.report.report import render_report
from producer.exports.samples import pictures
from producer.exports.samples.options import Form, ImageFormat, Options
from producer.exports.writing.destinations import FolderDestination
from producer.exports.writing.shards import ExportIndex
from producer.sheets.thumbnails import thumbnail
from tests.conftest import wait_until
from tests.synthetic_run import RUN_ID, SINGLE_FORMS, SyntheticStore, digests, item_id, synthetic_run, variant_image
from workers.images.content import Content

ITEMS = 40  # of which 36 are done


def export(
    store: SyntheticStore, folder: Path, form: Form = Form.WEBDATASET, *, watch: bool = False, **choices: object
) -> ExportIndex:
    options = Options(form=form, **{"shard_size": 8, **choices})
    exporter = Exporter(store, RUN_ID, FolderDestination(folder), options)
    manifest = exporter.export(watch=watch, poll_seconds=0.02)
    exporter.commit(manifest)
    return manifest


def faults(folder: Path, store: SyntheticStore | None = None) -> dict[str, str]:
    return {fault.key: fault.kind for fault in check_export(FolderDestination(folder), store).faults}


@pytest.mark.parametrize("form", SINGLE_FORMS)
def test_the_same_run_exports_to_the_same_bytes_and_is_proven(form: Form, tmp_path: Path) -> None:
    manifest = export(SyntheticStore(ITEMS), tmp_path / "a", form, validation=0.3, with_source=True)
    export(SyntheticStore(ITEMS), tmp_path / "b", form, validation=0.3, with_source=True)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert sum(manifest.samples.values()) == 36
    assert manifest.samples["validation"] > 0
    assert manifest.outcomes == {"done": 36, "rejected unsafe": 4}
    assert (manifest.sources, manifest.complete) == (10, True)
    assert faults(tmp_path / "a", SyntheticStore(ITEMS)) == {}


def test_card_report_and_index_say_what_was_passed_over_refused_and_repeated(
    tmp_path: Path,
) -> None:
    class OfAFolder(SyntheticStore):
        def _planned(self, key: str) -> bytes:
            content = super()._planned(key)
            if key != RunKeys(RUN_ID).sealed:
                return content
            skipped = (SkippedFiles(reason="other_name", count=1234, first="a.txt"),)
            plan = decode(content, Plan)
            return encode(msgspec.structs.replace(plan, skipped=skipped, refused_rows=567, repeated_items=89))

    found = export(OfAFolder(ITEMS), tmp_path)
    assert found.skipped_files == {"other_name": 1234}
    card = render_card(found, synthetic_run(), Statistics(), {}, licence="other", sheet=False)
    page = render_report(found, synthetic_run(), Statistics(), None)
    assert ("| files skipped: other_name | 1,234 |" in card, "| rows refused | 567 |" in card) == (True, True)
    assert ("files skipped: other name" in page, "1,234" in page, "567" in page) == (True, True, True)
    assert "| items wanted more than once, made once | 89 |" in card
    assert 'wanted more than once, made once</td><td></td><td class="number">89<' in page


@pytest.mark.parametrize("form", [Form.WEBDATASET, Form.IMAGEFOLDER])
def test_an_interrupted_export_goes_on_and_ends_in_the_same_bytes(form: Form, tmp_path: Path) -> None:
    export(SyntheticStore(ITEMS), tmp_path / "calm", form)

    class Failing(SyntheticStore):
        def get(self, key: str) -> bytes:
            if item_id(30) in key:
                raise KeyboardInterrupt
            return super().get(key)

    with pytest.raises(KeyboardInterrupt):
        export(Failing(ITEMS), tmp_path / "cut", form)
    assert not (tmp_path / "cut" / "index.json").exists()
    with pytest.raises(BadInput, match="no finished export"):
        check_export(FolderDestination(tmp_path / "cut"))
    store = SyntheticStore(ITEMS)
    export(store, tmp_path / "cut", form)
    assert store.reads == 36 - 24, "three shards stood already and were not read again"
    assert digests(tmp_path / "cut") == digests(tmp_path / "calm")


def test_watching_exports_shards_while_the_run_goes_on(tmp_path: Path) -> None:
    made: set[int] = {0, 1}
    store = SyntheticStore(ITEMS, written=made.__contains__)
    watching = threading.Thread(target=export, args=(store, tmp_path / "live"), kwargs={"watch": True})
    watching.start()
    wait_until((tmp_path / "live/statistics/train-00000.json").exists)
    assert not (tmp_path / "live/index.json").exists()
    assert not (tmp_path / "live/index/train-00003.json").exists()
    made.update(range(5))
    watching.join(60)
    export(SyntheticStore(ITEMS), tmp_path / "after")
    assert digests(tmp_path / "live") == digests(tmp_path / "after")


def test_an_export_of_an_unfinished_run_says_so_and_is_mended_by_the_next(tmp_path: Path) -> None:
    unfinished = SyntheticStore(ITEMS, written=lambda batch: batch != 1)
    assert not export(unfinished, tmp_path / "out", Form.IMAGEFOLDER).complete
    assert "missing_sample" in faults(tmp_path / "out", SyntheticStore(ITEMS)).values()
    assert export(SyntheticStore(ITEMS), tmp_path / "out", Form.IMAGEFOLDER).complete
    export(SyntheticStore(ITEMS), tmp_path / "calm", Form.IMAGEFOLDER)
    assert digests(tmp_path / "out") == digests(tmp_path / "calm")


def test_a_black_or_changed_or_lost_image_never_gets_in_and_is_told(tmp_path: Path) -> None:
    black = io.BytesIO()
    Image.new("RGB", (64, 64)).save(black, "PNG")
    store = SyntheticStore(ITEMS, image=lambda number: black.getvalue() if number == 2 else variant_image(number))
    keys = [f"runs/{RUN_ID}/images/{item_id(number)[:2]}/{item_id(number)}.png" for number in (3, 4)]
    store.replaced[keys[0]] = b"another"
    store.replaced[keys[1]] = b""
    broken = [key for key in store.control_keys() if key.endswith(f"{9:032x}.png")]
    store.replaced[broken[0]] = b"another"  # of items 36 to 38
    manifest = export(store, tmp_path)
    assert (manifest.samples["train"], manifest.refused) == (30, 6)
    index = json.loads((tmp_path / "index/train-00000.json").read_text())
    assert {refused["item_id"]: refused["code"] for refused in index["refused"]} == {
        item_id(2): "bad_input", item_id(3): "changed", item_id(4): "changed"
    }  # fmt: skip
    assert not {entry["item_id"] for entry in index["samples"]} & {item_id(number) for number in (2, 3, 4)}
    assert faults(tmp_path)[item_id(2)] == "refused_sample"
    assert export(SyntheticStore(ITEMS), tmp_path).refused == 0, "once the objects are back, so are the samples"


def test_an_image_that_its_record_vouches_for_is_not_decoded_and_the_export_is_the_same(tmp_path, monkeypatch) -> None:
    export(SyntheticStore(ITEMS, hashes=False), tmp_path / "looked at")
    monkeypatch.setattr(pictures, "perceptual_hash", None)
    monkeypatch.setattr(pictures, "is_black", None)
    assert export(SyntheticStore(ITEMS), tmp_path / "vouched for").samples["train"] == 36
    assert digests(tmp_path / "vouched for") == digests(tmp_path / "looked at")


def test_images_that_look_alike_are_flagged_with_the_earlier_one_and_kept(tmp_path: Path) -> None:
    store = SyntheticStore(ITEMS, image=lambda number: variant_image(1 if number in (1, 20) else number))
    manifest = export(store, tmp_path, Form.IMAGEFOLDER)
    rows = pq.read_table(tmp_path / "train/metadata.parquet").to_pylist()
    flagged = {row["item_id"]: row["near_duplicate_of"] for row in rows if row["near_duplicate_of"]}
    assert flagged == {item_id(20): item_id(1)}
    assert (manifest.near_duplicates, manifest.samples["train"]) == (1, 36)


def test_near_duplicates_are_left_out_where_that_is_asked_and_the_proof_knows(tmp_path: Path) -> None:
    store = SyntheticStore(ITEMS, image=lambda number: variant_image(1 if number in (1, 20, 33) else number))
    manifest = export(store, tmp_path, Form.IMAGEFOLDER, drop_near_duplicates=True)
    kept = {row["item_id"] for row in pq.read_table(tmp_path / "train/metadata.parquet").to_pylist()}
    assert item_id(1) in kept
    assert not {item_id(20), item_id(33)} & kept
    assert (manifest.near_duplicates, manifest.filtered, len(kept)) == (0, 2, 34)
    assert faults(tmp_path, store) == {}


def test_a_filter_takes_what_it_says_and_a_split_holds_no_source_of_another(tmp_path: Path) -> None:
    manifest = export(SyntheticStore(ITEMS), tmp_path, Form.IMAGEFOLDER, where="people == 1 and score > 0.4",
                      validation=0.4, test=0.2)  # fmt: skip
    rows = [row for path in tmp_path.glob("*/metadata.parquet") for row in pq.read_table(path).to_pylist()]
    assert {row["people"] for row in rows} == {1}
    assert min(row["score"] for row in rows) > 0.4
    assert manifest.filtered == 36 - len(rows)
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["source"], set()).add(row["split"])
    assert {len(found) for found in splits.values()} == {1}
    assert faults(tmp_path, SyntheticStore(ITEMS)) == {}


@pytest.mark.parametrize("image_format", [ImageFormat.JPEG, ImageFormat.WEBP])
def test_images_are_encoded_as_asked_and_quality_counts(image_format: ImageFormat, tmp_path: Path) -> None:
    sizes = []
    for quality in (30, 95):
        folder = tmp_path / str(quality)
        export(SyntheticStore(8), folder, Form.IMAGEFOLDER, image_format=image_format, quality=quality)
        paths = list(folder.glob(f"train/images/*/*.{image_format.suffix}"))
        assert {Image.open(path).format for path in paths} == {image_format.value.upper()}
        sizes.append(sum(path.stat().st_size for path in paths))
    assert sizes[0] < sizes[1] / 2


def test_another_runs_folder_and_other_options_are_refused(tmp_path: Path) -> None:
    export(SyntheticStore(8), tmp_path / "out")
    with pytest.raises(BadInput, match=r"other options: --quality 95 \(now 50\); choose the same"):
        export(SyntheticStore(8), tmp_path / "out", quality=50)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/precious.txt").write_text("mine")
    with pytest.raises(BadInput, match="choose an empty folder"):
        export(SyntheticStore(8), tmp_path / "theirs")
    assert (tmp_path / "theirs/precious.txt").read_text() == "mine"


@pytest.mark.parametrize("form", SINGLE_FORMS)
def test_check_notices_files_that_were_changed_lost_or_added(form: Form, tmp_path: Path) -> None:
    export(SyntheticStore(ITEMS), tmp_path, form)
    index = json.loads((tmp_path / "index/train-00001.json").read_text())
    changed = index["files"][0]["name"]
    (tmp_path / changed).write_bytes(b"x")
    lost = json.loads((tmp_path / "index/train-00002.json").read_text())["files"][0]["name"]
    (tmp_path / lost).unlink()
    (tmp_path / "train/stranger.bin").write_bytes(b"")
    (tmp_path / "index/train-00003.json").write_text("{}")
    found = faults(tmp_path)
    assert {changed: "changed_object", lost: "missing_object", "train/stranger.bin": "stray_object",
            "index/train-00003.json": "changed_object"}.items() <= found.items()  # fmt: skip


@pytest.mark.parametrize("form", [Form.IMAGEFOLDER, Form.FILL50K])
def test_check_holds_a_splits_metadata_against_the_rows_of_its_shards(form: Form, tmp_path: Path) -> None:
    export(SyntheticStore(ITEMS), tmp_path, form)
    metadata, rows = tmp_path / "train/metadata.parquet", tmp_path / "rows/train-00001.jsonl"
    table, kept = pq.read_table(metadata), rows.read_bytes()
    pq.write_table(table, metadata, compression="none")
    assert faults(tmp_path) == {}, "the same rows, in other bytes"
    for wrong in (table.slice(1), table.slice(0, 35), table.append_column("x", [["x"] * 36]), table.take([1, 0])):
        pq.write_table(wrong, metadata)
        assert faults(tmp_path) == {"train/metadata.parquet": "changed_object"}
    metadata.write_bytes(b"PAR1")
    assert faults(tmp_path) == {"train/metadata.parquet": "changed_object"}
    metadata.unlink()
    assert faults(tmp_path)["train/metadata.parquet"] == "missing_object"
    pq.write_table(table, metadata)
    rows.write_bytes(kept.replace(b'"text":"a', b'"text":"b', 1))
    assert faults(tmp_path)["rows/train-00001.jsonl"] == faults(tmp_path)["train/metadata.parquet"] == "changed_object"
    rows.unlink()
    assert faults(tmp_path)["rows/train-00001.jsonl"] == faults(tmp_path)["train/metadata.parquet"] == "missing_object"


@pytest.mark.parametrize("form", SINGLE_FORMS)
def test_a_split_whose_samples_were_all_refused_is_proven_too(form: Form, tmp_path: Path) -> None:
    store = SyntheticStore(ITEMS, image=lambda number: b"no picture", hashes=False)
    assert export(store, tmp_path, form).refused == 36
    assert set(faults(tmp_path).values()) == {"refused_sample"}


@pytest.mark.parametrize("form", [Form.WEBDATASET, Form.PARQUET, Form.IMAGEFOLDER])
def test_check_notices_samples_that_are_incomplete_doubled_or_in_the_wrong_split(form: Form, tmp_path: Path) -> None:
    export(SyntheticStore(ITEMS), tmp_path, form)
    forge(
        tmp_path,
        "index/train-00001.json",
        lambda text: text.replace(f'"item_id": "{item_id(10)}', f'"item_id": "{item_id(0)}'),
    )
    kinds = set(faults(tmp_path).values())
    assert {"wrong_sample", "double_sample"} <= kinds
    options = tmp_path / "index.json"
    options.write_text(options.read_text().replace('"test": 0.0', '"test": 1.0'))
    assert "wrong_split" in faults(tmp_path).values()


def forge(folder: Path, name: str, change) -> None:
    """Change an index and make the manifest agree, as somebody would who wants to deceive."""
    before = (folder / name).read_bytes()
    (folder / name).write_text(change(before.decode()))
    manifest = folder / "index.json"
    after = (folder / name).read_bytes()
    assert after != before
    manifest.write_text(manifest.read_text().replace(sha256(before), sha256(after)))


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(Image.new("I;16", (64, 64), 30_000), id="16 bits"),
        pytest.param(Image.new("RGBA", (64, 64), (255, 0, 0, 90)), id="transparent"),
        pytest.param(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), id="CMYK"),
        pytest.param(Image.new("P", (64, 64), 3), id="palette"),
    ],
)
def test_detector_contact_sheet_and_exported_source_see_the_same_picture(picture: Image.Image, tmp_path: Path) -> None:
    content = io.BytesIO()
    picture.save(content, "TIFF")
    (tmp_path / "a.tif").write_bytes(content.getvalue())
    store = SyntheticStore(ITEMS)
    store.replaced["sources/00/000000000000"] = content.getvalue()
    export(store, tmp_path / "out", Form.IMAGEFOLDER, with_source=True)
    rows = pq.read_table(tmp_path / "out/train/metadata.parquet").to_pylist()
    row = next(row for row in rows if row["item_id"] == item_id(0))
    seen = Content(content.getvalue()).picture
    with Image.open(tmp_path / "out/train" / row["source_image_file_name"]) as exported:
        assert exported.convert("RGB").tobytes() == seen.tobytes()
    assert thumbnail(tmp_path / "a.tif", height=64).tobytes() == seen.tobytes()

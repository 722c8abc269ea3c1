"""What an export shows of itself: an even sample, gaps with their reasons, and what was not used."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from PIL import Image

from posemill.contract.records import BatchRecord, Outcome, decode, encode
from producer.exports.exporting import Exporter
from producer.exports.report.sheet import MOST_SOURCES, MOST_UNUSED, Shown
from producer.exports.samples.options import Form, Options
from producer.exports.writing.destinations import FolderDestination
from producer.sheets.contact_sheet import Sheet
from producer.sheets.skeletons import draw_pose, limbs
from tests.synthetic_run import ITEMS_A_SOURCE, RUN_ID, SyntheticStore, item_id, source_name, synthetic_run


class Picky(SyntheticStore):
    """Every third source has nobody in it, the one after it cannot be read."""

    def get(self, key: str) -> bytes:
        content = super().get(key)
        if "/records/generate/" not in key:
            return content
        record = decode(content, BatchRecord)
        return encode(msgspec.structs.replace(record, results=[self._judged(item) for item in record.items]))

    def _judged(self, item: Any) -> Any:
        outcome, reason = [
            (Outcome.REJECTED, "no_person"),
            (Outcome.FAILED, "bad_picture"),
            (item.outcome, item.reason),
        ][item.source_number % 3]
        return msgspec.structs.replace(item, outcome=outcome, reason=reason)


def sheet_of(store: SyntheticStore, folder: Path, **choices: Any) -> Sheet:
    options = Options(**{"form": Form.IMAGEFOLDER, **choices})
    shown = Shown(options)
    Exporter(store, RUN_ID, FolderDestination(folder / "out"), options).export(onlooker=shown)
    pictures = folder / "pictures"
    pictures.mkdir()
    return shown.sheet(store, synthetic_run(), pictures, title="run", subtitle="")


def test_sources_that_gave_no_image_are_shown_by_reason(tmp_path: Path) -> None:
    sheet = sheet_of(Picky(12 * ITEMS_A_SOURCE), tmp_path)
    assert [row.title for row in sheet.rows] == [source_name(n) for n in (2, 5, 8, 11)]
    found = {group.reason: [source.title for source in group.sources] for group in sheet.unused}
    assert found == {
        "failed: bad picture": [source_name(n) for n in (1, 4, 7, 10)],
        "rejected: no person": [source_name(n) for n in (0, 3, 6, 9)],
    }
    assert all(source.path for group in sheet.unused for source in group.sources)


def test_of_many_an_even_sample_is_shown_and_all_are_counted(tmp_path: Path) -> None:
    sheet = sheet_of(Picky(300 * ITEMS_A_SOURCE), tmp_path)
    assert (len(sheet.rows), sheet.total) == (MOST_SOURCES, 100)
    numbers = [int(row.title.removeprefix("photo").removesuffix(".png")) for row in sheet.rows]
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1] > 280) == (2, True)
    assert [(len(group.sources), group.total) for group in sheet.unused] == [(MOST_UNUSED, 100)] * 2


def test_an_image_that_is_rejected_filtered_or_gone_leaves_its_place(tmp_path: Path) -> None:
    store = SyntheticStore(3 * ITEMS_A_SOURCE)
    store.replaced[f"runs/{RUN_ID}/images/{item_id(1)[:2]}/{item_id(1)}.png"] = b"no picture"
    sheet = sheet_of(store, tmp_path, where="seed > 0")
    notes = {
        image.seed: image.note for row in sheet.rows for line in row.lines for image in line.images if not image.path
    }
    assert notes == {0: "left out by the filter", 40503: "not in storage any more", 9 * 40503: "rejected: unsafe"}


def test_a_source_that_is_gone_is_named_without_its_picture(tmp_path: Path) -> None:
    store = Picky(3 * ITEMS_A_SOURCE)
    store.replaced[f"sources/00/{0:012x}"] = b""
    sheet = sheet_of(store, tmp_path)
    missing = [source for group in sheet.unused for source in group.sources if source.path is None]
    assert [source.title for source in missing] == [source_name(0)]


@pytest.mark.parametrize(
    ("form", "file", "word"),
    [
        (Form.IMAGEFOLDER, f"train/images/00001/{item_id(8)}.png", "file"),
        (Form.FILL50K, f"train/target/00001/{item_id(8)}.png", "file"),
        (Form.WEBDATASET, "train/00001.tar", "00001.tar"),
        (Form.PARQUET, "train/00001.parquet", "00001.parquet"),
    ],
)
def test_an_image_is_linked_to_where_the_export_holds_it(form: Form, file: str, word: str, tmp_path: Path) -> None:
    sheet = sheet_of(SyntheticStore(3 * ITEMS_A_SOURCE), tmp_path, form=form, shard_size=8, with_source=True)
    image = sheet.rows[2].lines[0].images[0]
    assert (image.file, image.file_word) == (file, word)
    files = [image.file for row in sheet.rows for line in row.lines for image in line.images if image.path]
    files += [row.file for row in sheet.rows if row.file] + [
        row.controls[0].file for row in sheet.rows if row.controls[0].file
    ]
    assert [each for each in files if not (tmp_path / "out" / each).is_file()] == []
    assert bool(sheet.rows[0].file) is (word == "file")


def test_people_and_score_and_the_pose_are_the_records(tmp_path: Path) -> None:
    first, second, *_ = sheet_of(SyntheticStore(3 * ITEMS_A_SOURCE), tmp_path).rows
    assert (first.facts, second.facts) == ("1 person, score 0.30", "2 people, score 0.38")
    assert first.pose is not None
    assert len(first.pose.people) == 1
    (x, y, _) = next(point for point in first.pose.people[0].body if point)
    picture = Image.new("RGB", (128, 128), "grey")
    draw_pose(picture, first.pose)
    around = picture.crop((int(x * 128) - 2, int(y * 128) - 2, int(x * 128) + 3, int(y * 128) + 3))
    assert around.getcolors(1) is None, "a line begins there"


def test_a_limb_needs_both_its_ends() -> None:
    points = [(n / 20, 0.5) for n in range(18)]
    assert len(limbs(points)) == 17
    assert len(limbs([None, *points[1:]])) == 14, "the nose holds neck and eyes"
    assert limbs([None] * 18) == []

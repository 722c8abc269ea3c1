"""A text is a text wherever an export is loaded: what looks like a date, a number or nothing comes back as it was."""

from pathlib import Path

import datasets
import pytest

from producer.exports.exporting import Exporter
from producer.exports.proof import check_export
from producer.exports.samples.options import Form, Options
from producer.exports.writing.destinations import FolderDestination
from tests.synthetic_run import RUN_ID, SINGLE_FORMS, SyntheticStore, with_texts

ITEMS = 4
TEXTS = [
    "2024-01-01",
    "2024-01-01 12:30:00",
    "12:30",
    "007",
    "1e5",
    "true",
    "null",
    "",
    "NaN",
    "[1]",
    '{"a": 1}',
    " ü ",
]


def loaded(folder: Path, form: Form, texts: list[str]) -> list[dict]:
    """The rows that `datasets` gives of a run whose items have these texts."""
    store = with_texts(SyntheticStore(ITEMS), texts)
    exporter = Exporter(store, RUN_ID, FolderDestination(folder / "set"), Options(form=form))
    exporter.commit(exporter.export())
    assert not check_export(FolderDestination(folder / "set")).faults
    found = datasets.load_dataset(str(folder / "set"), cache_dir=str(folder / "cache"), split="train")
    return [sample["json"] | {"txt": sample["txt"]} if form is Form.WEBDATASET else sample for sample in found]


@pytest.mark.parametrize("form", SINGLE_FORMS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back_as_it_was(tmp_path: Path, form: Form, text: str) -> None:
    rows = loaded(tmp_path, form, [text] * ITEMS)
    assert len(rows) == ITEMS
    for row in rows:
        told = [row[name] for name in ("text", "prompt", "negative_prompt", "caption", "source", "column_colour")]
        assert told == [text] * 6
        assert row.get("txt", text) == text

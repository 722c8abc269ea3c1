"""`posemill open`: a run's contact sheet without an export."""

from pathlib import Path

import pytest
from PIL import Image

from posemill.errors import NotOver
from producer.exports.run_page import write_run_page
from tests.synthetic_run import RUN_ID, SyntheticStore


def test_a_run_s_page_shows_its_images_and_leads_to_no_file_that_is_not_there(tmp_path: Path) -> None:
    picture, page = write_run_page(SyntheticStore(8), RUN_ID, tmp_path / "page")
    text = page.read_text()
    assert Image.open(picture).width > 200
    assert text.count("data:image/webp;base64,") >= 8
    assert 'data-file=""' in text
    assert "train/" not in text
    assert sorted(path.name for path in (tmp_path / "page").iterdir()) == ["contact_sheet.html", "contact_sheet.png"]


def test_a_run_that_has_made_nothing_yet_says_so(tmp_path: Path) -> None:
    store = SyntheticStore(8, written=lambda batch: False)
    with pytest.raises(NotOver, match="has made nothing yet"):
        write_run_page(store, RUN_ID, tmp_path)

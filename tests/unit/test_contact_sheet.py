"""The contact sheet shows every picture with its words, in one PNG and one page that needs nothing else."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from posemill.errors import BadInput
from producer.contact_sheet import SheetControl, SheetImage, SheetRow, limited, render_page, write_contact_sheet
from producer.lettering import font_for, wrapped
from producer.thumbnails import thumbnail


def picture(path: Path, *, size: tuple[int, int] = (64, 64), colour: str = "red", mode: str = "RGB") -> Path:
    Image.new(mode, size, colour).save(path)
    return path


def row(folder: Path, *, images: int = 1, prompt: str = "chef", source: bool = True) -> SheetRow:
    made = tuple(
        SheetImage(path=picture(folder / f"{n}.png", colour="blue"), prompt=prompt, seed=n) for n in range(images)
    )
    return SheetRow(
        title="photo.png",
        source=picture(folder / "photo.png", colour="red") if source else None,
        controls=(SheetControl(path=picture(folder / "pose.png", colour="lime"), kind="openpose"),),
        images=made,
    )


class Page(HTMLParser):
    """The tags of a page, their attributes and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def shown_share(path: Path, colour: tuple[int, int, int]) -> float:
    """The part of a picture that has this colour."""
    with Image.open(path) as opened:
        counts = opened.convert("RGB").getcolors(opened.width * opened.height) or []
        return sum(count for count, each in counts if each == colour) / (opened.width * opened.height)


def test_source_pose_and_image_are_all_in_the_picture(tmp_path: Path) -> None:
    png, _ = write_contact_sheet([row(tmp_path)], folder=tmp_path / "out", title="run", subtitle="two")
    assert png == tmp_path / "out" / "contact_sheet.png"
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert shown_share(png, colour) > 0.1


def test_the_page_holds_every_picture_prompt_and_seed(tmp_path: Path) -> None:
    page = Page(render_page([row(tmp_path, images=3, prompt="a chef")], title="run", subtitle="two"))
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 5
    assert page.text.count("a chef") == 3
    assert all(f"seed {n}" in page.text for n in range(3))


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    html = render_page([row(tmp_path)], title="run", subtitle="two")
    tags = {tag for tag, _ in Page(html).tags}
    assert not tags & {"script", "link", "iframe"}
    sources = re.findall(r'(?:src|href)="([^"]{0,10})', html)
    assert all(source.startswith("data:image") for source in sources)
    assert "http://" not in html
    assert "https://" not in html


def test_prompts_are_text_and_never_markup(tmp_path: Path) -> None:
    prompt = '"><script>alert(1)</script> & co'
    page = Page(render_page([row(tmp_path, prompt=prompt)], title=prompt, subtitle="two"))
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(prompt) >= 2
    assert prompt in [attributes.get("alt") for _, attributes in page.tags]


def test_every_control_image_is_shown_and_named(tmp_path: Path) -> None:
    edges = SheetControl(path=picture(tmp_path / "edges.png", colour="yellow"), kind="canny")
    two = replace(row(tmp_path), controls=(*row(tmp_path).controls, edges))
    png, page = write_contact_sheet([two], folder=tmp_path / "out", title="run", subtitle="two")
    assert shown_share(png, (0, 255, 0)) > 0.1
    assert shown_share(png, (255, 255, 0)) > 0.1
    parsed = Page(page.read_text())
    assert len([tag for tag, _ in parsed.tags if tag == "img"]) == 4
    assert "pose" in parsed.text
    assert "canny" in parsed.text


def test_a_row_without_a_source_begins_with_its_pose(tmp_path: Path) -> None:
    without = row(tmp_path, source=False)
    png, html = write_contact_sheet([without], folder=tmp_path, title="run", subtitle="")
    assert shown_share(png, (255, 0, 0)) == 0
    assert "source" not in Page(html.read_text()).text.split()


def test_what_does_not_fit_is_counted_and_said(tmp_path: Path) -> None:
    rows = [row(tmp_path, images=3)] * 4
    shown, left_out = limited(rows, most_rows=2, most_images=2)
    assert [len(each.images) for each in shown] == [2, 2]
    assert left_out == "Not shown: 2 rows and 8 images in all."
    assert limited(rows, most_rows=4, most_images=3)[1] == ""


def test_a_sheet_of_a_run_without_images_is_still_written(tmp_path: Path) -> None:
    for rows in ([], [row(tmp_path, images=0)]):
        png, html = write_contact_sheet(rows, folder=tmp_path, title="run", subtitle="nothing yet")
        assert Image.open(png).width > 0
        assert "nothing yet" in html.read_text()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param((64, 64), (256, 256), id="small is enlarged"),
        pytest.param((1000, 500), (512, 256), id="wide keeps its shape"),
        pytest.param((300, 900), (85, 256), id="tall keeps its shape"),
        pytest.param((1000, 100), (512, 51), id="very wide is fitted in"),
    ],
)
def test_a_thumbnail_keeps_the_aspect_ratio(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert thumbnail(picture(tmp_path / "a.png", size=size), height=256).size == expected


def test_a_thumbnail_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by a quarter
    Image.new("RGB", (100, 50)).save(tmp_path / "turned.jpg", exif=exif)
    assert thumbnail(tmp_path / "turned.jpg", height=100).size == (50, 100)


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        pytest.param("I;16", 65535, (255, 255, 255), id="16-bit white"),
        pytest.param("I;16", 257 * 40, (40, 40, 40), id="16-bit grey"),
        pytest.param("RGBA", (255, 0, 0, 0), (255, 255, 255), id="transparent"),
        pytest.param("L", 90, (90, 90, 90), id="greyscale"),
        pytest.param("P", 0, (0, 0, 0), id="palette"),
    ],
)
def test_every_kind_of_picture_is_shown_in_its_colours(
    tmp_path: Path, mode: str, colour: object, expected: tuple[int, int, int]
) -> None:
    Image.new(mode, (8, 8), colour).save(tmp_path / "a.png")  # type: ignore[arg-type]
    assert thumbnail(tmp_path / "a.png", height=8).getpixel((4, 4)) == expected


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"broken\.png"):
        thumbnail(tmp_path / "broken.png", height=8)


def test_long_words_and_long_prompts_are_kept_within_the_width() -> None:
    text = "photograph_with_a_very_long_name.png " + "and many more words " * 20
    font = font_for(text, 16)
    lines = wrapped(text, font, width=180, most_lines=4)
    assert len(lines) == 4
    assert lines[-1].endswith("…")
    assert all(font.getlength(line) <= 180 for line in lines)


def test_a_short_text_is_not_cut() -> None:
    assert wrapped("chef in the garden", font_for("chef", 16), width=500, most_lines=2) == ["chef in the garden"]

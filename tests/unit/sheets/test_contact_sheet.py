"""The contact sheet shows every picture with its words, in one PNG and one page that needs nothing else."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from posemill.errors import BadInput
from posemill.pictures.poses import Person, Pose
from producer.sheets.contact_sheet import (
    Sheet,
    SheetControl,
    SheetImage,
    SheetLine,
    SheetRow,
    UnusedSource,
    UnusedSources,
    draw_contact_sheet,
    render_page,
    sampled,
    write_contact_sheet,
)
from producer.sheets.lettering import font_for, wrapped
from producer.sheets.pages import environment, script_digest
from producer.sheets.sheet_picture import CELL_HEIGHT, GAP, MARGIN, RULE_SPACE
from producer.sheets.thumbnails import thumbnail

SKELETON = Pose(width=64, height=64, people=(Person(body=tuple((0.5, n / 20, 0.9) for n in range(18))),))


def picture(path: Path, *, size: tuple[int, int] = (64, 64), colour: str = "red", mode: str = "RGB") -> Path:
    Image.new(mode, size, colour).save(path)
    return path


def line(folder: Path, prompt: str = "chef", *, images: int = 1, size: tuple[int, int] = (64, 64)) -> SheetLine:
    made = [
        SheetImage(
            path=picture(folder / f"{n}.png", colour="blue", size=size), prompt=prompt, seed=n, file=f"train/{n}.png"
        )
        for n in range(images)
    ]
    return SheetLine(images=tuple(made), total=images)


def row(folder: Path, *lines: SheetLine, source: bool = True) -> SheetRow:
    return SheetRow(
        title="photo.png",
        source=picture(folder / "photo.png", colour="red") if source else None,
        controls=(SheetControl(path=picture(folder / "pose.png", colour="lime"), kind="openpose"),),
        lines=lines or (line(folder),),
        prompts=len(lines) or 1,
    )


def sheet(*rows: SheetRow, title: str = "run", subtitle: str = "two", **more: object) -> Sheet:
    return Sheet(title=title, subtitle=subtitle, rows=rows, **{"total": len(rows), **more})


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
    png, _ = write_contact_sheet(sheet(row(tmp_path)), tmp_path / "out")
    assert png == tmp_path / "out" / "contact_sheet.png"
    for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255)):
        assert shown_share(png, colour) > 0.05


def test_the_page_holds_every_picture_prompt_and_seed(tmp_path: Path) -> None:
    page = Page(render_page(sheet(row(tmp_path, line(tmp_path, "a chef", images=3)))))
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 5
    assert page.text.count("a chef") == 1, "a prompt stands once over its images"
    assert all(f"seed {n}" in page.text for n in range(3))
    assert all(attributes["alt"] for attributes in pictures)


def test_the_page_loads_nothing_and_runs_only_its_own_script(tmp_path: Path) -> None:
    html = render_page(sheet(row(tmp_path)))
    tags = Page(html).tags
    assert not {tag for tag, _ in tags} & {"link", "iframe", "object"}
    assert [attributes for tag, attributes in tags if tag == "script"] == [{}]
    assert re.findall(r"<script>(.*?)</script>", html, re.DOTALL) == [environment().globals["script"]]
    assert f"script-src '{script_digest()}'" in html
    sources = re.findall(r'src="([^"]{0,10})', html)
    assert all(source.startswith("data:image") for source in sources)
    assert "http://" not in html
    assert "https://" not in html


def test_texts_are_text_and_never_markup(tmp_path: Path) -> None:
    prompt = '"><script>alert(1)</script> & co'
    named = replace(row(tmp_path, line(tmp_path, prompt)), title=prompt)
    unused = (UnusedSources(reason=prompt, sources=(UnusedSource(title=prompt, path=None),), total=1),)
    page = Page(render_page(sheet(named, title=prompt, subtitle=prompt, unused=unused)))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.text.count(prompt) >= 6
    assert prompt in [attributes.get("alt") for _, attributes in page.tags]


def test_every_control_image_is_shown_and_named(tmp_path: Path) -> None:
    edges = SheetControl(path=picture(tmp_path / "edges.png", colour="yellow"), kind="canny")
    two = replace(row(tmp_path), controls=(*row(tmp_path).controls, edges))
    png, page = write_contact_sheet(sheet(two), tmp_path / "out")
    assert shown_share(png, (0, 255, 0)) > 0.05
    assert shown_share(png, (255, 255, 0)) > 0.05
    parsed = Page(page.read_text())
    assert len([tag for tag, _ in parsed.tags if tag == "img"]) == 4
    assert "pose" in parsed.text
    assert "canny" in parsed.text


def test_a_row_without_a_source_begins_with_its_pose(tmp_path: Path) -> None:
    png, html = write_contact_sheet(sheet(row(tmp_path, source=False)), tmp_path)
    assert shown_share(png, (255, 0, 0)) == 0
    assert "source" not in Page(html.read_text()).text.split()


def test_the_pose_lies_over_the_photograph_on_page_and_picture(tmp_path: Path) -> None:
    with_pose = replace(row(tmp_path), pose=SKELETON, facts="1 person, score 0.90")
    page = Page(render_page(sheet(with_pose)))
    assert [tag for tag, _ in page.tags].count("svg") == 1
    assert "1 person, score 0.90" in page.text
    assert "poses over the pictures" in page.text
    assert "poses over the pictures" not in Page(render_page(sheet(row(tmp_path)))).text
    plain, drawn = (draw_contact_sheet(sheet(each)).tobytes() for each in (replace(with_pose, pose=None), with_pose))
    assert plain != drawn


def test_a_person_that_was_not_found_has_no_lines(tmp_path: Path) -> None:
    nobody = replace(row(tmp_path), pose=Pose(width=64, height=64, people=()))
    tags = [tag for tag, _ in Page(render_page(sheet(nobody))).tags]
    assert tags.count("path") == 0


def test_pictures_link_to_the_files_beside_the_page(tmp_path: Path) -> None:
    page = Page(render_page(sheet(row(tmp_path, line(tmp_path, images=2)))))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a" and attributes["href"] != "#"]
    assert links == ["train/0.png", "train/1.png"]


def test_what_is_shown_of_more_is_an_even_sample_and_said(tmp_path: Path) -> None:
    rows = [replace(row(tmp_path), title=f"photo {n}") for n in range(9)]
    part = sampled(sheet(*rows, total=30), most_rows=3)
    assert [each.title for each in part.rows] == ["photo 0", "photo 4", "photo 8"]
    assert part.shown == "3 of 30 sources, sampled evenly"
    assert "3 of 30 sources, sampled evenly" in Page(render_page(part)).text
    assert sheet(*rows).shown == ""
    many = replace(row(tmp_path), prompts=12, lines=(replace(line(tmp_path, images=2), total=8),))
    text = Page(render_page(sheet(many))).text
    assert "1 of 12 prompts, sampled evenly" in text
    assert "the first 2 of 8" in text


def test_what_was_not_used_is_shown_with_its_reason_and_number(tmp_path: Path) -> None:
    shown = tuple(UnusedSource(title=f"{n}.png", path=picture(tmp_path / f"u{n}.png") if n else None) for n in range(2))
    unused = (UnusedSources(reason="rejected: no person", sources=shown, total=40),)
    page = Page(render_page(sheet(row(tmp_path), unused=unused)))
    assert "rejected: no person" in page.text
    assert "2 of 40 sources, sampled evenly" in page.text
    assert {"0.png", "1.png"} <= set(page.text.split())
    assert "no picture" in page.text
    assert not [
        attributes
        for _, attributes in Page(render_page(sheet(row(tmp_path)))).tags
        if attributes.get("class") == "strip"
    ]


def test_an_image_that_is_not_there_leaves_its_place_and_says_why(tmp_path: Path) -> None:
    gap = SheetImage(path=None, prompt="chef", seed=9, note="rejected: unsafe")
    gapped = SheetLine(images=(*line(tmp_path).images, gap), total=2)
    page = Page(render_page(sheet(row(tmp_path, gapped))))
    assert "rejected: unsafe" in page.text
    assert "seed 9" in page.text
    assert draw_contact_sheet(sheet(row(tmp_path, gapped))).width > 0


def test_a_sheet_of_a_run_without_images_is_still_written(tmp_path: Path) -> None:
    for rows in ((), (replace(row(tmp_path), lines=(), prompts=0),)):
        png, html = write_contact_sheet(sheet(*rows, subtitle="nothing yet"), tmp_path)
        assert Image.open(png).width > 0
        assert "nothing yet" in html.read_text()


@pytest.mark.parametrize("size", [(64, 64), (400, 100), (100, 300), (2000, 100)], ids="{0[0]}x{0[1]}".format)
def test_inputs_have_a_fixed_column_and_images_stand_in_line_whatever_their_shape(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    shaped = replace(
        row(tmp_path, line(tmp_path, "one", images=2, size=size), line(tmp_path, "two", images=2, size=size)),
        source=picture(tmp_path / "shaped.png", size=size),
    )
    drawn = draw_contact_sheet(sheet(shaped))
    columns = {
        x for x in range(drawn.width) if any(drawn.getpixel((x, y)) == (0, 0, 255) for y in range(0, drawn.height, 3))
    }
    assert min(columns) - (MARGIN + 2 * CELL_HEIGHT + GAP + 2 * RULE_SPACE) in range(3), "right of the inputs' room"
    assert drawn.width < 1700


@given(title=st.text(max_size=60), prompt=st.text(min_size=1, max_size=200))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_can_be_shown(tmp_path: Path, title: str, prompt: str) -> None:
    shown = sheet(replace(row(tmp_path, line(tmp_path, prompt)), title=title), title=title)
    assert draw_contact_sheet(shown).width > 0
    assert [tag for tag, _ in Page(render_page(shown)).tags].count("img") == 3


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


def test_a_small_picture_is_not_enlarged_where_a_browser_does_it(tmp_path: Path) -> None:
    assert thumbnail(picture(tmp_path / "a.png", size=(64, 32)), height=256, enlarge=False).size == (64, 32)
    assert thumbnail(picture(tmp_path / "b.png", size=(640, 640)), height=256, enlarge=False).size == (256, 256)


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


def test_a_font_is_taken_that_has_the_letters() -> None:
    names = [font_for(text, 16).getname()[0] for text in ("chef", "повар", "طباخ")]
    assert names[0] not in names[1:]


def test_a_short_text_is_not_cut() -> None:
    assert wrapped("chef in the garden", font_for("chef", 16), width=500, most_lines=2) == ["chef in the garden"]

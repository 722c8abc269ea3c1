"""Contact sheet and report in a real browser: on a wide screen, on a phone, in the dark, by mouse and by keyboard."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from posemill.pictures.poses import Person, Pose
from producer.exports.dataset import export_run
from producer.exports.samples.options import Form, Options
from producer.sheets.contact_sheet import (
    Sheet,
    SheetControl,
    SheetImage,
    SheetLine,
    SheetRow,
    UnusedSource,
    UnusedSources,
    render_page,
)
from tests.synthetic_run import RUN_ID, SyntheticStore

PROGRAMS = ("chromium", "chromedriver")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip
WIDE, PHONE = (1600, 1000), (390, 844)
KINDS = ("openpose", "canny", "depth", "normal", "hed", "scribble", "mlsd", "seg")
HOSTILE = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\"> & 'more'"
PROMPTS = (
    HOSTILE,
    "طباخ في المطبخ مع الخضروات والفواكه",
    "👩‍🍳 chef " * 3,
    "a very detailed painting, " * 40,
    "x" * 300,
)
READABLE = 4.5  # contrast, by WCAG AA

Browser = webdriver.Chrome


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    paths = [shutil.which(program) for program in PROGRAMS]
    if None in paths:
        pytest.skip("needs Chromium and its driver: apt-get install chromium chromium-driver (CI does)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(paths[0])
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options=options, service=Service(paths[1])) as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages of real exports, and one of everything that is awkward to lay out."""
    folder = tmp_path_factory.mktemp("pages")
    export_run(SyntheticStore(4), RUN_ID, folder / "one", Options())
    export_run(SyntheticStore(240), RUN_ID, folder / "many", Options(form=Form.WEBDATASET, where="people < 3"))
    (folder / "awkward.html").write_text(render_page(awkward_sheet(folder)), encoding="utf-8")
    return {
        "one source": folder / "one/contact_sheet.html",
        "one source's report": folder / "one/report.html",
        "many sources": folder / "many/contact_sheet.html",
        "many sources' report": folder / "many/report.html",
        "awkward": folder / "awkward.html",
    }


PAGES = ("one source", "one source's report", "many sources", "many sources' report", "awkward")


def awkward_sheet(folder: Path) -> Sheet:
    """Pictures wide and tall, eight controls, prompts long and foreign and hostile, sources that were not used."""
    shapes = [(400, 100), (100, 300), (1600, 80), (128, 128)]
    rows = tuple(_row(folder, number, size) for number, size in enumerate(shapes))
    unused = (
        UnusedSources(
            reason="rejected: no person",
            sources=(UnusedSource(title=HOSTILE, path=_picture(folder, "empty", (640, 480))), *[
                UnusedSource(title="broken.jpg", path=None)]),
            total=30,
        ),
    )  # fmt: skip
    return Sheet(title=HOSTILE, subtitle="source, pose, images", rows=rows, total=30, unused=unused)


def _row(folder: Path, number: int, size: tuple[int, int]) -> SheetRow:
    picture = _picture(folder, f"picture{number}", size)
    lines = tuple(
        SheetLine(images=tuple(SheetImage(path=picture, prompt=prompt, seed=2**63 - n) for n in range(4)), total=4)
        for prompt in PROMPTS
    )
    kinds = KINDS if number == 3 else KINDS[:1]
    body = tuple((0.5, 0.1 + n / 25, 0.9) for n in range(18))
    return SheetRow(
        title="people/" + "long_name_" * 20 + ".png",
        source=picture,
        controls=tuple(SheetControl(path=picture, kind=kind) for kind in kinds),
        lines=lines,
        prompts=12,
        facts="1 person, score 0.90",
        pose=Pose(width=size[0], height=size[1], people=(Person(body=body),)),
    )


def _picture(folder: Path, name: str, size: tuple[int, int]) -> Path:
    Image.effect_noise(size, 80).convert("RGB").save(folder / f"{name}.png")
    return folder / f"{name}.png"


def show(browser: Browser, page: Path, size: tuple[int, int] = WIDE, *, dark: bool = False) -> None:
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get_log("browser")
    browser.get(page.as_uri())


def all_of(browser: Browser, selector: str) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, selector)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_its_screen_shows_all_pictures_and_complains_of_nothing(
    browser: Browser, pages: dict[str, Path], name: str, size: tuple[int, int], *, dark: bool
) -> None:
    show(browser, pages[name], size, dark=dark)
    browser.execute_script("for (const image of document.images) image.loading = 'eager'")
    loaded = "return [...document.images].every((image) => image.complete)"
    WebDriverWait(browser, 30).until(lambda _: browser.execute_script(loaded))
    assert browser.execute_script("return [...document.images].filter((image) => !image.naturalWidth).length") == 0
    assert browser.execute_script("return document.images.length") >= 3
    assert browser.execute_script("return document.documentElement.scrollWidth") == size[0]
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["many sources", "many sources' report"])
def test_words_can_be_read_on_their_ground(browser: Browser, pages: dict[str, Path], name: str, *, dark: bool) -> None:
    show(browser, pages[name], dark=dark)
    grounds = [browser.execute_script("return getComputedStyle(arguments[0]).backgroundColor", each)
               for each in (browser.find_element(By.TAG_NAME, "body"), all_of(browser, ".source")[0])]  # fmt: skip
    inks = {each.value_of_css_property("color") for each in all_of(browser, "h1, h2, h3, p, small, a, td, svg text")}
    contrasts = [_contrast(ink, ground) for ink in inks for ground in grounds]
    assert min(contrasts) >= READABLE
    assert (_luminance(grounds[0]) < 0.1) is dark


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    """WCAG's relative luminance of `rgb(…)` or `rgba(…)`."""
    shares = [int(part) / 255 for part in colour.split("(")[1].rstrip(")").split(",")[:3]]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("name", ["one source", "many sources' report", "awkward"])
def test_a_click_enlarges_arrows_go_on_and_escape_ends_it(
    browser: Browser, pages: dict[str, Path], name: str, size: tuple[int, int]
) -> None:
    show(browser, pages[name], size)
    tiles, dialog = all_of(browser, "button.tile"), browser.find_element(By.TAG_NAME, "dialog")
    assert not dialog.is_displayed()
    tiles[0].click()
    assert dialog.is_displayed()
    frame = dialog.find_element(By.CLASS_NAME, "frame")
    small, large = tiles[0].size, frame.size
    assert large["width"] * large["height"] > 1.2 * small["width"] * small["height"]
    assert abs(large["width"] / large["height"] / (small["width"] / small["height"]) - 1) < 0.1, "its shape is kept"
    assert frame.find_elements(By.CLASS_NAME, "skeleton")
    words = dialog.find_element(By.TAG_NAME, "p")
    assert words.text.splitlines() == [tiles[0].get_attribute(f"data-{kind}") for kind in ("words", "note")]
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert words.text.splitlines()[-1] == tiles[1].get_attribute("data-note")
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert words.text.splitlines()[-1] == tiles[-1].get_attribute("data-note"), "from the first to the last"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert not dialog.is_displayed()
    # the browser says a little later that the dialog is closed, and only then is the focus put back
    WebDriverWait(browser, 30).until(lambda _: browser.switch_to.active_element == tiles[-1])
    assert browser.execute_script("return document.documentElement.scrollWidth") == size[0]
    assert browser.get_log("browser") == []


def test_everything_can_be_reached_and_done_by_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    show(browser, pages["one source"])
    reached: list[str] = []
    for _ in range(4):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        reached.append(browser.switch_to.active_element.get_attribute("outerHTML")[:40])
    assert 'id="skeletons"' in reached[0]
    assert ["button" in each for each in reached[1:3]] == [True, True]
    all_of(browser, "button.tile")[1].send_keys(Keys.ENTER)
    assert browser.find_element(By.TAG_NAME, "dialog").is_displayed()
    browser.find_element(By.CSS_SELECTOR, "dialog .shut").send_keys(Keys.SPACE)
    assert not browser.find_element(By.TAG_NAME, "dialog").is_displayed()


def test_every_picture_has_words_for_those_who_do_not_see_it(browser: Browser, pages: dict[str, Path]) -> None:
    for name in PAGES:
        show(browser, pages[name])
        assert all(image.get_attribute("alt") for image in all_of(browser, "main img"))
        assert all(svg.get_attribute("aria-label") for svg in all_of(browser, "main svg[role=img], main div[role=img]"))


def test_poses_over_photographs_can_be_taken_away(browser: Browser, pages: dict[str, Path]) -> None:
    show(browser, pages["one source"])
    skeleton = browser.find_element(By.CSS_SELECTOR, ".inputs .skeleton")
    assert skeleton.is_displayed()
    image = browser.find_element(By.CSS_SELECTOR, ".inputs img")
    assert all(abs(skeleton.rect[side] - image.rect[side]) < 1 for side in ("x", "y", "width", "height"))
    browser.find_element(By.ID, "skeletons").click()
    assert not skeleton.is_displayed()


@pytest.mark.parametrize("name", ["many sources", "awkward"])
def test_inputs_have_one_width_and_images_of_a_source_one_height(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    show(browser, pages[name])
    assert len({each.size["width"] for each in all_of(browser, ".inputs")}) == 1
    for prompts in all_of(browser, ".prompts"):
        heights = {tile.size["height"] for tile in prompts.find_elements(By.CSS_SELECTOR, ".frame")}
        assert max(heights) - min(heights) <= 1
        seeds = [tile.location["y"] for tile in prompts.find_elements(By.CSS_SELECTOR, ".prompt:first-child .frame")]
        assert max(seeds) - min(seeds) <= 1, "the seeds of a prompt stand in one row"
    lines = [each.size["height"] for each in all_of(browser, ".prompt > p:first-child")]
    assert max(lines) < 3 * min(lines), "prompts take two lines at most"


def test_most_of_a_wide_page_is_used(browser: Browser, pages: dict[str, Path]) -> None:
    show(browser, pages["awkward"])
    right = "return arguments[0].getBoundingClientRect().right"
    for section in all_of(browser, ".source"):
        tiles = section.find_elements(By.CSS_SELECTOR, ".prompts .tile")
        assert max(browser.execute_script(right, tile) for tile in tiles) > 0.75 * WIDE[0]


def test_texts_from_outside_are_never_run(browser: Browser, pages: dict[str, Path]) -> None:
    show(browser, pages["awkward"])
    assert browser.title == HOSTILE
    all_of(browser, ".prompts button.tile")[0].click()
    assert browser.find_element(By.CSS_SELECTOR, "dialog p").text.splitlines()[0] == HOSTILE
    assert browser.title == HOSTILE
    assert len(all_of(browser, "script")) == 1


@pytest.mark.parametrize("name", ["one source", "many sources", "many sources' report"])
def test_links_lead_to_files_of_the_export(browser: Browser, pages: dict[str, Path], name: str) -> None:
    show(browser, pages[name])
    links = {link.get_attribute("href") for link in all_of(browser, "main a")}
    assert links
    assert [link for link in links if not Path(unquote(urlparse(link).path)).is_file()] == []


def test_a_report_says_outcomes_and_models_before_all_else(browser: Browser, pages: dict[str, Path]) -> None:
    show(browser, pages["many sources' report"])
    headings = [each.text for each in all_of(browser, "h2")]
    assert headings[:3] == ["What became of the run's items", "Models", "Pictures"]
    assert "rejected unsafe" in browser.find_element(By.TAG_NAME, "table").text
    assert len(all_of(browser, "svg.poses path")) > 20, "skeletons on the map and of the clusters"


def test_a_report_of_few_poses_has_no_map_and_of_one_value_no_slab(browser: Browser, pages: dict[str, Path]) -> None:
    show(browser, pages["one source's report"])
    assert all_of(browser, "svg.poses") == []
    numbers = browser.find_element(By.CLASS_NAME, "numbers").text
    assert "1\nPeople per image" in numbers
    assert [each.get_attribute("aria-label") for each in all_of(browser, ".plots > div")] == ["Histogram: Prompts"]

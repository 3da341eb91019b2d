"""The page of results in a real browser, from disk: grid, hover, details, order and filter, light and dark."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from nada.pictures.page import render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TARGETS = ("sketch", "</script><script>document.title='broken'</script>", "水彩 & \u2028 <b>")


def rows(count=6):
    """Rows of targets and seeds, the last one failed."""
    found = []
    for i in range(count):
        settings = {"generator": "demo", "target": TARGETS[i % 3], "seed": i // 3, "iterations": 150, "batch": 1}
        row = {"job": f"{i:012d}", "settings": settings, "status": "done", "folder": f"jobs/{i}/", "iterations_done": 3}
        row |= {
            "curve": [1.0, 0.5, None, 0.25 + i],
            "loss": 0.25 + i,
            "seconds": 10.0 * (i * 5 % 7),
            "command": f"nada adapt --seed {i}",
        }
        row |= {
            "measures": {"quality": 0.1 * i},
            "before": "before.png",
            "after": "after.png",
            "filmstrip": "strip.png",
        }
        found.append(row)
    found[-1] = {
        "job": "x",
        "settings": settings,
        "status": "failed",
        "folder": "jobs/x/",
        "measures": {},
        "error": "no memory",
    }
    return found


def write(folder, found, axes=("target", "seed")):
    for name, color in (("before", "red"), ("after", "blue"), ("strip", "green")):
        Image.new("RGB", (64, 64), color).save(folder / f"{name}.png")
    data = {"rows": found, "axes": list(axes), "metrics": ["quality"]}
    (folder / "index.html").write_text(render("A <sweep> & more", json.dumps(data)), "utf-8")
    return (folder / "index.html").as_uri()


def test_whatever_a_text_holds_the_page_stays_whole():
    text = render("<script>", json.dumps({"rows": rows(), "axes": ["target"], "metrics": []}))
    assert text.count("</script>") == 2
    assert "<title>&lt;script&gt;</title>" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", ""), "it needs no network"


def test_a_long_sweep_makes_a_small_page(tmp_path):
    """With two thumbnails of 13 kB for each job, as measured, 500 jobs stay below 30 MB."""
    found = [{**row, "curve": [0.1234] * 64} for row in rows(6)] * 84
    write(tmp_path, found)
    assert (tmp_path / "index.html").stat().st_size + len(found) * 2 * 13_000 < 30e6


@pytest.fixture(scope="module")
def browser():
    """A browser that shows pages. It takes seconds to start, so the tests that need one are slow."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM:
        pytest.skip("needs Chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, tmp_path):
    """The opened page, which must not report an error."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
    errors = []
    page.on("pageerror", lambda error: errors.append(error))
    page.on("requestfailed", lambda request: errors.append(request.url))
    page.goto(write(tmp_path, rows()))
    yield page
    assert not errors
    page.close()


def column(page, name):
    heads = page.locator("#list th").all_inner_texts()
    at = next(i for i, head in enumerate(heads) if head.split(" ")[0] == name)
    return [line.locator("td").nth(at).inner_text() for line in page.locator("#list tr").all()[1:]]


@pytest.mark.slow
def test_two_axes_are_rows_and_columns(page):
    assert page.title() == "A <sweep> & more"
    assert page.locator("#counts").inner_text() == "5 done, 1 failed"
    heads = page.locator("#grid th[scope=row]").all_inner_texts()
    assert heads[:2] == list(TARGETS[:2])
    assert page.locator("#grid th[scope=col]").all_inner_texts() == ["seed 0", "seed 1"]
    assert page.locator(".card").count() == 6
    assert page.locator("svg").count() == 5
    page.select_option("#columns", "")
    assert page.locator("#grid tr").nth(1).locator("td").count() == 1
    assert page.locator(".card").count() == 6


@pytest.mark.slow
def test_hover_shows_before_and_a_click_how_it_trained(page):
    card = page.locator(".card").first
    opacity = lambda: card.locator(".after").evaluate("image => getComputedStyle(image).opacity")
    assert opacity() == "1"
    card.hover()
    assert opacity() == "0"
    card.click()
    dialog = page.locator("#details")
    assert dialog.locator(".strip").evaluate("image => image.complete && image.naturalWidth") == 64
    assert "nada adapt --seed 0" in dialog.inner_text()
    dialog.get_by_text("Copy").click()
    assert page.evaluate("String(getSelection())") == "nada adapt --seed 0"
    dialog.get_by_text("Close").click()
    assert not dialog.is_visible()


@pytest.mark.slow
def test_the_list_is_one_click_away_and_opens_runs_too(page):
    page.get_by_text("List of all runs").click()
    assert page.url.endswith("#list")
    page.locator("#list .open").nth(1).click()
    assert "nada adapt --seed 1" in page.locator("#details").inner_text()


@pytest.mark.slow
def test_row_heads_stay_readable_beside_a_wide_grid(page):
    """They keep their width, and their place when the grid is scrolled to the right."""
    page.set_viewport_size({"width": 320, "height": 600})
    head = page.locator("#grid th[scope=row]").first
    before = head.bounding_box()
    page.locator(".scroll").first.evaluate("box => { box.scrollLeft = 100; }")
    after = head.bounding_box()
    assert before["width"] > 90
    assert after["x"] == before["x"]


@pytest.mark.slow
def test_failures_are_reported(page):
    assert page.locator(".card .bad").inner_text() == "no memory"


@pytest.mark.slow
def test_the_list_can_be_sorted_and_filtered(page):
    page.locator("#list th button", has_text="seconds").click()
    assert column(page, "seconds") == ["60.0", "50.0", "30.0", "10.0", "0.0", "-"]
    page.locator("#list th button", has_text="seconds").click()
    assert column(page, "seconds") == ["0.0", "10.0", "30.0", "50.0", "60.0", "-"]
    page.fill("#filter", "seed 1 sketch")
    assert column(page, "target") == ["sketch"]
    assert page.locator(".card").count() == 1
    for words, count in (("seed 1", 3), ("seed 15", 0), ("iterations 15", 0), ("batch 1 seed", 6), ("150 failed", 1)):
        page.fill("#filter", words)
        assert page.locator(".card").count() == count, words
    page.fill("#filter", "nothing like it")
    assert page.locator(".card").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.slow
def test_text_can_be_read_in_light_and_dark(page, scheme):
    page.emulate_media(color_scheme=scheme)
    colors = page.evaluate("[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]")
    ink, paper = (sum(map(int, color.strip("rgb()").split(", "))) / 765 for color in colors)
    assert abs(ink - paper) > 0.6
    assert (ink > paper) == (scheme == "dark")


@pytest.mark.slow
def test_one_run_has_a_page_too(browser, tmp_path):
    page = browser.new_page()
    page.goto(write(tmp_path, rows()[:1], axes=()))
    assert page.locator(".card").count() == 1
    assert not page.locator("#rows").is_visible()
    page.close()

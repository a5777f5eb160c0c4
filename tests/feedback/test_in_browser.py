"""Pages in headless Chromium: on a phone and a wide screen, light, dark and printed; nothing leaves the page."""

import nbformat
import pytest

from autograder.feedback import Pages
from autograder.feedback.grades import Grades, Mark
from autograder.grade.record import Recorder

from .conftest import STEM

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import sync_playwright

from tests.browser.jupyterlab import QUIET, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]
LAB = "lab02_attention"
WIDEST = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
HIDDEN = """() => [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).length"""
FAINT = """() => {
  const light = colour => {
    const part = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.match(/\\d+/g).map(part);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = e => {
    while (getComputedStyle(e).backgroundColor.endsWith(', 0)')) e = e.parentElement;
    return getComputedStyle(e).backgroundColor;
  };
  const faint = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    if (!node.data.trim()) continue;
    const e = node.parentElement, pair = [light(getComputedStyle(e).color), light(ground(e))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < 4.5) faint.push([node.data.trim().slice(0, 40), e.className, ratio.toFixed(2)]);
  }
  return faint;
}"""


def demanding_page(course) -> str:
    """All of lab 2's text, formulas and drawings, and a student who writes long lines."""
    released = nbformat.read(course.built(LAB) / f"{LAB}.ipynb", as_version=4)
    marks = {
        cell.metadata.nbgrader.grade_id: Mark(0.0, cell.metadata.nbgrader.points, False, False)
        for cell in released.cells
        if cell.metadata.get("nbgrader", {}).get("grade")
    }
    comments = {"solution-attention": "x" * 300, "word_order": "See https://example.org/" + "y" * 300}
    written = nbformat.from_dict(released)
    for cell in written.cells:
        if cell.id == "word_order":
            cell.source = "z" * 500
    return Pages(course.name, "sample", LAB, released).page(
        written, Grades("n" * 80, "", marks, comments, 0.0, 0.0, None)
    )


@pytest.fixture(scope="module")
def files(graded, course, tmp_path_factory):
    """Pages of the small course, of wrong, stopped and hostile students, and the demanding one."""
    with Recorder(graded.root, STEM) as recorder:
        found = {name: recorder.feedback(name, graded.course) for name in ("bob", "cleo", "eve")}
    found["demanding"] = tmp_path_factory.mktemp("pages") / "demanding.html"
    found["demanding"].write_text(demanding_page(course), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=list(QUIET))
        yield browser
        browser.close()


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
@pytest.mark.parametrize("width", [360, pytest.param(1200, marks=pytest.mark.long)])
def test_no_page_scrolls_sideways_loads_anything_or_is_faint(browser, files, width, scheme, tmp_path):
    for name, path in files.items():
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        requests, said = [], []
        page.on("request", lambda request, seen=requests: seen.append(request.url))
        page.on("console", lambda message, seen=said: seen.append(message.text))
        page.on("dialog", lambda dialog, seen=said: seen.append(dialog.message))
        page.goto(path.as_uri())
        wide, room = page.evaluate(WIDEST)
        assert wide <= room, name
        assert page.evaluate(FAINT) == [], name
        assert requests == [path.as_uri()] and said == [], name
        picture = page.screenshot(path=str(tmp_path / f"{name}.png"))
        assert len(picture) > 10_000
        page.close()


def test_formulas_are_drawn_and_links_jump(browser, files):
    page = browser.new_page(viewport={"width": 360, "height": 800})
    page.goto(files["demanding"].as_uri())
    fraction = page.locator("math mfrac").first.bounding_box()
    assert fraction["height"] > 25 and fraction["width"] > 15
    page.click('a[href="#read-1"] >> nth=0')
    assert -5 < page.locator("#read-1").bounding_box()["y"] < 800
    page.close()


def test_nothing_is_cut_off_on_paper(browser, files):
    for path in files.values():
        page = browser.new_page(viewport={"width": 700, "height": 900})
        page.goto(path.as_uri())
        page.emulate_media(media="print", color_scheme="dark")
        wide, room = page.evaluate(WIDEST)
        assert wide <= room and page.evaluate(HIDDEN) == 0, path
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        page.close()

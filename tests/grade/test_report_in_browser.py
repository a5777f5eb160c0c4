"""The assistant's page in headless Chromium: on a laptop, light and dark, in the notebook's order."""

import pytest

from autograder.grade.gradebook import Entry
from autograder.grade.report import write_report

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import sync_playwright

from tests.browser.jupyterlab import QUIET, chromium
from tests.feedback.test_in_browser import FAINT, WIDEST

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(chromium() is None, reason="Chromium is not installed"),
]
LAB = "lab02_attention"
STATUSES = ["ok", "unreadable", "forbidden", "timeout", "missing", "wrong", "crashed"]
WHOLE = """() => [...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth + 1)"""

ON_TOP = """cell => {
  cell.scrollIntoView({block: 'nearest', inline: 'nearest'});
  const now = cell.getBoundingClientRect();
  const tops = [...Array(9).keys()].map(n => [now.x + now.width * (n + 1) / 10, now.y + now.height - 12]);
  return tops.every(([x, y]) => cell.contains(document.elementFromPoint(x, y)));
}"""


def entry(student: str, names: list[str], number: int) -> Entry:
    told = {}
    for place, name in enumerate(sorted(names)):  # as the journal keeps them
        status = STATUSES[(place + number) % len(STATUSES)]
        score = 8.0 if status == "ok" else 2.5
        told[name] = {"kind": "core", "score": score, "max_score": 8.0, "counted": (score, 8.0), "status": status}
        told[name] |= {"note": "", "misconceptions": []}
    run = {"status": "ok", "seconds": 12.3, "cpu_seconds": 4.5, "peak_mib": 512, "flags": {"attention": ["x" * 200]}}
    return Entry(LAB, student, "", "", "", told, run, "")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_laptop_in_the_notebooks_order(course, tmp_path, scheme):
    from autograder.feedback.course_folder import read_recorded
    from autograder.scoring.cells import graded_cells

    names = list(graded_cells(read_recorded(course.built(LAB) / f"{LAB}.ipynb")))
    entries = [entry(student, names, n) for n, student in enumerate(["ada", "s" * 64, "Ada King Lovelace", "ohm"])]
    for student in ("ada", "ohm"):
        log = tmp_path / "logs" / student / LAB / "log.txt"
        log.parent.mkdir(parents=True)
        log.touch()
    path = write_report(tmp_path, LAB, entries, names)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=list(QUIET))
        page = browser.new_page(viewport={"width": 1366, "height": 768}, color_scheme=scheme)
        page.goto(path.as_uri())
        wide, room = page.evaluate(WIDEST)
        assert wide <= room and page.evaluate(WHOLE)
        assert page.locator(".students thead th").all_inner_texts() == ["student", "total", *names]
        assert page.evaluate(FAINT) == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (ground == "rgb(255, 255, 255)") == (scheme == "light")
        page.screenshot(path=str(tmp_path / f"report-{scheme}.png"), full_page=True)
        browser.close()


def test_name_and_total_stay_in_sight_on_a_narrow_screen(tmp_path):
    names = [f"an_exercise_{n}" for n in range(20)]
    path = write_report(tmp_path, LAB, [entry("ada", names, 0), entry("s" * 64, names, 1)], names)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=list(QUIET))
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.goto(path.as_uri())
        for left in (0, 300):
            page.evaluate("left => document.querySelectorAll('.scroll')[1].scrollLeft = left", left)
            for cell in page.locator("td.who, td.total, th.who, th.total").all():
                box = cell.bounding_box()
                assert box and box["x"] >= 0 and box["x"] + box["width"] <= 300
                assert cell.evaluate(ON_TOP)
        browser.close()

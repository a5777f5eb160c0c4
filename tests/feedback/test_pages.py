"""Pages of real graded submissions: what each student reads, and that nothing of theirs acts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from autograder.cli import add_commands
from autograder.grade.record import Recorder
from autograder.scoring.score import Scorer

from .conftest import RAISES, STEM, WHY, Graded, Page

PARTS = {"html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section", "article", "div", "p"}
PARTS |= {"h1", "h2", "h3", "h4", "strong", "em", "small", "span", "code", "pre", "a", "sup", "time", "wbr"}
PARTS |= {"table", "thead", "tbody", "tr", "th", "td"}
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def pages(graded) -> dict[str, Page]:
    """Everybody's page."""
    with Recorder(graded.root, STEM) as recorder:
        return {name: Page(recorder.feedback(name, graded.course).read_text("utf-8")) for name in recorder.students()}


def test_right_answers_and_a_question_that_waits(pages):
    text = pages["ann"].text
    assert "Machine Learning Systems · term sample A small lab Feedback for ann" in text
    assert "4 of 5 points so far" in text and "Not in yet: 1 for what a person will read" in text
    assert "will be graded by a person" in text
    assert "def times(x)" in text and re.search(r"x times \d+\.", text)  # what was asked, in this term's numbers
    assert "✓ 4 of 4 4 of 4" in text and "What is wrong" not in text
    assert WHY in text.replace("\u200b", "")


def test_a_mistake_gets_its_hint_and_the_text_to_read_again(pages):
    page = pages["bob"]
    assert "✗ not right yet, 0 of 4 points" in page.text and "Hint Times, not plus." in page.text
    assert "✗ 0 of 4 y is off; largest error 1 or more" in page.text
    assert "#read-0" in page.values("href") and "To read again A small lab The factor is" in page.text


def test_every_link_leads_to_a_place_on_the_page(pages):
    for page in pages.values():
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        assert {href.removeprefix("#") for href in page.values("href")} <= set(ids)
        assert set(page.values("aria-labelledby")) <= set(ids)


def test_an_exception_is_named_with_the_line(pages):
    page = pages["cleo"]
    assert "stops with an error, 0 of 4" in page.text and "raised RuntimeError" in page.text
    assert "line 3 of your code" in page.text and "nowhere" in RAISES.split("\n")[2]
    marked = re.search(r'<span class="hll">(.*?)\n', page.html)
    assert marked and "nowhere" in marked[1]


def test_a_cell_that_does_not_parse_says_so(pages):
    text = pages["hal"].text
    assert "SyntaxError: '(' was never closed" in text and "not there yet" in text


def test_a_blank_notebook(pages):
    text = pages["finn"].text
    assert "0 of 5 points" in text and text.count("left blank") == 4 and "Your code" not in text
    assert "person will read" not in text


def test_what_could_not_be_read_says_what_to_do(pages):
    text = pages["dan"].text
    assert "Your submission could not be read" in text and "JSON does not parse" in text
    assert "mlsys check lab00" in text and text.count("could not be read") == 3 and "What was asked" not in text


def test_late_work_says_how_late_and_what_it_cost(pages):
    text = pages["gus"].text
    assert "Handed in 2 hours 5 minutes after the due date: 2 of 4 points were taken off" in text
    assert "2 of 5 points" in text and "handed in 2026-10-01 16:05 CEST" in text
    assert "after the due date" not in pages["ann"].text


def test_nothing_of_a_students_acts(pages):
    page = pages["eve"]
    assert page.text.count("alert('marked')") >= 4  # it is there, to be read: in code, answer and message
    for page in pages.values():
        assert page.tags <= PARTS, page.tags - PARTS
        assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("src", "srcdoc")]
        assert all(value.startswith("#") for value in page.values("href"))
        assert all(re.fullmatch(r"width: \d+%", value) for value in page.values("style"))
        (policy,) = [v for tag, name, v in page.attributes if tag == "meta" and v.startswith("default-src")]
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';")


def test_no_sealed_number_is_on_a_page(pages, graded):
    specification = Scorer.for_lab(graded.course.lab(STEM)).specifications["times"]
    sealed = [tree for case in specification.cases for tree in (case.inputs["x"], case.expected["y"])]
    digits = {f"{abs(value):.3f}"[:5] for x in sealed for value in x.flatten().tolist() if abs(value) > 0.1}
    assert len(digits) > 20
    for page in pages.values():
        assert not [number for number in digits if re.search(rf"(?<!\d){re.escape(number)}", page.html)]


def test_a_persons_grade_and_words(graded: Graded, pages):
    """As formgrader saves them. Only that student's page is written again."""
    before = {name: graded.path(name).stat().st_mtime_ns for name in pages}
    with graded.book() as book:
        grade = book.find_grade("why", STEM, STEM, "ann")
        grade.manual_score, grade.needs_manual_grade = 0.5, False
        book.find_comment("why", STEM, STEM, "ann").manual_comment = "Half.\n<script>alert('mark')</script>"
        book.find_comment("solution-times", STEM, STEM, "ann").manual_comment = "Neat!"
        student = book.find_student("ann")
        student.first_name, student.last_name = "<b>Ann</b>", "O'Hara"
        book.db.commit()
    with Recorder(graded.root, STEM) as recorder:
        written = {name: recorder.feedback(name, graded.course) for name in pages}
    ann = Page(written["ann"].read_text("utf-8"))
    assert "4.5 of 5 points" in ann.text and "so far" not in ann.text
    assert "graded by a person, 0.5 of 1 points" in ann.text and "Your grader says Neat!" in ann.text
    assert "Half. <script>alert('mark')</script>" in ann.text and ann.tags <= PARTS
    assert "<b>Ann</b> O'Hara (ann)" in ann.text
    assert [name for name in pages if graded.path(name).stat().st_mtime_ns != before[name]] == ["ann"]


def test_nbgraders_exchange_hands_the_pages_out(graded: Graded, pages, tmp_path):
    (tmp_path / "exchange").mkdir()
    (tmp_path / "exchange").chmod(0o777)
    command = [sys.executable, "-m", "nbgrader", "release_feedback", STEM, "--CourseDirectory.course_id=ml"]
    command += [f"--Exchange.root={tmp_path / 'exchange'}", "--Application.log_level=40"]
    subprocess.run(command, cwd=graded.root, env=ENVIRONMENT, check=True, timeout=200, capture_output=True)
    released = sorted(path.read_bytes() for path in (tmp_path / "exchange" / "ml" / "feedback").glob("*.html"))
    assert released == sorted(graded.path(name).read_bytes() for name in pages) and len(released) == 8


def test_nbgrader_by_hand_writes_the_same_pages(graded: Graded, pages):
    written = {name: graded.path(name).read_bytes() for name in pages}
    command = [sys.executable, "-m", "nbgrader", "generate_feedback", STEM, "--force", "--Application.log_level=40"]
    subprocess.run(command, cwd=graded.root, env=ENVIRONMENT, check=True, timeout=200, capture_output=True)
    assert {name: graded.path(name).read_bytes() for name in pages} == written


def test_the_command_goes_on_where_one_page_cannot_be_written(graded: Graded, pages, monkeypatch):
    recorded = graded.root / "autograded" / "bob" / STEM / f"{STEM}.ipynb"
    recorded.rename(graded.root / "bob.ipynb")
    graded.path("cleo").unlink()
    monkeypatch.chdir(graded.root)
    monkeypatch.setenv("COLUMNS", "200")
    app = typer.Typer()
    add_commands(app)
    try:
        done = CliRunner().invoke(app, ["feedback", "lab00"])
    finally:
        (graded.root / "bob.ipynb").rename(recorded)
    said = " ".join(done.output.split())
    assert done.exit_code == 1 and "7 pages in" in said and "bob: " in said and "is missing; call `mlsys grade`" in said
    assert graded.path("cleo").is_file()

"""What students choose to be called, to write and to name, on its way to terminals, pages, logs and spreadsheets."""

import csv
import io
import logging

import pytest
from rich.table import Table

from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.grade.gradebook import Entry
from autograder.grade.report import write_report
from autograder.grade.run import Row, grade
from autograder.grade.sheet import write_csv
from autograder.grade.table import closing_lines, results_table
from autograder.untrusted import PlainFormatter, for_page, for_sheet, spelt
from mlsys_course.desk.check import Verdict
from mlsys_course.desk.screen import PlainConsole

STEM = "lab00_foundations"
NASTY = {
    "escape": "\x1b[2J\x1b]0;title\x07 gone",
    "eight bits": "\x9b31mred \x9d0;x\x9c",
    "backwards": "\u202etxt.exe \u2066x",
    "unseen": "a\u200bb\u00adc\U000e0041",
    "line": "one\rtwo\x0bthree\x85four\u2028five",
    "markup": "[bold red]x[/] [link=file:///etc/passwd]y[/link] [/]",
}
FORMULAS = ["=1+1", "+49", "-v", "@SUM(A1)", "\t=1", " =1", "\uff1d1+1", "\uff20x", "|cmd", "%0A", "\r=1"]


def shown(*things) -> str:
    console = PlainConsole(file=io.StringIO(), width=200, force_terminal=False)
    for thing in things:
        console.print(thing)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", NASTY)
def test_nothing_that_a_student_wrote_moves_the_cursor_or_hides(kind, tmp_path):
    text = NASTY[kind]
    verdicts = {"times": Verdict("times", "core", "wrong", 0, 4, note=text), "sum": Verdict("sum", "core", "ok", 4, 4)}
    rows = [Row(text, verdicts, problem=text, flags={text: [text]}, change=text), Row("ann", verdicts)]
    said = shown(results_table(STEM, rows), *closing_lines(rows, tmp_path))
    assert said.replace("\n", "").isprintable()
    if kind == "markup":
        assert said.count("[bold red]x[/]") >= 5
    table = Table("a")
    table.add_row(text.replace("[", "("))
    assert shown(table, text.replace("[", "(")).replace("\n", "").isprintable()


@pytest.mark.parametrize("kind", NASTY)
def test_a_page_shows_what_is_there(kind, tmp_path):
    told = {"kind": "core", "score": 0.0, "max_score": 4.0, "counted": (0.0, 4.0), "status": "wrong"}
    told |= {"note": NASTY[kind], "misconceptions": []}
    entry = Entry(STEM, NASTY[kind], "", "", "", {"times": told}, {"flags": {"x": [NASTY[kind]]}}, NASTY[kind])
    page = write_report(tmp_path, STEM, [entry]).read_text("utf-8")
    assert not set(page) & set("\x1b\x07\x9b\x9d\x9c\u202e\u2066\x0b\x85\U000e0041")
    assert for_page("\u05e9\u05dc\u05d5\u05dd \u200f(x)\nü \u200d") == "\u05e9\u05dc\u05d5\u05dd \u200f(x)\nü \u200d"


@pytest.mark.parametrize("text", FORMULAS)
def test_a_spreadsheet_computes_nothing(text, tmp_path):
    verdict = Verdict("times", "core", "wrong", -0.5, 4.0, note=text)
    write_csv(tmp_path / "a.csv", STEM, [Row(text, {"times": verdict})])
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        _, (student, _, _, score, most, status, hint, *_) = csv.reader(file)
    assert student[0] in "'\ufffd" and hint[0] in "'\ufffd" and status == "wrong"
    assert (float(score), float(most)) == (-0.5, 4.0)


def test_honest_text_stays_as_it_is():
    for text in ("ada", "Ada King", "a@b.c", "x-1", "Größe = 3", "5 < 6", "", "naïve 😀", "日本"):
        assert for_sheet(text) == text and for_page(text) == text
    assert for_sheet(-1.5) == -1.5 and spelt("ada") == "ada" and spelt("\u0430da") == "\\u0430da"


def test_a_log_keeps_a_message_on_its_line():
    record = logging.LogRecord("a", logging.WARNING, "", 0, "%s is no hand-in", ("x\x1b[2J\rok",), None)
    assert PlainFormatter().format(record).isprintable()


IDS = ["=1+1", "+49", "-v", "@all", "ada ", "\u0430da", "ａda", "a\x1b[2J", "[red]a"]


def test_who_has_no_id_is_not_graded_and_in_no_table(small_course, in_process, tmp_path):
    course = load_course(small_course)
    built = build(course.lab(STEM), small_course / "labs" / STEM)
    notebook = Student(built.student, built.solution).solve().hand_in()
    for name in ["ada", *IDS]:
        (tmp_path / "in" / name / STEM).mkdir(parents=True)
        (tmp_path / "in" / name / STEM / f"{STEM}.ipynb").write_bytes(notebook)
    rows = grade(course, STEM, tmp_path / "in", tmp_path / "into", unsafe=True)
    assert [row.student for row in rows if row.graded] == ["ada"]
    assert {row.student for row in rows if not row.graded} == set(map(spelt, IDS))
    assert all("is no student id" in row.problem for row in rows if not row.graded)
    said = shown(results_table(STEM, rows), *closing_lines(rows, tmp_path))
    assert said.replace("\n", "").isprintable() and f"{len(IDS)} of {len(IDS) + 1} were not graded" in said
    write_csv(tmp_path / "a.csv", STEM, rows)
    assert [line.split(",")[0] for line in (tmp_path / "a.csv").read_text().splitlines()] == ["student", "ada", "ada"]
    for place in ("autograded", "logs"):
        assert [path.name for path in (tmp_path / "into" / place).iterdir()] == ["ada"]

"""What is kept of a submission for the assistant: its log, and the lab's page that links to it."""

import re
from pathlib import Path

import pytest

from autograder.build.pipeline import build
from autograder.course import load_course
from autograder.demo.student import Student
from autograder.grade.run import grade

STEM = "lab00_foundations"
ENDING = "# <script>\nimport os\nos._exit(3)"
NOSY = """
import gc, socket
print(len(gc.get_objects()))
open("/etc/passwd").read()
socket.create_connection(("203.0.113.7", 80), timeout=1)
"""


@pytest.fixture
def graded(small_course) -> Path:
    """A course folder with three graded submissions: right, nosy with a wrong answer, and with a cell that hangs."""
    built = build(load_course(small_course).lab(STEM), small_course / "labs" / STEM)
    students = {
        "ann": Student(built.student, built.solution).solve(),
        "bob": Student(built.student, built.solution)
        .write("times", "def times(x):\n    return x + {}".format(built.lab.variants["factor"]))
        .insert_after("times", NOSY),
        "cleo": Student(built.student, built.solution).solve().insert_after("times", ENDING),
    }
    for name, student in students.items():
        folder = small_course / "submitted" / name / STEM
        folder.mkdir(parents=True)
        (folder / f"{STEM}.ipynb").write_bytes(student.hand_in())
    (small_course / "submitted" / "bob" / STEM / "my_mlsys").symlink_to("/etc")
    grade(load_course(small_course), STEM, small_course / "submitted", small_course / "into")
    return small_course / "into"


def test_logs_and_the_page(graded):
    logs = {name: (graded / "logs" / name / STEM / "log.txt").read_text() for name in ("ann", "bob", "cleo")}
    assert re.search(r"run +ok: \d+\.\d\d s, \d+\.\d\d CPU-seconds, peak \d+ MiB", logs["ann"])
    assert (
        "sandbox      sealed: user namespace" in logs["ann"] and "times: all cases pass, 4 of 4 points" in logs["ann"]
    )
    assert (
        "tried" not in logs["ann"].replace("or tried in it", "") and "Left behind at intake\n  nothing" in logs["ann"]
    )
    assert "shape 0: ok" in logs["ann"]

    assert "recognised: adds" in logs["bob"]
    assert "my_mlsys: a link" in logs["bob"]
    for tried in ("gc.get_objects", "open '/etc/passwd'", "socket.connect ('203.0.113.7', 80)"):
        assert f"tried: {tried}" in logs["bob"]
    assert "error" in logs["bob"]

    assert "EOF" in logs["cleo"] or "Closed" in logs["cleo"]
    assert "all cases pass" in logs["cleo"]  # the cell was left out, the answer counts

    page = (graded / "report" / f"{STEM}.html").read_text()
    links = re.findall(r'href="([^"]+)"', page)
    assert len(links) == 6 and all((graded / "report" / link).resolve().is_file() for link in links)
    assert "adds (1)" in page and "<script" not in page

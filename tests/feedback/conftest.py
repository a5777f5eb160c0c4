"""A small lab's submissions, graded once in the real sandbox: right, wrong, broken, blank, hostile, late."""

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest
from nbgrader.api import Gradebook

from autograder.build.pipeline import build
from autograder.course import Course, load_course
from autograder.demo.student import Student
from autograder.grade.run import grade
from tests.conftest import write_small_course

STEM = "lab00_foundations"
TERM = """
name = "Machine Learning Systems"
term = "sample"
starts = 2026-08-31
timezone = "Europe/Berlin"

[late]
grace_minutes = 0
percent_a_day = 50
closes_after_days = 7

[labs]
lab00_foundations = { component = "foundations", due = 2026-10-01T14:00:00 }
"""
ACTIVE = [
    "<script>alert('marked')</script>", "<img src='http://marked.invalid/a.png' onerror=alert(1)>",
    "</pre></section><iframe srcdoc='marked'></iframe>", "<style>@import 'http://marked.invalid'</style>",
    "[marked](javascript:alert(1)) ![marked](http://marked.invalid/a.png) $\\href{javascript:alert(1)}{marked}$",
    "{{ marked }} {% raw %} <math href='javascript:marked'>", "<a href='javascript:marked'>x</a>",
]  # fmt: skip
HOSTILE = "# {texts}\ndef times(x):\n    '''{texts}'''\n    return x\nprint({quoted!r})\nraise ValueError({quoted!r})"
RAISES = "def times(x):\n    product = x * 2\n    return product.to('nowhere')"
BROKEN = "def times(x:\n    return x"
WHY = "Because **it** is so: a < b & $c$."


class Page(HTMLParser):
    """What a page shows and refers to: tags, attributes, ids, text."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.html, self.text = html, ""
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(html)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.text += " " if tag in ("td", "th", "p", "h2", "h3", "div") else ""
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        self.text += data

    def values(self, attribute: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == attribute]


@dataclass(frozen=True)
class Graded:
    """A course folder in which everybody was graded."""

    course: Course
    root: Path

    def path(self, student: str) -> Path:
        return self.root / "feedback" / student / STEM / f"{STEM}.html"

    def book(self) -> Gradebook:
        return Gradebook(f"sqlite:///{self.root / 'gradebook.db'}")


def submissions(released, solution, factor: int) -> dict[str, bytes]:
    """What each student hands in."""
    texts, quoted = " ".join(ACTIVE), "\n".join(ACTIVE)

    def work(source: str | None = None, why: str = "") -> bytes:
        student = Student(released, solution)
        if source:
            student.write("times", source)
        return (student.edit("why", why) if why else student).hand_in()

    right = f"def times(x):\n    return x * {factor}"
    return {
        "ann": work(right, WHY),
        "bob": work(f"def times(x):\n    return x + {factor}"),
        "cleo": work(RAISES),
        "dan": b"not a notebook",
        "eve": work(HOSTILE.format(texts=texts.replace("\\", "/"), quoted=quoted), quoted),
        "finn": work(),
        "gus": work(right),
        "hal": work(BROKEN),
    }


@pytest.fixture(scope="session")
def graded(tmp_path_factory) -> Graded:
    """Graded, and due two hours before gus handed in."""
    root = write_small_course(tmp_path_factory.mktemp("course"))
    (root / "course.toml").write_text(TERM)
    course = load_course(root)
    built = build(course.lab(STEM), root / "labs" / STEM)
    for name, blob in submissions(built.student, built.solution, built.lab.variants["factor"]).items():
        folder = root / "submitted" / name / STEM
        folder.mkdir(parents=True)
        (folder / f"{STEM}.ipynb").write_bytes(blob)
        (folder / "submission_secret.txt").write_text(f"secret of {name}")  # as nbgrader's exchange collects
        (folder / "timestamp.txt").write_text("2026-10-01 14:05:00 UTC" if name == "gus" else "2026-10-01 11:00:00 UTC")
    grade(course, STEM, root / "submitted", root, jobs=2)
    return Graded(course, root)

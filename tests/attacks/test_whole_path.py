"""Attacks on what lies around the sandbox: the gradebook, neighbours' files, links, and the pages that staff open."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autograder.grade.record import Recorder
from autograder.grade.run import Row, grade
from tests.conftest import ROOT

from .harness import HONEST, RIGHT, Attack
from .lab import STEM

RAIDER = """
import glob, os, sqlite3
tried = [CHECKOUT, '/root', '/home', '/tmp', '/var', '/proc/1/root', '/proc/1/cwd', os.getcwd()]
for root in tried:
    for folder, folders, files in os.walk(root):
        for name in files:
            path = os.path.join(folder, name)
            if name.endswith('.db'):
                with sqlite3.connect(path) as book: book.execute('UPDATE grade SET auto_score = 210')
            elif name.endswith('.ipynb') or name in ('entry.json', 'exercises.py'):
                open(path, 'w').write('{}')
""".replace("CHECKOUT", repr(str(ROOT)))
ACTIVE = [
    "<script>alert('marked')</script>", "<img src=x onerror=alert('marked')>", "<svg onload=alert('marked')>",
    "<iframe srcdoc='marked'></iframe>", "[marked](javascript:alert(1))", "![marked](http://marked.invalid/a.png)",
    "[marked][b]\n\n[b]: javascript:alert(1)", "&#36;&#92;href{javascript:alert(1)}{marked}&#36;",
    "&dollar;&bsol;href{javascript:alert(1)}{marked}&dollar;", r"$\mmlToken{mi}[href='javascript:marked']{x}$",
    r"$\bbox[background:url(http://marked.invalid)]{x}$", r"$\href{javascript:alert('marked')}{x}$",
    "```mermaid\ngraph LR\nclick A \"javascript:marked\"\n```", "<a href='javascript:marked'>x</a>",
    "<form action=http://marked.invalid><input name=marked></form>", "<style>@import 'http://marked.invalid'</style>",
    "<math><maction actiontype='statusline' xlink:href='javascript:marked'>x</maction></math>",
    "</textarea></div></body><script>marked</script>", "<!--<script>marked</script>-->", "{{ marked }} {% raw %}",
]  # fmt: skip
SHOWS = f"""
from IPython.display import HTML, SVG, Javascript, Markdown, Latex, JSON, display
import json, sys, warnings
texts = {ACTIVE!r}
for text in texts:
    display({{'text/html': text, 'text/markdown': text, 'text/latex': text, 'image/svg+xml': text, 'text/plain': text,
             'application/javascript': text, 'application/vnd.jupyter.widget-view+json': {{'x': text}},
             'application/vnd.plotly.v1+json': text, 'image/png': text, 'image/jpeg': text, 'application/pdf': text,
             'text/vnd.mermaid': text}}, raw=True)
    print(text)
    print(text, file=sys.stderr)
    warnings.warn(text)
raise ValueError(texts[0])
"""
KEEP = {"img": ("src",), "a": ("href",)}


def answered(lab, *, text: str, code: str = "") -> bytes:
    """A wrong submission with an answer for a person to read, and a cell of one's own."""
    tree = json.loads(lab.notebook(Attack("", behind=code) if code else HONEST))
    for cell in tree["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "why":
            cell["source"] = text
    for kind in ("markdown", "raw"):
        more = {"cell_type": kind, "source": text, "metadata": {"raw_mimetype": "text/html", "format": "text/html"}}
        tree["cells"].append({**more, "attachments": {"a.svg": {"image/svg+xml": "<svg onload=alert(1)>"}}})
    return json.dumps(tree).encode()


@pytest.fixture(scope="module")
def course_folder(lab, tmp_path_factory):
    """A course folder in which a raider, an active author and two honest students were graded."""
    root = tmp_path_factory.mktemp("whole")
    handed_in = {
        "honest": lab.notebook(Attack("", answer=RIGHT)),
        "plain": answered(lab, text="Because it is so."),
        "raider": lab.notebook(Attack("raider", first=RAIDER, behind=RAIDER, answer=f"{HONEST.answer}\n{RAIDER}")),
        "active": answered(lab, text="\n\n".join(ACTIVE), code=SHOWS),
        "x' OR 1=1": lab.notebook(HONEST),
    }
    for student, blob in handed_in.items():
        folder = root / "submitted" / student / STEM
        folder.mkdir(parents=True)
        (folder / f"{STEM}.ipynb").write_bytes(blob)
    (root / "staff").mkdir()
    (root / "staff" / "key.ipynb").write_bytes(lab.notebook(Attack("", answer=RIGHT)))
    rows = grade(lab.course, STEM, root / "submitted", root / "course", jobs=2)
    assert not [v for row in rows for v in row.verdicts.values() if v.results]  # 500 submissions take no more memory
    return root, {row.student: row for row in rows}


def scores(row: Row) -> dict[str, float]:
    return {name: verdict.score for name, verdict in row.verdicts.items()}


def test_grades_are_what_was_scored(course_folder, lab):
    root, rows = course_folder
    assert scores(rows["honest"]) == lab.neighbour
    assert [scores(rows[name]) for name in ("plain", "raider", "active")] == [lab.honest] * 3
    assert rows["x' OR 1=1"].score == 0
    with sqlite3.connect(root / "course" / "gradebook.db") as book:
        total = dict(book.execute(
            "SELECT student.id, SUM(grade.auto_score) FROM grade JOIN submitted_notebook ON grade.notebook_id = "
            "submitted_notebook.id JOIN submitted_assignment ON submitted_notebook.assignment_id = "
            "submitted_assignment.id JOIN student ON submitted_assignment.student_id = student.id GROUP BY student.id"
        ).fetchall())  # fmt: skip
    assert {name: total[name] for name in ("honest", "plain", "raider", "active")} == {
        "honest": sum(lab.neighbour.values()),
        **dict.fromkeys(("plain", "raider", "active"), sum(lab.honest.values())),
    }


class Page(HTMLParser):
    """What acts in a page: scripts, handlers, addresses; and the text that MathJax would look at."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.active: list[tuple] = []
        self.text, self.quiet, self.script = "", 0, False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.quiet += tag in ("pre", "code", "textarea")
        self.script = tag in ("script", "style")
        if tag in (
            "script",
            "iframe",
            "object",
            "embed",
            "form",
            "input",
            "svg",
            "math",
            "style",
            "base",
            "meta",
            "link",
        ):
            self.active.append((tag, tuple(attrs)))
        for name, value in attrs:
            handler = name.startswith("on") or name in ("srcdoc", "style", "action", "xlink:href", "background")
            address = name in ("src", "href") and not (value or "").startswith(("#", "data:image/png;base64,"))
            if handler or address:
                self.active.append((tag, name, value))

    def handle_endtag(self, tag):
        self.quiet -= tag in ("pre", "code", "textarea")
        self.script = False

    def handle_data(self, data):
        if self.script:
            self.active.append(("script", data.strip()[:200]))
        elif not self.quiet:
            self.text += data


def test_feedback_holds_nothing_that_acts(course_folder):
    """Compared with the page of an honest answer to the same questions."""
    root, _ = course_folder
    with Recorder(root / "course", STEM) as recorder:
        plain, active = (Page(recorder.feedback(name).read_text("utf-8")) for name in ("plain", "active"))
    assert "Because it is so." in plain.text and "marked" in active.text  # the text itself is there, to be read
    new = [found for found in active.active if found not in plain.active]
    assert not [found for found in new if not str(found[-1]).startswith(("http://marked.invalid", "#"))], new
    assert not [found for found in new if found[0] != "a"], new  # a bare address may be clicked, and nothing else
    assert not re.search(r"\\(href|mmlToken|bbox|url|style)\b\s*[\[{]", active.text)


def test_what_is_stored_for_formgrader_holds_nothing_that_acts(course_folder):
    """Formgrader renders the autograded notebook in the same way, from outputs that are kept there."""
    root, _ = course_folder
    tree = json.loads((root / "course" / "autograded" / "active" / STEM / f"{STEM}.ipynb").read_text("utf-8"))
    kinds = {kind for c in tree["cells"] for o in c.get("outputs", []) for kind in o.get("data", {})}
    assert kinds <= {"text/plain", "image/png", "text/html"}
    tables = [
        "".join(o["data"]["text/html"])
        for c in tree["cells"]
        for o in c.get("outputs", [])
        if "text/html" in o.get("data", {})
    ]
    assert len(tables) == 4 and "marked" not in "".join(tables)  # ours, one for each exercise
    assert not any("attachments" in cell for cell in tree["cells"])


def test_sealed_inputs_reach_nobody(course_folder, lab):
    """Not by feedback: its tables hold no number of any sealed case."""
    root, _ = course_folder
    sealed = [case.inputs["x"] for case in lab.session.scorer.specifications["times"].cases]
    digits = {f"{abs(value):.3f}"[:5] for x in sealed for value in x.flatten().tolist() if abs(value) > 0.1}
    shown = (root / "course" / "autograded" / "plain" / STEM / f"{STEM}.ipynb").read_text("utf-8")
    assert digits and not [number for number in digits if re.search(rf"\b{re.escape(number)}", shown)]


LINKS = {
    "neighbour": lambda root, at: at.symlink_to(root / "submitted" / "honest" / STEM / f"{STEM}.ipynb"),
    "hard": lambda root, at: at.hardlink_to(root / "staff" / "key.ipynb"),
    "staff": lambda root, at: at.symlink_to(root / "staff" / "key.ipynb"),
    "device": lambda root, at: at.symlink_to("/dev/zero"),
    "upwards": lambda root, at: at.symlink_to(f"../../honest/{STEM}/{STEM}.ipynb"),
}


@pytest.mark.long
@pytest.mark.parametrize("by_hand", [False, True], ids=["mlsys grade", "nbgrader autograde"])
def test_links_are_never_followed(lab, tmp_path, by_hand):
    """Neither a neighbour's work nor a file of staff becomes a submission, or is there to be read afterwards."""
    course = lab.course.root / "graded-by-hand" if by_hand else tmp_path / "course"  # nbgrader looks upwards for labs
    root, secret = (course if by_hand else tmp_path), lab.notebook(Attack("", answer=RIGHT))
    (root / "staff").mkdir(parents=True)
    (root / "staff" / "key.ipynb").write_bytes(secret)
    (root / "staff" / "private.txt").write_text("PRIVATE WORDS")
    honest = root / "submitted" / "honest" / STEM
    honest.mkdir(parents=True)
    (honest / f"{STEM}.ipynb").write_bytes(secret)
    if by_hand:  # the course folder is there, as after a first run
        grade(lab.course, STEM, root / "submitted", course, jobs=1)
    for name, link in LINKS.items():
        folder = root / "submitted" / name / STEM
        folder.mkdir(parents=True)
        link(root, folder / f"{STEM}.ipynb")
        (folder / "private.txt").symlink_to(root / "staff" / "private.txt")
        (folder / "data").symlink_to(root / "staff")
    if by_hand:
        autograde_by_hand(course)
    else:
        rows = {row.student: row for row in grade(lab.course, STEM, root / "submitted", course, jobs=2)}
        assert all(rows[name].score == 0 for name in LINKS) and rows["honest"].score == 14
    with sqlite3.connect(course / "gradebook.db") as book:
        (best,) = book.execute(
            "SELECT COALESCE(MAX(auto_score), 0) FROM grade JOIN submitted_notebook ON grade.notebook_id = "
            "submitted_notebook.id JOIN submitted_assignment ON submitted_notebook.assignment_id = "
            "submitted_assignment.id WHERE submitted_assignment.student_id <> 'honest'").fetchone()  # fmt: skip
    assert best == 0
    for folder, _, names in os.walk(course):
        if "staff" not in folder and ".mlsys" not in folder and "submitted" not in folder:
            assert not [n for n in names if b"PRIVATE WORDS" in Path(folder, n).read_bytes()], folder


def autograde_by_hand(course: Path) -> None:
    """What an instructor types; it may refuse."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "nbgrader", "autograde", STEM, "--force"]
    subprocess.run(command, cwd=course, env=environment, capture_output=True, timeout=300, check=False)

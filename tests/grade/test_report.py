"""The assistant's page: points by exercise and student, what is common, and nobody's words as HTML."""

import re

from autograder.grade.gradebook import Entry
from autograder.grade.report import write_report

STEM = "lab00_foundations"


def told(score: float, status: str = "", note: str = "", *misconceptions: str) -> dict:
    kept = {
        "kind": "core",
        "score": score,
        "max_score": 4.0,
        "counted": (score, 4.0),
        "note": note,
        "misconceptions": list(misconceptions),
    }
    return kept | {"status": status or ("ok" if score == 4 else "wrong")}


RUN = {"status": "ok", "seconds": 1.25, "cpu_seconds": 0.5, "peak_mib": 321, "flags": {"sum": ["line 3: patches F"]}}
ENTRIES = [
    Entry(STEM, "ann", "", "", "", {"times": told(4), "sum": told(0, "", "put <back>", "adds")}, RUN),
    Entry(STEM, "bob & co", "", "", "", {"times": told(1.5, "", "", "adds", "shifts")}, {}, problem="No <b>file</b>."),
    Entry(STEM, "cleo", "", "", "", {}),
]


def rows(page: str) -> list[list[str]]:
    """The text of each table's cells, tags taken out."""
    found = []
    for row in re.findall(r"<tr>(.*?)</tr>", page, flags=re.S):
        cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, flags=re.S)
        found.append([" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in cells])
    return found


def test_what_the_page_says(tmp_path):
    log = tmp_path / "logs" / "bob & co" / STEM / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("")
    path = write_report(tmp_path, STEM, ENTRIES)
    page = path.read_text()
    assert f"<h1>{STEM}: 3 submissions</h1>" in page
    assert rows(page) == [
        ["exercise", "mean", "of", "full marks", "what is common among the others"],
        ["times", "2.8", "4", "1", "adds (1), shifts (1)"],
        ["sum", "0.0", "4", "0", "adds (1)"],
        ["student", "total", "times", "sum"],
        ["ann", "4/8", "4", "0 wrong"],
        ["ok 1.2 s, 0.5 CPU-s, 321 MiB look at sum: line 3: patches F sum: put &lt;back&gt;"],
        ["bob &amp; co log", "1.5/4", "1.5 wrong", ""],
        ["0.0 s, 0.0 CPU-s, 0 MiB No &lt;b&gt;file&lt;/b&gt;."],
        ["cleo", "0/0", "", ""],
        ["0.0 s, 0.0 CPU-s, 0 MiB"],
    ]  # fmt: skip
    assert re.findall(r'class="points (\w+)"', page) == ["full", "none", "some"]
    assert re.findall(r'href="([^"]+)"', page) == [f"../logs/bob &amp; co/{STEM}/log.txt"]


def test_a_lab_that_nobody_handed_in_has_a_page(tmp_path):
    assert "0 submissions" in write_report(tmp_path, STEM, []).read_text()

"""What a student may know of a verdict on sealed cases, as plain data in the graded cell of the recorded notebook.

The page is made from these facts alone, so that what is not here cannot reach it. The words are those of the check's
table for sealed cases. One line of the student's code is named for an exercise, the one that most failed calls stopped
at: a line for each case would let a candidate say more of its inputs than anybody should know.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mlsys_course.desk.check import Verdict
from mlsys_course.desk.check.verdict_table import rows

NOTHING_EARNED = ("forbidden", "missing", "unreadable")
MOST_WORDS = 3  # different things said of one part


def facts_of(verdict: Verdict, points: Mapping[str, float], cell_ids: Sequence[str]) -> dict[str, Any]:
    """A verdict as JSON. ``points`` by part, as its specification has them; ``cell_ids`` of the code cells in order."""
    table = rows(verdict.results, sealed=True)
    return {
        "kind": verdict.kind,
        "status": verdict.status,
        "score": verdict.score,
        "max_score": verdict.max_score,
        "hints": list(verdict.hints),
        "note": verdict.note,
        "line": _line(verdict, cell_ids),
        "parts": [
            _part(name, worth, [row for row in table if row[1] == name], verdict.status)
            for name, worth in points.items()
        ],
    }


def _part(name: str, worth: float, table: list[tuple[str, ...]], status: str) -> dict[str, Any]:
    """One aspect's points, what passed, the largest error among what did not, and what is said of it."""
    wrong = [row for row in table if row[2] != "ok"]
    earned = worth if table and not wrong and status not in NOTHING_EARNED else 0.0
    errors = [row[5] for row in wrong if row[5]]
    return {
        "name": name,
        "score": earned,
        "max_score": worth,
        "cases": len(table),
        "passed": len(table) - len(wrong),
        "error": max(errors, key=float, default=""),
        "words": list(dict.fromkeys(row[8] for row in wrong if row[8]))[:MOST_WORDS],
    }


def _line(verdict: Verdict, cell_ids: Sequence[str]) -> list | None:
    """[cell id, line] where most of the failed calls stopped."""
    lines = Counter(result.outcome.line for result in verdict.results if not result.ok and result.outcome.line)
    if not lines:
        return None
    (cell, line), _ = lines.most_common(1)[0]
    index = int("".join(filter(str.isdigit, cell)) or -1)  # the engine names a cell "<cell 7>"
    return [cell_ids[index], line] if 0 <= index < len(cell_ids) else None

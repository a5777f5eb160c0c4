"""A verdict as a person reads it: a table by case in JupyterLab, the same as plain text in a terminal."""

import html
from collections.abc import Sequence

from .verdict import Result, Verdict

COLUMNS = ("case", "part", "", "shape", "dtype", "largest error", "at", "ms", "what is wrong")
MOST_WORDS = 200  # of a message in the table


def rows(results: Sequence[Result], *, sealed: bool = False) -> list[tuple[str, ...]]:
    """One row a case. Of sealed cases, errors only as a power of ten, and neither name nor place."""
    table = []
    for number, result in enumerate(results, 1):
        worst = max(result.leaves, key=lambda leaf: leaf.error, default=None)
        wrong = "; ".join(result.wrong)[:MOST_WORDS]
        name, where, error = result.case, "", ""
        if worst is not None and worst.shape:
            where = str(list(worst.where)) if worst.largest else ""
            error = f"{worst.largest:.1e}" if worst.largest < float("inf") else "inf"
        if sealed:
            name, where = f"sealed {number}", ""
            error = error and power_of_ten(worst.largest if worst else 0.0)
            wrong = sealed_words(result)
        shape, dtype = (worst.shape, worst.dtype) if worst else ("", "")
        mark = "ok" if result.ok else "wrong"
        table.append(
            (name, result.aspect, mark, shape, dtype, error, where, f"{result.outcome.seconds * 1e3:.1f}", wrong)
        )
    return table


def power_of_ten(error: float) -> str:
    """An error's size and no more: ``1e-03``."""
    if not 0 < error < float("inf"):
        return "inf" if error else "0"
    return "1e" + f"{error:e}".split("e")[1]


def sealed_words(result: Result) -> str:
    """What may be said of a sealed case: nothing of its inputs or expected values."""
    if result.ok:
        return ""
    if result.outcome.problem:
        return result.outcome.words
    leaf = max(result.leaves, key=lambda leaf: leaf.error, default=None)
    if leaf is None or leaf.ok:
        return "; ".join(w.split(":")[0] for w in result.wrong)
    label = leaf.path or "result"
    if leaf.reason.endswith(("is off",)) or "is off by" in leaf.reason:
        return f"{label} is off"
    if "has NaN" in leaf.reason or "is infinite" in leaf.reason:
        return leaf.reason.split(" at ")[0]
    return leaf.reason


def headline(verdict: Verdict) -> str:
    """One line: exercise, result, points."""
    if verdict.kind == "choice" and not verdict.results:
        return f"{verdict.exercise}: {'recorded' if verdict.ok else 'not one of the options'}"
    passed = sum(result.ok for result in verdict.results)
    words = {
        "ok": "all cases pass",
        "missing": "not there yet",
        "forbidden": "uses a forbidden call",
    }.get(verdict.status, f"{passed} of {len(verdict.results)} cases pass")
    return f"{verdict.exercise}: {words}, {verdict.score:g} of {verdict.max_score:g} points"


def to_text(verdict: Verdict, *, sealed: bool = False) -> str:
    """Plain text, columns aligned."""
    table = [COLUMNS, *rows(verdict.results, sealed=sealed)] if verdict.results else []
    widths = [max(len(row[i]) for row in table) for i in range(len(COLUMNS))] if table else []
    lines = [headline(verdict)]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    lines += [f"Note: {verdict.note}"] if verdict.note else []
    lines += [f"Hint: {hint}" for hint in verdict.hints]
    return "\n".join(lines)


def to_html(verdict: Verdict, *, sealed: bool = False) -> str:
    """A table of the few tags that nbconvert's sanitizer leaves alone, with nothing active in it."""
    mark = {"ok": "✓", "wrong": "✗"}
    lines = [COLUMNS, *rows(verdict.results, sealed=sealed)] if verdict.results else []
    cells = [[html.escape(mark.get(cell, cell)) for cell in row] for row in lines]
    table = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in cells)
    parts = [f"<div><b>{'✓' if verdict.ok else '✗'} {html.escape(headline(verdict))}</b></div>"]
    parts += [f"<table>{table}</table>"] if table else []
    parts += [f"<div>{html.escape(verdict.note)}</div>"] if verdict.note else []
    parts += [f"<div><b>Hint:</b> {html.escape(hint)}</div>" for hint in verdict.hints]
    return "".join(parts)

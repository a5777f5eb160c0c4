"""A verdict as a person reads it: a table by case in JupyterLab, the same as plain text in a terminal."""

import html
import math
from collections.abc import Sequence

from .compare import in_words
from .devices import MADE_ON
from .pointing import frame_line
from .verdict import Result, Verdict

COLUMNS = ("case", "part", "", "shape", "dtype", "largest error", "at", "ms", "what is wrong")
SEALED_KINDS = {  # part of a public reason -> what is said of a sealed case, with nothing that a candidate can choose
    "raises ": "is off",
    "has shape": "has another shape",
    "has dtype": "has another dtype",
    "has NaN": "has NaN",
    "is infinite": "is infinite",
    ", while the inputs are on": "is on another device than the inputs",
    "is missing": "is missing",
    ", expected ": "is another kind of value",
}
MOST_WORDS, MOST_REASONS = 200, 2  # of a message in the table


def rows(results: Sequence[Result], *, sealed: bool = False) -> list[tuple[str, ...]]:
    """One row a case. Of sealed cases errors only as a power of ten, and nothing that could carry a sealed input."""
    if sealed:
        return [_sealed_row(n, r) for n, r in enumerate(results, 1)]
    table, seen = [], set[tuple]()
    for result in results:
        kind = (result.outcome.detail.split(":")[0], result.outcome.line)
        again = result.outcome.problem == "raised" and kind in seen
        seen |= {kind} if result.outcome.problem == "raised" else set()
        table.append((*_row(result)[:-1], "raised the same there") if again else _row(result))
    return table


def pointers(results: Sequence[Result]) -> list[str]:
    """Where the first error of a public case came from: the student's own lines, and what helps to understand it."""
    first = next((r.outcome for r in results if r.outcome.trace or r.outcome.beside), None)
    return [] if first is None else [*map(frame_line, first.trace), *filter(None, [first.beside])]


def _row(result: Result) -> tuple[str, ...]:
    worst = max(result.leaves, key=lambda leaf: leaf.error, default=None)
    shape, dtype, error, where = "", "", "", ""
    if worst is not None and worst.shape:
        shape, dtype, error = worst.shape, worst.dtype, f"{worst.largest:.1e}"
        where = str(list(worst.where)) if worst.largest else ""
    milliseconds = f"{result.outcome.seconds * 1e3:.1f}"
    return (
        result.case,
        result.aspect,
        "ok" if result.ok else "wrong",
        shape,
        dtype,
        error,
        where,
        milliseconds,
        _public_words(result),
    )


def _public_words(result: Result) -> str:
    """The first two things that are wrong, numbers with what was found and expected."""
    values = {leaf.reason: leaf.values for leaf in result.leaves if leaf.values}
    words = [f"{wrong}: {values[wrong]}" if wrong in values else wrong for wrong in result.wrong]
    more = f"; and {len(words) - MOST_REASONS} more" if len(words) > MOST_REASONS else ""
    return "; ".join(words[:MOST_REASONS])[:MOST_WORDS] + more


def _sealed_row(number: int, result: Result) -> tuple[str, ...]:
    """No name, shape, place or time: they tell of sealed inputs, or are a candidate's own choice."""
    worst = max(result.leaves, key=lambda leaf: leaf.error, default=None)
    dtype, error = "", ""
    if worst is not None and worst.shape and math.isfinite(worst.error):
        dtype, error = worst.dtype, power_of_ten(worst.largest)
    mark = "ok" if result.ok else "wrong"
    return (f"sealed {number}", result.aspect, mark, "", dtype, error, "", "", sealed_words(result))


def power_of_ten(error: float) -> str:
    """An error's size and no more: ``1e-03``; at least ``1e-06`` and at most ``1e+00``, which is 1 or more.

    A candidate chooses its errors: with all of a float's exponents they would tell five bits of a sealed input.
    """
    if not 0 < error < float("inf"):
        return "inf" if error else "0"
    return "1e" + f"{min(1.0, max(1e-6, error)):e}".split("e")[1]


def sealed_words(result: Result) -> str:
    """What may be said of a sealed case: the kind of mistake, and no number of the candidate's or of ours."""
    if result.ok:
        return ""
    if result.outcome.problem:
        return result.outcome.words
    leaf = max(result.leaves, key=lambda leaf: leaf.error, default=None)
    if leaf is None or leaf.ok:
        return "; ".join(wrong.split(":")[0] for wrong in result.wrong)
    label = in_words(leaf.path.removeprefix(MADE_ON))
    for said, kind in SEALED_KINDS.items():
        if said in leaf.reason:
            return f"{label} {kind}"
    return "something else was returned too" if "was not expected" in leaf.reason else f"{label} is off"


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
    lines += [] if sealed else [f"  {line}" for line in pointers(verdict.results)]
    lines += [f"Note: {verdict.note}"] if verdict.note else []
    lines += [f"Hint: {hint}" for hint in verdict.hints]
    return "\n".join(lines)


def _cell(column: str, text: str) -> str:
    """Words are read from the left; a shape or a place stays in one line."""
    style = "text-align:left" if column in ("case", "part", "what is wrong") else "white-space:nowrap"
    return f'<td style="{style}">{text}</td>'


def to_html(verdict: Verdict, *, sealed: bool = False) -> str:
    """A table of the few tags that nbconvert's sanitizer leaves alone, with nothing active in it."""
    mark: dict[str, str] = {"ok": "✓", "wrong": "✗"}
    lines = [COLUMNS, *rows(verdict.results, sealed=sealed)] if verdict.results else []
    cells = [[html.escape(str(mark.get(cell, cell))) for cell in row] for row in lines]
    table = "".join("<tr>" + "".join(map(_cell, COLUMNS, row)) + "</tr>" for row in cells)
    parts = [f"<div><b>{'✓' if verdict.ok else '✗'} {html.escape(headline(verdict))}</b></div>"]
    parts += [f"<table>{table}</table>"] if table else []
    parts += [] if sealed else [f"<div><code>{html.escape(line)}</code></div>" for line in pointers(verdict.results)]
    parts += [f"<div>{html.escape(verdict.note)}</div>"] if verdict.note else []
    parts += [f"<div><b>Hint:</b> {html.escape(hint)}</div>" for hint in verdict.hints]
    return "".join(parts)

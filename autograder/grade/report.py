"""The assistant's page of a lab: everybody's points, what is common, and a way to each log, notebook and feedback."""

import html
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from ..files import write_whole
from .gradebook import Entry

STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5em; color: #222; }
table { border-collapse: collapse; margin: 1em 0; }
th, td { border: 1px solid #ccc; padding: .25em .6em; text-align: left; vertical-align: top; }
td.points { text-align: right; } td.full { background: #e3f2e6; } td.none { background: #f9e2e0; }
td.some { background: #fbf3d9; } .remark { color: #555; font-size: 13px; }
"""


def write_report(course: Path, stem: str, entries: Sequence[Entry]) -> Path:
    """Write ``report/<lab>.html`` in a course folder, from the journal; its path."""
    path = course / "report" / f"{stem}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, "\n".join(_page(course, stem, entries)) + "\n")
    return path


def _page(course: Path, stem: str, entries: Sequence[Entry]) -> Iterator[str]:
    names = list(dict.fromkeys(name for entry in entries for name in entry.scores))
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(stem)}</title>'
    yield f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
    yield f"<h1>{html.escape(stem)}: {len(entries)} submissions</h1>"
    yield from _by_exercise(names, entries)
    yield "<h2>Students</h2><table><tr><th>student</th>"
    yield "".join(f"<th>{html.escape(name)}</th>" for name in names) + "<th>total</th><th>run</th><th>remarks</th></tr>"
    for entry in entries:
        yield _student(course, stem, entry, names)
    yield "</table></body></html>"


def _by_exercise(names: Sequence[str], entries: Sequence[Entry]) -> Iterator[str]:
    yield "<h2>Exercises</h2><table><tr><th>exercise</th><th>mean</th><th>of</th><th>full marks</th>"
    yield "<th>what is common among the others</th></tr>"
    for name in names:
        scores = [entry.scores[name] for entry in entries if name in entry.scores]
        common: Counter[str] = Counter()
        for told in scores:
            common.update(told["misconceptions"] or ([told["status"]] if told["status"] != "ok" else []))
        words = ", ".join(f"{what} ({count})" for what, count in common.most_common(4))
        full = sum(told["status"] == "ok" for told in scores)
        yield (
            f'<tr><td>{html.escape(name)}</td><td class="points">{mean(told["score"] for told in scores):.1f}</td>'
            f'<td class="points">{scores[0]["max_score"]:g}</td><td class="points">{full}</td>'
            f"<td>{html.escape(words)}</td></tr>"
        )
    yield "</table>"


def _student(course: Path, stem: str, entry: Entry, names: Sequence[str]) -> str:
    cells = [_points(entry.scores[name]) if name in entry.scores else "<td></td>" for name in names]
    total = sum(told["score"] for told in entry.scores.values())
    run = entry.run
    took = f"{run.get('seconds', 0):.1f} s, {run.get('cpu_seconds', 0):.1f} CPU-s, {run.get('peak_mib', 0)} MiB"
    return (
        f"<tr><td>{html.escape(entry.student)}<br>{_links(course, stem, entry.student)}</td>{''.join(cells)}"
        f'<td class="points">{total:g}</td><td>{html.escape(str(run.get("status", "")))}<br>'
        f'<span class="remark">{took}</span></td><td>{_remarks(entry)}</td></tr>'
    )


def _points(told: Mapping[str, Any]) -> str:
    kind = "full" if told["status"] == "ok" else "some" if told["score"] else "none"
    status = "" if told["status"] == "ok" else f'<br><span class="remark">{html.escape(told["status"])}</span>'
    return f'<td class="points {kind}">{told["score"]:g}{status}</td>'


def _links(course: Path, stem: str, student: str) -> str:
    files = {
        "log": course / "logs" / student / stem / "log.txt",
        "notebook": course / "autograded" / student / stem / f"{stem}.ipynb",
        "feedback": course / "feedback" / student / stem / f"{stem}.html",
    }
    there = {name: Path(os.path.relpath(path, course / "report")) for name, path in files.items() if path.exists()}
    return " ".join(f'<a href="{html.escape(path.as_posix(), quote=True)}">{name}</a>' for name, path in there.items())


def _remarks(entry: Entry) -> str:
    said = [entry.problem] if entry.problem else []
    said += [f"look at {name}: {why}" for name, reasons in entry.run.get("flags", {}).items() for why in reasons]
    said += [f"{name}: {told['note']}" for name, told in entry.scores.items() if told["note"]]
    return "<br>".join(html.escape(line) for line in said)

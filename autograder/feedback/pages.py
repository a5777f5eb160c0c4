"""Everybody's pages of one lab: a released notebook, a recorded one and the gradebook's word become one HTML file.

A page holds all that it shows: no script, no address to fetch. The text around a student's words is ours or the
lab's; the student's own (code, answer, name) and the grader's are escaped by the template. Made from the same content,
a page is the same to the byte.
"""

import functools
from dataclasses import asdict
from datetime import UTC, timedelta, tzinfo
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from nbformat import NotebookNode

from ..templates import templates_of
from .code import DARK, LIGHT, code_html, style
from .grades import Grades, own_points
from .lab_text import Asked, LabText, read_lab
from .markdown import to_html
from .recorded import Recorded
from .words import clock, error_html, name_html, plain_text, span, state_of


class Pages:
    """The pages of a lab in a term. What they share is read and rendered once."""

    def __init__(self, course: str, term: str, stem: str, released: NotebookNode, zone: tzinfo = UTC):
        self.zone = zone
        self.heading = {"course": course, "term": term, "stem": stem}
        self.lab: LabText = read_lab(released, stem)
        self._template = _environment().get_template("page.html")

    def page(self, notebook: NotebookNode, grades: Grades) -> str:
        """One student's page."""
        recorded = Recorded(notebook)
        known = [asked for name, asked in self.lab.exercises.items() if name in grades.marks]
        exercises = [self._exercise(asked, grades, recorded) for asked in known]
        again = {exercise["section"] for exercise in exercises if exercise["shown"] and exercise["again"]}
        return self._template.render(
            self.heading,
            title=self.lab.title,
            grades=grades,
            total=_total(grades),
            handed_in=clock(grades.handed_in, self.zone),
            unreadable=recorded.unreadable,
            note=recorded.note,
            first=recorded.first,
            exercises=exercises,
            sections=[self._section(number) for number in sorted(again)],
        )

    def _exercise(self, asked: Asked, grades: Grades, recorded: Recorded) -> dict[str, Any]:
        """What the template shows of an exercise."""
        facts, source = recorded.facts(asked.id), recorded.source(asked.cell)
        mark = own_points(grades.marks[asked.id], facts["kind"], facts.get("score", 0.0), facts.get("max_score", 0.0))
        comment = grades.comments.get(asked.cell, "")
        blank = source.strip() == asked.blank.strip()
        state = state_of(mark, facts, blank=blank, unreadable=bool(recorded.unreadable))
        line, elsewhere = recorded.stopped(asked.cell, facts["line"])
        return {
            "id": asked.id,
            "kind": facts["kind"],
            "mark": mark,
            "state": state,
            "facts": facts,
            "shown": bool(comment) or not recorded.unreadable,  # of what could not be read only a person may speak
            "asked": self._asked(asked.id),
            "section": asked.section,
            "section_title": plain_text(self.lab.sections[asked.section].title),
            "again": state.kind != "full",
            "comment": comment,
            "line": line,
            "elsewhere": elsewhere,
            "blank": blank,
            "wrong": any(part["words"] for part in facts["parts"]),
            "error": recorded.error(asked.cell),
            "code": code_html(source, line) if facts["status"] else "",
            "answer": source,
            "pictures": recorded.pictures(asked.cell),
        }

    @functools.cache  # noqa: B019 - as many entries as the lab has exercises
    def _asked(self, name: str) -> Markup:
        asked = self.lab.exercises[name]
        if not asked.signature:
            return to_html(asked.question, shift=3)
        return Markup("{}<p>{}</p>").format(code_html(asked.signature, numbers=False), plain_text(asked.said))

    @functools.cache  # noqa: B019 - as many entries as the lab has sections
    def _section(self, number: int) -> dict[str, Any]:
        section = self.lab.sections[number]
        text = to_html(section.text, shift=1)
        return {"number": number, "title": plain_text(section.title), "text": text}


def _total(grades: Grades) -> dict[str, Any]:
    total = grades.total
    return {
        **asdict(total),
        "percent": round(100 * min(max(total.final / total.max_score, 0), 1)) if total.max_score else 0,
        "late": span(timedelta(seconds=grades.seconds_late)),
    }


@functools.cache
def _environment() -> Environment:
    environment = templates_of("autograder.feedback")
    environment.filters |= {"power_of_ten": error_html, "breaking": name_html}
    environment.globals |= {"light": Markup(style(LIGHT)), "dark": Markup(style(DARK))}
    return environment

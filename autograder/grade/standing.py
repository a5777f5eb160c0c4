"""How a student's lab stands, in words for staff: what lateness took, what waits for a person, what one has decided."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

from mlsys_course.desk.check import Verdict

from ..feedback.grades import Grades, Mark, own_points
from ..feedback.words import span

WAITS = "waits for a person"


def marks_of(grades: Grades, verdicts: Mapping[str, Verdict]) -> dict[str, Mark]:
    """What counts of each exercise, extensions with their own points; open questions come last."""
    scored = {name: _mark(grades, verdict) for name, verdict in verdicts.items()}
    return scored | {name: mark for name, mark in grades.marks.items() if name not in scored}


def _mark(grades: Grades, verdict: Verdict) -> Mark:
    alone = Mark(verdict.score, verdict.max_score, waits=False, by_person=False)
    mark = grades.marks.get(verdict.exercise, alone)
    return own_points(mark, verdict.kind, verdict.score, verdict.max_score)


def points(score: float, max_score: float, *, bonus: bool) -> str:
    """Points of how many: ``3/20``, or ``2/3 bonus`` of an extension."""
    return f"{score:g}/{max_score:g}{' bonus' if bonus else ''}"


def total(grades: Grades) -> str:
    """The student's final points of how many."""
    return f"{grades.total.final:g}/{grades.total.max_score:g}"


def late(grades: Grades) -> str:
    """How late, and what that took; empty for who was in time."""
    if grades.seconds_late <= 0:
        return ""
    took = f"{grades.total.score:g} before" if grades.penalty else "no points taken off"
    return f"late by {span(timedelta(seconds=grades.seconds_late))}: {took}"


def standing(grades: Grades, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    """What a person should know beside the points, but for what the machine says."""
    if said := late(grades):
        yield said
    if grades.waiting:
        yield f"{', '.join(grades.waiting)}: {WAITS}"
    for name, mark in marks_of(grades, verdicts).items():
        if mark.waits or not mark.by_person:
            continue
        verdict = verdicts.get(name)
        given = points(mark.score, mark.max_score, bonus=verdict is not None and verdict.kind == "extension")
        if verdict is not None:
            yield f"{name}: a person's {given} stands; the machine gave {verdict.score:g} ({verdict.status})"
        elif mark.score < mark.max_score:
            yield f"{name}: {given} by a person"


def together(names: Sequence[str], everything: int) -> str:
    """Names of exercises, of which there are ``everything``."""
    return "all" if 1 < len(names) == everything else ", ".join(names)

"""``mlsys exercises``: what the course asks for, as data."""

from .cases import public_specification, sealed_specification
from .course import Course, Lab
from .exercise import Choice, Exercise, Item, Question, max_score


def catalogue(course: Course) -> list[dict]:
    """One row for each exercise, choice and question, in the order of the labs' ``exercises.py``."""
    return [_row(lab, item) for lab in map(course.lab, course.stems()) for item in lab.items]


def _row(lab: Lab, item: Item) -> dict:
    row: dict = {"lab": lab.stem, "id": item.id, "kind": item.kind, "points": max_score(item), "component": ""}
    if isinstance(item, Exercise):
        public, sealed = public_specification(lab, item), sealed_specification(lab, item)
        return row | {
            "component": item.component,
            "public_cases": len(public.cases),
            "sealed_cases": len(sealed.cases),
            "misconceptions": [m.name for m in item.misconceptions],
            "evidence": evidence(lab, item, any(case.limits for case in sealed.cases)),
        }
    sealed_cases = 1 if isinstance(item, Choice) else 0
    row |= {"public_cases": 0, "sealed_cases": sealed_cases, "misconceptions": [], "evidence": ["values"]}
    if isinstance(item, Question):
        row |= {"evidence": ["person"], "rubric": [{"points": points, "for": what} for points, what in item.rubric]}
    return row


def evidence(lab: Lab, item: Exercise, costs: bool) -> list[str]:
    """The kinds of evidence that an exercise is judged by."""
    properties = bool(lab.drivers[item.id].properties)
    return ["values", *(["properties"] if properties else []), *(["costs"] if costs else [])]

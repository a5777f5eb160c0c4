"""Lab 7, sealed: one exercise of the tables in items_costs.py and items_plan.py."""

from collections.abc import Callable, Mapping, Sequence

from autograder.exercise import Exercise, Misconception


def exercise(
    reference: Callable,
    points: Mapping[str, float],
    cases: Callable,
    misconceptions: Sequence[Misconception],
    component: str,
    kind: str = "core",
) -> Exercise:
    """Its id is its reference's name; ``component`` is a module of ``mlsys_course.accounting``."""
    return Exercise(
        id=reference.__name__,
        component=f"mlsys_course.accounting.{component}",
        reference=reference,
        points=points,
        cases=cases,
        misconceptions=misconceptions,
        kind=kind,
    )

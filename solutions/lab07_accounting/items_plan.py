"""Lab 7, sealed: the planning exercises, parts 4 and 5."""

from autograder.exercise import Exercise
from mlsys_course.accounting import zero_stage

from . import cases_plan as cases
from . import mistakes_plan as mistakes
from . import mistakes_traffic as traffic
from . import references_plan as right
from .item import exercise


def core() -> list[Exercise]:
    """Traffic, GPUs, schedule."""
    carried = {"server": 3, "ring": 2, "tree": 2, "zero": 3, "padding": 3}
    return [
        exercise(right.traffic, carried, cases.traffic_cases, traffic.TRAFFIC, "traffic"),
        exercise(right.gpus_needed, {"exact": 3, "boxes": 2}, cases.gpus_cases, mistakes.GPUS, "run"),
        exercise(right.schedule, {"step": 4, "run": 4, "reached": 3}, cases.schedule_cases, mistakes.SCHEDULE, "run"),
    ]


def extensions() -> list[Exercise]:
    """Roofline, stages of ZeRO."""
    points = {"intensity": 3, "speed": 3, "bound": 2}
    stages = {"bytes": 4, "stage": 2, "ranks": 2}
    return [
        exercise(right.roofline, points, cases.roofline_cases, mistakes.ROOFLINE, "roofline", "extension"),
        exercise(zero_stage, stages, cases.zero_cases, mistakes.ZERO, "zero", "extension"),
    ]

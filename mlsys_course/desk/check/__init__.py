"""What a graded cell calls, and the exercise contract's shared half: drivers, outcomes, comparison, verdicts."""

from .cell import CheckFailed, check
from .driver import Driver, Outcome, driver, kept, raised, run_case
from .gradients import with_gradients
from .guard import allowed
from .sampled import sampled
from .tree import Tree, decode, encode
from .verdict import Case, Specification, Verdict, judge

__all__ = [
    "Case",
    "CheckFailed",
    "Driver",
    "Outcome",
    "Specification",
    "Tree",
    "Verdict",
    "allowed",
    "check",
    "decode",
    "driver",
    "encode",
    "judge",
    "kept",
    "raised",
    "run_case",
    "sampled",
    "with_gradients",
]

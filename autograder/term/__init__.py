"""The term: ``course.toml`` read and checked, its secret, what editions withhold, and the change to the next term."""

from .editions import withheld
from .late import LatePolicy
from .syllabus import LabPlan, Plan, read_plan

__all__ = ["LabPlan", "LatePolicy", "Plan", "read_plan", "withheld"]

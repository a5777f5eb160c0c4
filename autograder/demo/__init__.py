"""``mlsys demo``: a scratch course from release to feedback, in under two minutes."""

from .cohort import COHORT, expected_status
from .show import run_demo

__all__ = ["COHORT", "expected_status", "run_demo"]

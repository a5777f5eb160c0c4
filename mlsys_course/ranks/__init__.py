"""Ranks: programs that run side by side and share nothing but messages.

As threads (``run_in_threads``), as processes (``run``), on a virtual clock (``simulate``): the same functions. Charts
are in ``mlsys_course.ranks.chart``, which imports matplotlib.
"""

from .cluster import ETHERNET, INFINIBAND, NVLINK, PCIE, Cluster, Link
from .communicator import Communicator, Handle
from .problems import Deadlock, Mismatch, RankDied, RankProblem, RankRaised, RanksLate
from .run import Run, run
from .simulate import simulate
from .starters import warm_up
from .switchboard import Released, Switchboard
from .threads import Together, run_in_threads, run_together
from .timeline import Event, Timeline
from .traffic import Message, Traffic

__all__ = [
    "ETHERNET",
    "INFINIBAND",
    "NVLINK",
    "PCIE",
    "Cluster",
    "Communicator",
    "Deadlock",
    "Event",
    "Handle",
    "Link",
    "Message",
    "Mismatch",
    "RankDied",
    "RankProblem",
    "RankRaised",
    "RanksLate",
    "Released",
    "Run",
    "Switchboard",
    "Timeline",
    "Together",
    "Traffic",
    "run",
    "run_in_threads",
    "run_together",
    "simulate",
    "warm_up",
]

"""Ranks: programs that run side by side and share nothing but messages.

As threads (``run_in_threads``), as processes (``run``), on a virtual clock (``simulate``): the same functions. Where
``torchrun`` has started the processes, ``of_process_group`` makes one a rank. Charts
are in ``mlsys_course.substrate.ranks.shared.chart``, which imports matplotlib.
"""

from .processes.process_group import of_process_group
from .processes.run import run
from .processes.starters import warm_up
from .shared.clocks import Clocks
from .shared.communicator import Communicator, Handle
from .shared.problems import Deadlock, Mismatch, RankDied, RankProblem, RankRaised, RanksLate
from .shared.result import Run
from .shared.switchboard import Released, Switchboard
from .shared.threads import ThreadCommunicator, Together, run_in_threads, run_together
from .shared.timeline import Event, Timeline
from .shared.traffic import Action, Message, Traffic
from .simulator.cluster import ETHERNET, INFINIBAND, NVLINK, PCIE, Cluster, Link
from .simulator.simulate import simulate

__all__ = [
    "ETHERNET",
    "INFINIBAND",
    "NVLINK",
    "PCIE",
    "Action",
    "Clocks",
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
    "ThreadCommunicator",
    "Timeline",
    "Together",
    "Traffic",
    "of_process_group",
    "run",
    "run_in_threads",
    "run_together",
    "simulate",
    "warm_up",
]

"""Ranks: programs that run side by side and share nothing but messages."""

from .communicator import Communicator, Handle
from .switchboard import Released, Switchboard
from .threads import Deadlock, RankProblem, RankRaised, RanksLate, Together, run_in_threads, run_together
from .traffic import Message, Traffic

__all__ = [
    "Communicator",
    "Deadlock",
    "Handle",
    "Message",
    "RankProblem",
    "RankRaised",
    "RanksLate",
    "Released",
    "Switchboard",
    "Together",
    "Traffic",
    "run_in_threads",
    "run_together",
]

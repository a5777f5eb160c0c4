"""Why ranks did not all return."""

from ...errors import CourseProblem


class RankProblem(CourseProblem):
    """Why ranks did not all return."""


class RankRaised(RankProblem):
    """A rank raised an exception; it is this one's cause."""


class RankDied(RankProblem):
    """A rank's process ended without a word, or its machine failed in the simulation."""


class Deadlock(RankProblem):
    """All ranks that are left wait for messages that cannot come."""


class Mismatch(RankProblem):
    """A message is not of the shape and dtype that its receiver asked for."""


class RanksLate(RankProblem):
    """A rank did not return in time. A thread cannot be ended: restart the kernel if it keeps a core busy."""

"""What a rank holds at most in a sealed call: read where it runs by itself, with the messages that it got before.

Ranks of one call are alive at the same time, and each has run the whole notebook. So each is measured as who is alone
is: in a fresh process that has run only the cells that its names reach, over a bare process with the same inputs. The
most that any rank holds counts.
"""

import contextlib
import functools
import math
import time
from collections.abc import Collection, Sequence
from dataclasses import replace

from mlsys_course.desk.check import Outcome

from .alone import Repeated
from .contract import Ended, Limits
from .group import Group
from .sealed import Examination
from .transcript import Recorded
from .work import Work, came_to_the_same


def measure_ranks(work: Work, asked: Sequence[Examination], group: Group) -> None:
    """Adds "peak_memory" to the costs of those calls to ranks that are measured, when the group is gone."""
    limits = work.limits_of_measured(group.limits)
    for examination in asked:
        peaks: dict[str, tuple[Outcome, float]] = {}  # a call that twice came to the same is measured once
        for place, one in enumerate(examination.recorded):
            if one.call.measure_memory and not one.outcome.problem:
                before, peak = peaks.get(one.call.key, (None, math.inf))
                if before is None or not came_to_the_same(one.outcome, before, one.call.ranks[0]):
                    peak = MeasuredCall(work, examination, one, limits, 2 * group.most_used + 1).peak()
                    peaks[one.call.key] = one.outcome, peak
                examination.recorded[place] = replace(one, outcome=_with(one.outcome, peak))
                examination.outcomes[one.key] = _with(examination.outcomes[one.key], peak)


def _with(outcome: Outcome, peak: float) -> Outcome:
    return replace(outcome, costs={**outcome.costs, "peak_memory": peak})


class MeasuredCall:
    """One call, each rank of which may take ``least`` CPU-seconds, or what is left."""

    def __init__(self, work: Work, examination: Examination, one: Recorded, limits: Limits, least: float):
        self.work, self.examination, self.one, self.limits, self.least = work, examination, one, limits, least
        self.cell = examination.members[0].cell

    def peak(self) -> float:
        """Bytes of the rank that holds the most."""
        most = -math.inf
        for rank in range(len(self.one.call.ranks)):
            most = max(most, self._peak_of(rank))
            if math.isinf(most):
                break  # the others cost time, and cannot change it
        return most

    def _peak_of(self, rank: int) -> float:
        """Over a bare process; infinite where a rank comes to something else by itself."""
        bare, before = self._bare(rank), Outcome(self.one.outcome.outputs[f"rank {rank}"])
        alone = functools.partial(self._alone, rank)
        peak = self.work.first_alike(self.cell, alone, before, self.one.call.ranks[rank])
        if math.isinf(peak):
            self.work.log.append(f"{self._named(rank)}: it comes to something else where its memory is measured")
        return peak - bare + self.work.handed_in

    def _bare(self, rank: int) -> float:
        known = self.work.warm.bare
        place = (self.examination.exercise, self.one.call.key, len(self.one.call.ranks[rank]))
        if place not in known:
            found = self._alone(rank, (), bare=True)[1]
            if math.isinf(found):
                return -math.inf  # then what it takes is infinite
            known[place] = found
        return known[place]

    def _alone(self, rank: int, kept: Collection[int], *, bare: bool = False) -> tuple[Outcome, float]:
        """What one rank comes to, a problem where it sends other bytes; the most that its process held."""
        work, call, seconds = self.work, self.one.call, self.examination.seconds(self.one.call)
        cells = {*kept, self.cell}
        try:
            with (
                work.fresh(cells, [self.examination.exercise], self.limits, self.least) as (member,),
                contextlib.closing(member),
            ):
                member.bare = bare
                member.greet()
                member.sandbox.keep_only([member.pid])
                member.meet(2 * seconds)
                member.start_measuring()
                again = Repeated(call, rank, self.one.transcripts[rank], time.monotonic() + seconds)
                outcome = again.run(member)
                if again.other or again.loose:  # who is measured answers as it did
                    outcome = replace(outcome, problem="alone")
                return outcome, member.peak()
        except Ended as error:
            work.log.append(f"{self._named(rank)}: measured alone: {error.log}")
            return Outcome(problem=error.why), math.inf

    def _named(self, rank: int) -> str:
        return f"{self.examination.exercise}, {self.one.key}, rank {rank}"

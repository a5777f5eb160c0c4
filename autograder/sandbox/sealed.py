"""The trusted end of an exercise's sealed calls: inputs out, outcomes in, parts answered."""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from mlsys_course.desk.check import Outcome, Specification

from . import said
from .contract import AGAIN, Call, Ended, Trusted, calls_by_key, case_of
from .inside.channel import BadFrame, Closed, Late
from .parked import Parked
from .part_calls import PartCalls
from .relay import Relay
from .transcript import Recorded, Room

PROBLEMS = {
    "timeout": "A sealed case took longer than this exercise allows.",
    "memory": "A sealed case took more memory than grading allows.",
    "crashed": "A sealed case ended the process, or its result could not be read.",
}
NOT_ASKED = Outcome(problem="missing", detail="not asked, since other cases took too long")
MOST_SLOW = 2  # calls of an exercise that take all their time, or their process along; what is left is not asked then
GRACE = 1.0  # seconds for the process to notice by itself that a call has had its time
_random = random.SystemRandom()


@dataclass
class Examination:
    """The sealed calls of one exercise to its parked process, or to those of its ranks, each in its own sandbox.

    Without ``members`` there is no process yet that answers for it alone.

    ``greet`` first, then ``run``, which fills ``outcomes`` and raises Ended when a whole sandbox is gone.
    ``try_in`` asks the process that answers for all, which stays.
    """

    members: Sequence[Parked]
    specification: Specification
    trusted: Trusted
    default_seconds: float
    end: float  # time.monotonic, for all of the submission's
    measure: Callable[[str, Call, Outcome], float] | None = None  # what the call takes in a fresh process
    room: Room = field(default_factory=Room)  # for what is written down of calls to ranks
    afresh: Callable[[Call], Outcome] | None = None  # the call in a process of its own
    cell: int = 0  # its graded cell
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    recorded: list[Recorded] = field(default_factory=list)  # calls to ranks that came to an end, in order
    problem: str = ""
    log: str = ""

    @property
    def exercise(self) -> str:
        return self.specification.id

    def greet(self) -> None:
        """Read that all are parked, and which processes they are."""
        for member in self.members:
            member.greet()

    def run(self) -> None:
        """Every call, in an order that nobody can know, one of them again."""
        plan = self._plan()
        self.outcomes = {}
        try:
            for member in self.members:
                member.meet(self.most_seconds)
            for key, call in plan:
                slow = self._came_to("timeout")
                if case_of(key) in slow or len(slow) >= MOST_SLOW:  # a loop must leave time to the other exercises
                    self.outcomes[key] = slow.get(case_of(key), NOT_ASKED)
                elif call.measure_memory:
                    self.outcomes[key] = self._of_held_ranks(key, call) if call.ranks else self._measured(key, call)
                else:
                    self.outcomes[key] = self._ask(call, self.members, key)
            if self._came_to("timeout"):
                self.problem = PROBLEMS["timeout"]
        except Ended as error:
            # Students read the problem, so it is in our words only; the log may quote what the sandbox said.
            self.problem, self.log = PROBLEMS[error.why], error.log
            self._end(plan, Outcome(problem=error.why, detail=error.detail))
            if any(member.sandbox.over for member in self.members):
                raise
        finally:
            self.close()

    def _end(self, plan: Sequence[tuple[str, Call]], last: Outcome) -> None:
        """A call has ended the process. Those that were not asked yet are, each in a process of its own, until another
        ends one; where a whole sandbox is gone, or nobody can, they count as the last."""
        left = [(key, call) for key, call in plan if key not in self.outcomes]
        for key, _ in left[:1]:
            self.outcomes[key] = last
        for key, call in left[1:]:
            if self.afresh is None or last.problem != "timeout" or any(member.sandbox.over for member in self.members):
                self.outcomes[key] = last
            else:
                self.outcomes[key] = self.afresh(call) if len(self._came_to(*PROBLEMS)) < MOST_SLOW else NOT_ASKED

    def _came_to(self, *problems: str) -> dict[str, Outcome]:
        """The cases that came to one of these."""
        return {case_of(key): outcome for key, outcome in self.outcomes.items() if outcome.problem in problems}

    def try_in(self, common: Parked, seconds: float) -> bool:
        """The same in the process that answers for all, for ``seconds`` in all; whether its outcomes may stand.

        Raises Ended when that process, or its sandbox, is gone.
        """
        common.turn_to(self.cell, self.specification)
        common.meet(seconds)
        for key, call in self._plan():
            self.outcomes[key] = self._ask(call, [common])
            if self.outcomes[key].problem == "timeout":
                return False  # it is asked again alone, whatever else it would answer here
        return self.trusted.settled(self.exercise, self.outcomes)

    @property
    def most_seconds(self) -> float:
        """What all its calls together may take."""
        seconds = [self.seconds(call) for call in self.trusted.calls(self.exercise)]
        return sum(seconds) + max(seconds, default=0.0)

    def _plan(self) -> list[tuple[str, Call]]:
        calls = calls_by_key(self.trusted.calls(self.exercise))
        plan = list(calls.items())
        if len(plan) > 1 or self.specification.kind != "choice":
            key = _random.choice(list(calls))
            plan.append((key + AGAIN, calls[key]))
        _random.shuffle(plan)
        return plan

    def close(self) -> None:
        """End its processes, and let go of them."""
        for member in self.members:
            member.close()

    def seconds(self, call: Call) -> float:
        """What one call may take."""
        return call.seconds or self.default_seconds

    def _ask(self, call: Call, members: Sequence[Parked], key: str = "") -> Outcome:
        """One call. Raises Ended when a process does not answer, or answers what it should not."""
        start = time.monotonic()
        deadline = min(start + self.seconds(call) + (0 if call.ranks else GRACE), self.end)
        parts = PartCalls(self.trusted, self.exercise)
        if call.ranks:
            relay = Relay(members[: len(call.ranks)], call, parts, deadline, self.room)
            outcome = relay.run()
            self.recorded.append(Recorded(key, call, relay.transcripts, outcome))
        else:
            outcome = replace(self._ask_one(members[0], call, parts, deadline), seen=[parts.actions])
        costs = {**outcome.costs, "part_calls": float(parts.count)}
        return replace(outcome, seconds=time.monotonic() - start, costs=costs)

    def _ask_one(self, member: Parked, call: Call, parts: PartCalls, deadline: float) -> Outcome:
        try:
            seconds = self.seconds(call)
            member.channel.send({"kind": "call", "seconds": seconds}, call.inputs, seconds)
            while True:
                head, blob = member.channel.receive(deadline)
                if head.get("kind") != "part":
                    break
                member.channel.send(*parts.answer(head, blob), max(0.01, deadline - time.monotonic()))
            if head.get("kind") != "outcome":
                raise BadFrame(f"{str(head.get('kind'))[:20]!r} instead of an outcome")
            outcome = said.outcome(head, blob, call.inputs, self.specification, member.cells)
        except (Closed, Late, BadFrame, ValueError) as error:
            raise member.ended(error) from None
        if head.get("broken") is True and member.replay:
            if member.common:
                raise Ended("crashed", f"{self.exercise}: the card was broken")
            member.follow()
        return outcome

    def _measured(self, key: str, call: Call) -> Outcome:
        """The call as any other, and what it takes in a process that has done nothing else."""
        if self.measure is None:
            raise ValueError(f"{self.exercise}: nobody measures the memory of this call")
        self._hold()
        outcome = self._ask(call, self.members)
        return replace(outcome, costs={**outcome.costs, "peak_memory": self.measure(key, call, outcome)})

    def _of_held_ranks(self, key: str, call: Call) -> Outcome:
        """A call to ranks that are held, as they are where each is measured (``measured_ranks``)."""
        self._hold()
        return self._ask(call, self.members, key)

    def _hold(self) -> None:
        """As who is measured is held, in case it matters to the candidate."""
        for member in self.members:
            if not member.replay:
                member.sandbox.hold()

    def alone(self, call: Call) -> tuple[Outcome, float]:
        """Of a process that has just been made: what the call comes to, and the most that it and its like hold."""
        (member,) = self.members
        member.greet()
        member.sandbox.keep_only([member.pid])
        member.meet(2 * self.seconds(call))
        member.start_measuring()
        return self._ask(call, self.members), member.peak()

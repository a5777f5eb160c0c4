"""Sealed calls to ranks once more: each rank by itself, while no other lives, with the messages that it got before.

Ranks hold their inputs at the same moment, so a channel between their sandboxes that nobody thought of would let them
pass without a true message. What a rank does by itself can only come from its inputs and its messages.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from mlsys_course.desk.check import Outcome, encode

from . import said
from .contract import ALONE, Call, Ended, case_of
from .drawn_order import drawn_order
from .group import Group
from .inside.channel import BadFrame, Closed, Late
from .line import Line
from .parked import Parked
from .part_calls import refused
from .sealed import Examination
from .transcript import Asked, Received, Recorded, Sent, Transcript
from .work import Work

MOST_TIMES = 4  # that a rank runs alone


@dataclass
class Repeated:
    """One call to one rank. As long as it does what it did before, it is told what it was told.

    ``other`` says what it does otherwise, ``loose`` are the messages that it sends with other bytes: what is not in
    them, such as the time or memory that nobody wrote to, their receivers must do without.
    """

    call: Call
    rank: int
    transcript: Transcript
    deadline: float
    other: str = ""
    loose: list[Sent] = field(default_factory=list)
    place: int = 0

    def run(self, member: Parked) -> Outcome:
        """What it comes to; raises Ended when the process does not answer."""
        line = Line(member)
        try:
            line.call(self.call, self.rank, self.deadline)
            while True:
                head, blob = line.hear(self.deadline)
                if head.get("kind") == "outcome":
                    break
                if told := self._told(head, blob):
                    line.tell(*told, self.deadline)
            outcome = said.outcome(head, blob, self.call.ranks[self.rank], member.specification, member.cells)
        except (Closed, Late, BadFrame, ValueError) as error:
            raise member.ended(error) from None
        if self.place < len(self.transcript):
            self.other = self.other or "did less"
        return outcome

    def _told(self, head: Mapping[str, Any], blob: bytes) -> tuple[Mapping[str, Any], bytes] | None:
        """The answer to what it does next; of what it did not do before there is none."""
        before = self.transcript[self.place] if self.place < len(self.transcript) else None
        self.place += 1
        kind = head.get("kind")
        self.other = self.other or ("" if _alike(before, head, blob) else f"did another thing: {str(kind)[:20]}")
        if kind == "send":
            if isinstance(before, Sent) and not self.other and blob != before.data:
                self.loose.append(before)
            return None
        if self.other:
            return refused("it was not called here before") if kind == "part" else Received(0, None).told()
        return (before.head, before.answer) if isinstance(before, Asked) else before.told()  # pyright: ignore


def _alike(before: Sent | Received | Asked | None, head: Mapping[str, Any], blob: bytes) -> bool:
    """Whether a rank does what it did before; what a message says may differ, its receiver and shape may not."""
    if isinstance(before, Sent):
        told = {"kind": "send", "to": before.receiver, **before.described}
        return {name: head.get(name) for name in told} == told and len(blob) == len(before.data)
    if isinstance(before, Received):
        return head.get("kind") == "recv" and head.get("from") == before.source
    return before is not None and (head.get("kind"), head.get("name"), blob) == ("part", before.name, before.request)


class Repetition:
    """All calls of one exercise, in the order in which they were made: a rank may keep things from call to call.

    ``waiting`` are the ranks that are still to run. Judged are those calls that earn points.
    """

    def __init__(self, examination: Examination, earned: Collection[str]):
        self.examination, self.recorded = examination, list(examination.recorded)
        self.judged = [r for r in self.recorded if len(r.call.ranks) > 1 and case_of(r.key) in earned]
        self.begin()

    def begin(self) -> None:
        """Forget what came of it so far."""
        self.waiting = {rank for one in self.judged for rank in range(len(one.call.ranks))}
        self.times = dict.fromkeys(self.waiting, 0)
        self.outputs: dict[str, dict[int, Any]] = {one.key: {} for one in self.judged}
        self.others: dict[str, tuple[int, str]] = {}  # by call: the first rank that did otherwise, and what
        for sent in (e for one in self.judged for own in one.transcripts for e in own if isinstance(e, Sent)):
            sent.loose = False

    @property
    def exercise(self) -> str:
        return self.examination.exercise

    @property
    def cell(self) -> int:
        return self.examination.members[0].cell

    @property
    def same(self) -> bool:
        """Whether all that is judged came to the same, to the bit."""
        return not self.waiting and not any(map(self._other, self.judged))

    def run(self, rank: int, member: Parked, end: float) -> None:
        """All calls to one rank; raises Ended when it does not answer."""
        self.waiting.discard(rank)
        self.times[rank] += 1
        for outputs in self.outputs.values():
            outputs.pop(rank, None)
        try:
            member.turn_to(self.cell, self.examination.specification)
            member.meet(self.examination.most_seconds)
            for one in (one for one in self.recorded if rank < len(one.call.ranks)):
                deadline = min(time.monotonic() + self.examination.seconds(one.call), end)
                again = Repeated(one.call, rank, one.transcripts[rank], deadline)
                self._note(one, again, again.run(member))
        except Ended as error:
            self.missed(rank, error.log)
            raise

    def missed(self, rank: int, why: str) -> None:
        """Its other calls cannot be made."""
        self.waiting.discard(rank)
        for one in self.judged:
            if rank < len(one.call.ranks) and rank not in self.outputs[one.key]:
                self.others.setdefault(one.key, (rank, why))

    def _note(self, one: Recorded, again: Repeated, outcome: Outcome) -> None:
        if one not in self.judged:
            return
        self.outputs[one.key][again.rank] = outcome.outputs
        if other := again.other or outcome.words:
            self.others.setdefault(one.key, (again.rank, other))
        for sent in again.loose:
            if not sent.loose:
                sent.loose = True
                self._once_more(one, sent.receiver)

    def _once_more(self, one: Recorded, rank: int) -> None:
        """A rank must do without what it was told, and so runs again where it ran with it."""
        if self.times[rank] < MOST_TIMES:
            self.waiting.add(rank)
        else:
            self.others.setdefault(one.key, (rank, "is told something else each time"))

    def _other(self, one: Recorded) -> tuple[int, str] | None:
        """The first rank that did otherwise, and what; where all did the same, the first that returned otherwise."""
        ranks = range(len(one.call.ranks))
        found, before = self.outputs[one.key], one.outcome.outputs
        if one.key in self.others:
            return self.others[one.key]
        changed = (r for r in ranks if encode(found[r]) != encode(before[f"rank {r}"]))
        return next(((r, "returned another result") for r in changed), None)

    def outcomes(self) -> dict[str, Outcome]:
        """Of each judged call what it came to, and in ``detail`` which rank is not the same."""
        found = {}
        for one in self.judged:
            other = self._other(one)
            same = replace(one.outcome, detail=f"rank {other[0]}" if other else "")
            by_rank = {f"rank {rank}": outputs for rank, outputs in sorted(self.outputs[one.key].items())}
            did_otherwise = one.key in self.others
            found[one.key + ALONE] = replace(same, problem="alone") if did_otherwise else replace(same, outputs=by_rank)
        return found

    def log(self) -> list[str]:
        """For staff, of each call that is not the same."""
        others = [(one.key, other) for one in self.judged if (other := self._other(one))]
        return [f"{self.exercise}, {key}: rank {rank}, alone, {why}" for key, (rank, why) in others]


Kept: TypeAlias = Callable[[Repetition], Collection[int]]  # the cells above an exercise's that run


def run_alone(work: Work, asked: Sequence[Examination], group: Group) -> dict[str, dict[str, Outcome]]:
    """Of each exercise, what its calls that earned points come to, when the group is gone.

    First one process of a rank answers for all exercises, and has run the cells that their names reach. Where that is
    not the same to the bit, as when a name was made in a way that no text shows, it has run all cells above its own.
    """
    every = [Repetition(e, work.trusted.earned(e.exercise, e.outcomes)) for e in asked if e.recorded]
    took = sum(e.outcomes[one.key].seconds for e in asked for one in e.recorded)
    end = time.monotonic() + max(work.limits.sealed_seconds, took * len(group.sandboxes))
    _repeat(work, every, group, end, lambda one: work.reached(one.cell))
    for one in every:
        if not one.same and work.cpu_left > 0:
            one.begin()
            _repeat(work, [one], group, end, lambda one: range(one.cell))
    work.log += [line for one in every for line in one.log()]
    return {one.exercise: one.outcomes() for one in every}


def _repeat(work: Work, every: Sequence[Repetition], group: Group, end: float, kept: Kept) -> None:
    """Rank by rank, until all have run with what is sure."""
    while ranks := set[int]().union(*(one.waiting for one in every)):
        for rank in sorted(ranks):
            _run_rank(work, rank, [one for one in every if rank in one.waiting], group, end, kept)


def _run_rank(work: Work, rank: int, every: Sequence[Repetition], group: Group, end: float, kept: Kept) -> None:
    waiting = {one.exercise: one for one in every}
    last = max(every, key=lambda one: one.cell)
    cells = {last.cell}.union(*(kept(one) for one in every))
    least = 2 * group.most_used + 1  # what it took before, whatever is left
    try:
        with work.fresh(cells, [last.exercise], group.limits, least) as (member,), contextlib.closing(member):
            member.greet()
            member.sandbox.keep_only([member.pid])
            for exercise in drawn_order(waiting, work.trusted):
                waiting.pop(exercise).run(rank, member, end)
    except Ended as error:
        for one in waiting.values():
            one.missed(rank, error.log)

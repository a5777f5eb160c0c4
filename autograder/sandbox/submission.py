"""One run of a submission: its notebook, as often as it takes, then the sealed calls of its graded cells."""

import contextlib
import functools
import math
import time
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from mlsys_course.desk.check import Outcome

from .alone import run_alone
from .attempt import Attempt
from .contract import AGAIN, Call, Cell, CellRun, Ended, Run, RunStatus, SandboxUnavailable
from .drawn_order import drawn_order, is_measured
from .group import Group, only_graded
from .host import OUT_OF_MEMORY, processes_killed
from .measured_ranks import measure_ranks
from .parked import Parked
from .process import Sandbox
from .sealed import Examination
from .transcript import Room
from .watchdog import Watchdog
from .work import Work, only_imports

RESTARTS = 4
NOT_REACHED = {
    "timeout": "The notebook took too long before this exercise's cell.",
    "memory": "The notebook took too much memory before this exercise's cell.",
    "crashed": "The notebook's process ended before this exercise's cell.",
}
WORST: tuple[RunStatus, ...] = ("ok", "crashed", "timeout", "memory")


@dataclass
class Submission(Work):
    """One run: attempts at the notebook, each without the cells that ended the ones before, then sealed calls."""

    outcomes: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    runs: list[CellRun] = field(default_factory=list)
    alone: bool = False  # no process answers for all any more: each exercise that is left has one of its own
    answered: dict[str, dict[str, Outcome]] = field(default_factory=dict)  # by the process for all; to be asked again
    lean: bool = False  # ranks run only the cells that matter: else what others keep is there for each rank
    sealed_end: float = 0.0
    status: RunStatus = "ok"
    peaks: dict[tuple[str, str], float] = field(default_factory=dict)  # of measured calls
    room: Room = field(default_factory=Room)

    def run(self) -> Run:
        """All of it. SandboxUnavailable where it ended for the machine's sake: that is no outcome of a submission."""
        start, killed = time.monotonic(), processes_killed()
        for attempt in range(RESTARTS + 1):
            if not self._again(last=attempt == RESTARTS):
                break
        for _ in range(RESTARTS + 1):
            if not self._again_in_ranks():
                break
        self._take_answers()
        for exercise in self.specifications:
            if exercise not in self.outcomes:
                self._give_up(exercise, self.status if self.status != "ok" else "crashed")
        if self._crashed() and processes_killed() > killed:
            raise SandboxUnavailable(OUT_OF_MEMORY)
        if self.warm.over():
            raise SandboxUnavailable(f"the warm process has ended: {self.warm.said() or OUT_OF_MEMORY}")
        wall = time.monotonic() - start
        took = (wall, self.cpu_seconds, self.peak_bytes, self.log, self.peak_card_bytes)
        return Run(self.status, self.runs, self.outcomes, self.problems, *took)

    def _crashed(self) -> bool:
        """Whether any process of it ended for a reason that nobody here gave."""
        problems = {outcome.problem for outcomes in self.outcomes.values() for outcome in outcomes.values()}
        return "crashed" in problems or self.status == "crashed" or bool(self.left_out)

    def _again(self, *, last: bool) -> bool:
        """One sandbox from start to end; whether another is to follow."""
        again, before = bool(self.runs) and not self.spared, self.cpu_seconds
        left = max(self.cpu_left, before + 1.0 if again else 0.0)  # what it took before, whatever is left
        if left <= 0:
            return False
        cells = only_graded(self.cells, self._of_one_process - self.outcomes.keys())
        graded = [i for i, cell in enumerate(cells) if cell.exercise is not None and i not in self.left_out]
        if self.runs:  # all ran before: what comes after the last graded cell need not again
            cells = [c if i <= max(graded, default=-1) else replace(c, skip=True) for i, c in enumerate(cells)]
        self.alone = self.alone or bool(self._unanswered)
        parks = graded if self.alone or last else []
        sandbox = self.warm.spawn(self.limits, len(parks) + bool(graded and not self.alone))
        try:
            sandbox.begin()
            watchdog = Watchdog(sandbox, self.limits, left)
            try:
                return self._attempt(sandbox, cells, parks, last)
            finally:
                watchdog.look()
                self.count(watchdog)
                self.spared += self.cpu_seconds - before if again else 0.0
        finally:
            sandbox.close()

    def _attempt(self, sandbox: Sandbox, cells: Sequence[Cell], parks: list[int], last: bool) -> bool:
        attempt = Attempt(sandbox, cells, self.limits, self.files, self.left_out, parks)
        common, start = None, time.monotonic()
        try:
            attempt.run()
            if not self.alone and (reached := attempt.reached_graded):
                common = self.parked(sandbox, reached[0], sandbox.graded[-1], attempt.runs, common=True)
        except Ended as error:
            self._take_answers()  # where it reached its end before, it does not do the same again
            if not self._of_one_process - self.outcomes.keys():
                return False
            self._note(error.why, error.log)
            if not (attempt.out_of_time or last) and attempt.reached < len(self.cells):
                self._leave_out(attempt.reached, error.why)
                return True
            for cell in cells[attempt.reached :] if attempt.out_of_time else ():
                if cell.exercise and cell.exercise not in self.outcomes:
                    self._give_up(cell.exercise, error.why)  # it would take as long again
            if len(attempt.runs) == attempt.reached:
                attempt.runs.append(CellRun("timeout" if error.why == "timeout" else "error"))
        if self.runs:
            self.sealed_end += (time.monotonic() - start) * bool(self.sealed_end)
            if any(was.status != now.status != "skipped" for was, now in zip(self.runs, attempt.runs, strict=False)):
                self._take_answers()
        self.log += [] if self.runs else attempt.tried
        self._keep(attempt.runs)
        if any(run.status == "timeout" for run in self.runs):
            self._note("timeout")
        channels = dict(zip(parks, sandbox.graded, strict=False))
        waiting = []
        for i in attempt.reached_graded:
            if self.cells[i].exercise in self.outcomes:
                continue
            own = [self.parked(sandbox, i, channels[i], attempt.runs)] if i in channels else []
            waiting.append(self._examination(i, own))
        return self._examine_all([sandbox], waiting, common) and not last

    def _again_in_ranks(self) -> bool:
        """One group of sandboxes for the exercises of several ranks that are left; whether another is to follow."""
        pending, left = {e: size for e, size in self.ranks.items() if e not in self.outcomes}, self.cpu_left
        if not pending or left <= 0:
            return False
        cells = self._of_ranks(pending)
        waiting: list[Examination] = []
        with Group(self.warm, self.limits, max(pending.values()), cells, self.left_out, left) as group:
            try:
                group.run(self.files)
                for error in group.failures:
                    self._note(error.why, error.log)
                for index in [i for i, cell in enumerate(cells) if cell.exercise and i not in self.left_out]:
                    exercise = cells[index].exercise or ""
                    if channels := group.channels(index, pending[exercise]):
                        runs = group.attempts[0].runs
                        ranks = [self.parked(s, index, c, runs) for s, c in channels]
                        waiting.append(self._examination(index, ranks))
                    else:
                        self._give_up(exercise, group.why)
                asked = list(waiting)
                more = self._examine_all(group.sandboxes, waiting)
            finally:
                group.measure()
                self.count(group)
        if not self.lean and (over := [e for e in pending if _over_memory(self.outcomes.get(e, {}))]):
            self.lean = True
            for exercise in over:
                del self.outcomes[exercise]
                self.problems.pop(exercise, None)
            more = True
        asked = [examination for examination in asked if examination.exercise in self.outcomes]
        measure_ranks(self, asked, group)
        for exercise, outcomes in run_alone(self, asked, group).items():
            self.outcomes[exercise] |= outcomes
        return more

    def _of_ranks(self, pending: Collection[str]) -> list[Cell]:
        """The cells that each rank runs: all, or imports and those that its exercises' names reach."""
        cells = only_graded(self.cells, pending)
        if not self.lean:
            return cells
        own = [i for i, cell in enumerate(cells) if cell.exercise]
        kept = set(own).union(*(self.reached(i) for i in own))
        kept |= {i for i, cell in enumerate(cells) if only_imports(cell.source)}
        return [cell if i in kept else replace(cell, skip=True, source="") for i, cell in enumerate(cells)]

    def _examine_all(
        self, sandboxes: Sequence[Sandbox], waiting: list[Examination], common: Parked | None = None
    ) -> bool:
        """Sealed calls, one exercise after the other; whether the rest need theirs in other sandboxes.

        Each is asked in the process ``common`` to all first. Where that does not earn full marks, another exercise or a
        later cell may have changed what this one uses: then a copy made at its own cell is asked, and that counts. In
        another sandbox, after the notebook has run again: here copies share memory with a process that knows the
        inputs, and may know answers by now.
        """
        for sandbox in sandboxes:
            sandbox.notebook.close()
        for examination in waiting:
            examination.greet()
        if common:
            common.greet()
        seconds = sum(examination.most_seconds for examination in waiting)
        order = drawn_order([examination.exercise for examination in waiting], self.trusted)
        # The last is asked first; choices, before any candidate has run.
        waiting.sort(key=lambda e: (e.specification.kind != "choice", order.index(e.exercise)), reverse=True)
        while waiting:
            # Nobody else is there to see the inputs: no notebook, no process that it or a candidate left.
            members = [member for examination in waiting for member in examination.members]
            members += [common] if common else []
            for sandbox in sandboxes:
                sandbox.keep_only([member.pid for member in members if member.sandbox is sandbox])
            examination = waiting.pop()
            try:
                if not (common and self._settled_in(common, examination, seconds)):
                    if common and any(sandbox.over in ("memory", "crashed") for sandbox in sandboxes):
                        self.alone = True  # it took the sandbox along
                        waiting.append(examination)
                        return True
                    common = common if common and not common.failed else None
                    if examination.members:
                        examination.run()
                    elif not _nothing_there(examination.outcomes):
                        self.answered[examination.exercise] = self._whole(examination)
                        continue
                self.outcomes[examination.exercise] = examination.outcomes
            except Ended as error:
                self.outcomes[examination.exercise] = examination.outcomes
                return bool(waiting or self._unanswered) and error.why != "timeout"
            finally:
                if examination.problem:
                    self.problems[examination.exercise] = examination.problem
                    self.log.append(examination.log)
                for other in waiting if any(sandbox.over for sandbox in sandboxes) else ():
                    other.close()
        if common:
            common.close()
        return bool(self._unanswered)

    def _whole(self, examination: Examination) -> dict[str, Outcome]:
        """Its outcomes, if every call has one."""
        keys = {call.key for call in self.trusted.calls(examination.exercise)}
        return examination.outcomes if keys <= examination.outcomes.keys() else {}

    def _take_answers(self) -> None:
        """What the process for all has answered stands, where nothing else came."""
        self.outcomes |= {e: self.answered[e] for e in self._unanswered if self.answered[e]}

    @property
    def _of_one_process(self) -> Set[str]:
        """The exercises of one process."""
        return self.specifications.keys() - self.ranks.keys()

    @property
    def _unanswered(self) -> Set[str]:
        """The exercises that are to be asked again, in processes of their own."""
        return self.answered.keys() - self.outcomes.keys()

    def _settled_in(self, common: Parked, examination: Examination, seconds: float) -> bool:
        """Whether an exercise earned full marks in the process common to all, which ends when it fails to answer."""
        if is_measured(examination.exercise, self.trusted):
            return False
        try:
            settled = examination.try_in(common, seconds)
        except Ended as error:
            self.log.append(f"asked again alone: {error.log}")
            common.failed = error
            common.close()
            return False
        if settled:
            examination.close()
        return settled

    def _examination(self, cell: int, members: Sequence[Parked]) -> Examination:
        self.sealed_end = self.sealed_end or time.monotonic() + self.limits.sealed_seconds
        measure = functools.partial(self._peak, cell)
        specification, seconds = self.specifications[self.cells[cell].exercise or ""], self.limits.call_seconds
        afresh = None if self.warm.replay or len(members) > 1 else functools.partial(self._afresh, cell)
        end, room = self.sealed_end, self.room
        return Examination(members, specification, self.trusted, seconds, end, measure, room, afresh, cell)

    def _afresh(self, cell: int, call: Call) -> Outcome:
        """A call in a sandbox of its own, after the whole notebook up to its cell."""
        return self._alone(cell, call, range(cell))[0]

    def _peak(self, cell: int, key: str, call: Call, outcome: Outcome) -> float:
        """What a call takes over a bare process with the same inputs, files handed in included.

        Each is a fresh process, whose call has to come to the same.
        """
        place = (self.cells[cell].exercise or "", key.removesuffix(AGAIN))
        if place in self.peaks:
            return self.peaks[place]
        sized = (*place, len(call.inputs))
        if sized not in self.warm.bare:
            bare = self._alone(cell, call, (), bare=True)[1]
            if math.isinf(bare):  # there was no time left, as for who sleeps through the calls before it
                return math.inf
            self.warm.bare[sized] = bare
        peak = self.first_alike(cell, functools.partial(self._alone, cell, call), outcome, call.inputs)
        if math.isinf(peak):
            self.log.append(f"{place[0]}, {place[1]}: it comes to something else where its memory is measured")
        self.peaks[place] = peak - self.warm.bare[sized] + self.handed_in
        return self.peaks[place]

    def _alone(self, cell: int, call: Call, kept: Collection[int], *, bare: bool = False) -> tuple[Outcome, float]:
        """A call in a sandbox of its own after the ``kept`` cells: what it comes to, and the most that it holds."""
        exercise = self.cells[cell].exercise or ""
        limits = self.limits_of_measured(self.limits) if call.measure_memory else self.limits
        try:
            with self.fresh({*kept, cell}, [exercise], limits, 1.0) as (member,):
                member.bare = bare
                asked = Examination([member], member.specification, self.trusted, call.seconds, self.sealed_end)
                with contextlib.closing(asked):
                    return asked.alone(call)
        except Ended as error:
            self.log.append(f"measured alone: {error.log}")
            return Outcome(problem=error.why), math.inf

    def _leave_out(self, index: int, why: str) -> None:
        self.left_out[index] = why
        exercise = self.cells[index].exercise
        if exercise is not None:
            self._give_up(exercise, why)

    def _give_up(self, exercise: str, why: str) -> None:
        self.outcomes[exercise] = {call.key: Outcome(problem=why) for call in self.trusted.calls(exercise)}
        self.problems[exercise] = NOT_REACHED[why]
        self.log.append(f"{exercise}: its cell was not reached: {why}")

    def _keep(self, runs: list[CellRun]) -> None:
        if not self.runs:
            missing = len(self.cells) - len(runs)
            self.runs = [*runs, *(CellRun("notrun") for _ in range(missing))]

    def _note(self, why: RunStatus, log: str = "") -> None:
        if WORST.index(why) > WORST.index(self.status):
            self.status = why
        if log:
            self.log.append(log)


def _nothing_there(outcomes: Mapping[str, Outcome]) -> bool:
    """Whether what was asked is not written, or not defined: no other moment of the notebook mends that."""
    return bool(outcomes) and all(outcome.problem == "missing" for outcome in outcomes.values())


def _over_memory(outcomes: Mapping[str, Outcome]) -> bool:
    return any(outcome.problem == "memory" for outcome in outcomes.values())

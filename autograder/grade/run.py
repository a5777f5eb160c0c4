"""``mlsys grade``: find, run in parallel, record in turn, and take up what was interrupted."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nbformat

from mlsys_course.desk.check import Verdict
from mlsys_course.desk.receipt import check_student
from mlsys_course.substrate.errors import CourseProblem

from ..build.notebook import notebooks_of, render
from ..build.proven import why_unproven
from ..build.source import read_source
from ..course import SAMPLE, Course, CourseError, Lab
from ..feedback.grades import Grades, machine_grades
from ..machine import trouble
from ..sandbox import Limits, SandboxUnavailable
from ..term.claim import claim
from ..untrusted import spelt
from .changes import change, why_outdated
from .evidence import evidence
from .execute import use_session, with_results
from .gradebook import Entry
from .handed_in import HandedIn, Submission, submissions
from .record import Recorder, digest_of
from .repair import repair
from .report import write_report
from .session import Graded, Session, with_notes

NOT_GRADED = "not graded: "


@dataclass(frozen=True)
class Row:
    """One student's verdicts; none where something kept the submission from being graded, which is no zero."""

    student: str
    verdicts: Mapping[str, Verdict]
    problem: str = ""
    run: Mapping[str, Any] = field(default_factory=dict)  # seconds, CPU-seconds, peak of memory
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    earlier: str = ""  # "known": graded by an earlier run; "outdated": and the lab has changed since
    outdated: str = ""  # what of the lab has changed since
    change: str = ""  # against an earlier grade, and why
    same: bool = False  # graded again, to the same points
    counted: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # what each adds, to how many
    recorded: Grades | None = None  # what the gradebook has: lateness, a person's grades

    def __post_init__(self) -> None:
        if not self.counted:
            alike = {name: (verdict.score, verdict.max_score) for name, verdict in self.verdicts.items()}
            object.__setattr__(self, "counted", alike)

    @property
    def score(self) -> float:
        """By the machine alone, before lateness."""
        return sum(score for score, _ in self.counted.values())

    @property
    def grades(self) -> Grades:
        """What counts: the gradebook's word, or what was scored where it has none."""
        return self.recorded or machine_grades(self.student, self.counted)

    @property
    def graded(self) -> bool:
        """Whether there is a grade, be it for nothing."""
        return bool(self.verdicts)


@dataclass(frozen=True)
class Ran:
    """A submission that has run: all that is to be recorded."""

    handed: HandedIn
    row: Row
    entry: Entry
    notebook: str
    log: str


def solution_notebook(lab: Lab) -> nbformat.NotebookNode:
    """The lab's solution notebook in the term's variants."""
    cells = read_source(lab.source)
    render(lab.source, cells, lab.variants)
    return notebooks_of(lab, cells)[0]


def grade(
    course: Course,
    stem: str,
    submitted: Path,
    into: Path,
    *,
    jobs: int | None = None,
    unsafe: bool = False,
    device: str = "cpu",
    regrade: bool = False,
    ask_proof: bool = True,
    limits: Limits | None = None,
    session: Session | None = None,
    progress: Callable[[Row], None] = lambda row: None,
    started: Callable[[int, Session], None] = lambda count, session: None,
) -> list[Row]:
    """Grade every submission of a lab; rows in the students' order. One bad submission never stops the others.

    What an earlier run has graded is not run again, unless the submission has changed or ``regrade`` says so. A
    submission that changes meanwhile is graded as it is in the end. CourseError where ``regrade`` would follow a lab
    that has changed since and that nobody has proven. A ``session`` that was begun before is ended by who began it.
    """
    found = submissions(submitted, stem)
    claim(into, course.term.name)
    copy = (into.resolve() / "submitted") != submitted.resolve()
    jobs = jobs or os.cpu_count() or 1
    begin = functools.partial(Session, course, stem, unsafe=unsafe, device=device, jobs=jobs, limits=limits)
    with Recorder(into, stem) as recorder, begin() if session is None else contextlib.nullcontext(session) as session:
        use_session(session)
        recorder.follow(course.plan)
        recorder.recover()
        if regrade and ask_proof:
            _check_proven(course, stem, session, recorder)
        recorder.generate(solution_notebook(session.lab), session.folder)
        recorder.announce(course.plan)
        recorder.book.note(session.fingerprint)
        _ = session.engine  # which may not be had: then nothing was graded
        started(len(found), session)
        run = _GradingRun(session, recorder, copy, jobs)
        rows = {}
        for row in run.rows(found, again=regrade):
            progress(row)
            rows[row.student] = row
        rows |= {row.student: row for row in run.rows(run.newer(found))}
        grades = recorder.book.grades(stem)
        write_report(recorder.root, stem, recorder.book.entries(stem), list(session.candidates), grades)
    return [replace(row, recorded=grades.get(name) if row.graded else None) for name, row in sorted(rows.items())]


def _check_proven(course: Course, stem: str, session: Session, recorder: Recorder) -> None:
    """Grades that stand are not replaced by those of a lab that may be wrong."""
    outdated = any(entry.edition != session.identity for entry in recorder.book.entries(stem))
    if outdated and (why := why_unproven(course, stem)):
        option = "" if course.term.name == SAMPLE else f" --term {course.term.name}"
        raise CourseError(
            f"{stem} has changed since it was graded, and {why}: grading again would go by what nobody has checked; "
            f"call `mlsys build {stem}{option}` first, and then this again"
        )


@dataclass
class _GradingRun:
    """``jobs`` threads, each waiting for a sandbox; recording here, since the gradebook is one writer's."""

    session: Session
    recorder: Recorder
    copy: bool
    jobs: int
    seen: dict[str, str] = field(default_factory=dict)  # what was graded, by student

    def rows(self, found: Iterable[Submission], *, again: bool = False) -> Iterator[Row]:
        """Graded submissions as they come; few are held at a time, however many there are."""
        late: list[Submission] = []
        # One thread more than sandboxes: what is done before and after one is done while others run.
        with ThreadPoolExecutor(self.jobs + 1) as pool:
            waiting: dict[Future, Submission] = {}
            turn = iter(found)
            while True:
                while len(waiting) < 2 * self.jobs and (submission := next(turn, None)):
                    row, handed = self._taken(submission, again)
                    if row is not None:
                        yield row
                    else:
                        waiting[pool.submit(self._run, handed)] = submission
                if not waiting:
                    break
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    submission = waiting.pop(future)
                    row = self._recorded(submission, future.result, last=self.jobs == 1)
                    if row is None:
                        late.append(submission)
                    else:
                        yield row
        for submission in late:  # once more, with the machine to itself: a neighbour may have been the cause
            row = self._recorded(submission, functools.partial(self._run_again, submission), last=True)
            assert row is not None
            yield row

    def newer(self, found: Iterable[Submission]) -> list[Submission]:
        """Those that were handed in anew while others were graded."""
        return [s for s in found if self._differs(s)]

    def _differs(self, submission: Submission) -> bool:
        try:
            return submission.read().digest != self.seen.get(submission.student)
        except OSError:
            return False

    def _taken(self, submission: Submission, again: bool) -> tuple[Row | None, HandedIn]:
        """A row where there is nothing to run."""
        handed = HandedIn(submission.student)
        try:
            handed = submission.read()
            self.seen[submission.student] = handed.digest
            check_student(submission.student)
            entry = None if again else self.recorder.done(handed, unsafe=self.session.unsafe)
        except Exception as error:  # whatever it is, it stays this submission's
            return self._failed(submission, error), handed
        return (None if entry is None else self._row_of(entry)), handed

    def _failed(self, submission: Submission, error: Exception) -> Row:
        """No row of zeros: the next run takes it up again."""
        said = str(error) if isinstance(error, CourseProblem) else f"{type(error).__name__}: {error}"
        return Row(spelt(submission.student), {}, NOT_GRADED + (trouble(error) or said))

    def _row_of(self, entry: Entry) -> Row:
        names = [name for name in self.session.candidates if name in entry.scores]  # kept in another order
        told = {name: dict(entry.scores[name]) for name in [*names, *(entry.scores.keys() - names)]}
        counted = {name: tuple(one.pop("counted")) for name, one in told.items()}
        verdicts = {name: Verdict(name, **one) for name, one in told.items()}
        flags = entry.run.get("flags", {})
        outdated = self._outdated(entry)
        known = "outdated" if outdated else "known"
        return Row(entry.student, verdicts, entry.problem, entry.run, flags, known, outdated, counted=counted)

    def _outdated(self, entry: Entry | None) -> str:
        """What of the lab has changed since a grade, in words; empty where nothing has."""
        if entry is None or entry.edition == self.session.identity:
            return ""
        return why_outdated(self.recorder.book.fingerprint(entry.edition), self.session.fingerprint)

    def _run_again(self, submission: Submission) -> Ran:
        return self._run(submission.read())

    def _run(self, handed: HandedIn) -> Ran:
        session = self.session
        repaired = repair(handed.blob, session.released)
        if handed.problem:
            repaired.unreadable = handed.problem
        graded = session.grade(repaired.to_notebook(), handed.files, handed.student)
        if untimed := [why for why in handed.refused if why.startswith("timestamp.txt")]:
            graded = replace(graded, flags={**graded.flags, "time": untimed})
        verdicts = with_notes(graded.verdicts, repaired.notes)
        facts = {**_facts(graded), "unsafe": session.unsafe}
        # Rows are kept until the end of the run: what each case came to is not, it would be half a megabyte for each.
        kept = {name: replace(verdicts[name], results=()) for name in self.session.candidates}
        counted = session.counted(kept)
        row = Row(handed.student, kept, handed.problem, facts, flags=graded.flags, counted=counted)
        log = evidence(handed, graded.cells, graded.run, verdicts, edition=session.identity,
                       protections=session.protections, flags=graded.flags)  # fmt: skip
        notebook = nbformat.v4.writes(with_results(repaired.notebook, graded, verdicts, session)) + "\n"
        scores = {name: {**_told(v), "counted": counted[name]} for name, v in verdicts.items()}
        entry = Entry(session.lab.stem, handed.student, handed.digest, session.identity,
                      digest_of(notebook.encode()), scores, facts, handed.problem)  # fmt: skip
        return Ran(handed, row, entry, notebook, log)

    def _recorded(self, submission: Submission, result: Callable[[], Ran], *, last: bool) -> Row | None:
        """The row, recorded; None where a time-out, or what the machine lacked, is to be tried once more."""
        try:
            ran = result()
            if not last and any(verdict.status == "timeout" for verdict in ran.row.verdicts.values()):
                return None
            before = self.recorder.book.entry(self.recorder.stem, submission.student)
            outdated = self._outdated(before)
            staged = self.recorder.stage(ran.entry, ran.handed, ran.notebook, ran.log, copy=self.copy)
            self.recorder.commit(staged)
            self.recorder.publish(staged)
        except Exception as error:  # whatever it is, it stays this submission's
            if not last and (trouble(error) or isinstance(error, SandboxUnavailable)):
                return None
            return self._failed(submission, error)
        said = change(before, ran.entry, outdated)
        return replace(ran.row, change=said, same=before is not None and not said)


def _facts(graded: Graded) -> dict[str, Any]:
    run = graded.run
    return {
        "status": run.status,
        "seconds": round(run.wall_seconds, 3),
        "cpu_seconds": round(run.cpu_seconds, 3),
        "peak_mib": run.peak_memory_bytes >> 20,
        "flags": {name: list(why) for name, why in graded.flags.items()},
    }


def _told(verdict: Verdict) -> dict[str, Any]:
    return {
        "kind": verdict.kind,
        "status": verdict.status,
        "score": verdict.score,
        "max_score": verdict.max_score,
        "misconceptions": list(verdict.misconceptions),
        "hints": list(verdict.hints),
        "note": verdict.note,
    }

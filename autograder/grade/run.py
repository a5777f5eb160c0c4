"""``mlsys grade``: find, stage, run in parallel, record in turn, and write the table."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nbformat

from mlsys_course.check import Verdict
from mlsys_course.errors import CourseProblem

from ..build.notebook import notebooks_of, render
from ..build.source import read_source
from ..course import Course, Lab
from ..sandbox import Limits
from .execute import use_session
from .intake import Submission, read_files, stage, submissions
from .record import Recorder
from .repair import repair
from .session import UNSAFE, Session, with_notes

COLUMNS = ("student", "lab", "exercise", "score", "max_score", "status", "hint")


@dataclass(frozen=True)
class Row:
    """One student's verdicts, or what kept the submission from being recorded."""

    student: str
    verdicts: dict[str, Verdict]
    problem: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def score(self) -> float:
        return sum(verdict.score for verdict in self.verdicts.values())


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
    limits: Limits | None = None,
    progress: Callable[[Row], None] = lambda row: None,
    started: Callable[[int, Session], None] = lambda count, session: None,
) -> list[Row]:
    """Grade every submission of a lab; rows in the students' order. One bad submission never stops the others."""
    found = submissions(submitted, stem)
    staged = into.resolve() / "submitted"
    if staged == submitted.resolve():
        staged = into.resolve() / ".mlsys" / "submitted"
    with Session(course, stem, unsafe=unsafe, limits=limits) as session:
        use_session(session)
        with Recorder(into, stem, staged) as recorder:
            recorder.generate(solution_notebook(session.lab), session.folder)
            started(len(found), session)
            rows = []
            for row in _graded(session, recorder, found, staged, jobs or os.cpu_count() or 1):
                progress(row)
                rows.append(row)
    return sorted(rows, key=lambda row: row.student)


def _graded(
    session: Session, recorder: Recorder, found: Sequence[Submission], staged: Path, jobs: int
) -> Iterator[Row]:
    """Run in ``jobs`` threads, each waiting for a sandbox; record here, since the gradebook is one writer's."""
    late: list[Submission] = []
    with ThreadPoolExecutor(jobs) as pool:
        futures: dict[Future, Submission] = {pool.submit(_run, session, s): s for s in found}
        for future in as_completed(futures):
            row = _recorded(session, recorder, futures[future], staged, future.result)
            if jobs > 1 and any(verdict.status == "timeout" for verdict in row.verdicts.values()):
                late.append(futures[future])
            else:
                yield row
    for submission in late:  # once more, with the machine to itself: a neighbour may have been the cause
        yield _recorded(session, recorder, submission, staged, partial(_run, session, submission, again=True))


def _recorded(
    session: Session, recorder: Recorder, submission: Submission, staged: Path, result: Callable[[], Row]
) -> Row:
    try:
        row = result()
        stage(submission, staged, session.lab.stem)
        recorder.record(submission.student, row.verdicts)
    except Exception as error:  # whatever it is, it stays this submission's
        said = str(error) if isinstance(error, CourseProblem) else f"not graded: {type(error).__name__}: {error}"
        return Row(submission.student, _unrecorded(session, said), said)
    return row


def _run(session: Session, submission: Submission, *, again: bool = False) -> Row:
    repaired = repair(submission.blob, session.released)
    if submission.problem:
        repaired.unreadable = submission.problem
    graded = session.grade(repaired.to_notebook(), read_files(submission.folder), again=again)
    verdicts = with_notes(graded.verdicts, repaired.notes)
    run = graded.run
    return Row(submission.student, verdicts, submission.problem, run.wall_seconds, run.cpu_seconds)


def _unrecorded(session: Session, message: str) -> dict[str, Verdict]:
    specifications = session.scorer.specifications.items()
    return {n: Verdict(n, s.kind, "unreadable", 0.0, s.max_score, note=message) for n, s in specifications}


def write_csv(path: Path, stem: str, rows: Sequence[Row]) -> None:
    """One line for each student and graded exercise; open questions are graded by a person, in formgrader."""
    scratch = path.with_name(f".{path.name}.writing")
    with scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            for name, v in row.verdicts.items():
                hint = " ".join(v.hints) or ("" if v.ok else v.note)
                hint = f"{UNSAFE} {hint}".strip() if UNSAFE in v.note and UNSAFE not in hint else hint
                writer.writerow([row.student, stem, name, f"{v.score:g}", f"{v.max_score:g}", v.status, hint])
    scratch.replace(path)

"""Make the scratch course, grade it, show what came out and what to open next."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat

from ..course import Course, CourseError, load_course
from ..grade.record import Recorder
from ..grade.report import report_path, write_report
from ..grade.run import Row, grade, solution_notebook
from ..grade.sheet import write_csv
from ..grade.table import protections_line, results_table
from ..nbgrader_config import check_folder
from ..sandbox import Limits, probe
from ..screen import console, progress_bar
from .cohort import COHORT, Member, expected_status, hand_in

LAB = "lab02_attention"
MARKER = ".mlsys-demo"
QUICK = Limits(cell_seconds=4.0, memory_mib=2048)  # its infinite loop and its memory hog need not take long


def make_course(course: Course, folder: Path) -> list[Member]:
    """Write the cohort's submissions to ``folder/submitted``, as students hand them in; an older demo's go."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise CourseError(f"{folder} is not empty and no demo's; name another folder: mlsys demo FOLDER")
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
    shutil.rmtree(folder / "submitted", ignore_errors=True)  # all else stays: somebody may have graded by hand
    released = nbformat.read(course.built(LAB) / f"{LAB}.ipynb", as_version=4)
    solution = solution_notebook(course.lab(LAB))
    members = COHORT
    for member in members:
        place = folder / "submitted" / member.name / LAB
        place.mkdir(parents=True)
        (place / f"{LAB}.ipynb").write_bytes(hand_in(member, released, solution))
    return members


def run_demo(folder: Path, *, jobs: int | None = None) -> int:
    """The whole path; 0 when every submission came out as it must."""
    start = time.perf_counter()
    course = load_course(term="sample")
    unsafe = any(probe().values())
    if unsafe:
        lacking = "; ".join(f"{piece}: {what}" for piece, what in probe().items() if what)
        console.print(f"[bold red]NOT SEALED[/] on this machine ({lacking}). The demo's submissions are its own.")
    members = make_course(course, folder)
    console.print(f"{len(members)} students hand in {LAB} in {folder / 'submitted'}", highlight=False)
    with progress_bar() as bar:
        task = bar.add_task("grading", total=len(members))
        rows = grade(
            course,
            LAB,
            folder / "submitted",
            folder,
            jobs=jobs,
            unsafe=unsafe,
            limits=QUICK,
            regrade=True,
            ask_proof=False,
            started=lambda _, s: bar.console.print(protections_line(s), highlight=False),
            progress=lambda _: bar.advance(task),
        )
    write_csv(folder / "points.csv", LAB, rows)
    console.print(results_table(LAB, rows, {member.name: member.did for member in members}))
    with Recorder(folder, LAB) as recorder, progress_bar() as bar:
        pages = [recorder.feedback(row.student, course) for row in bar.track(rows, description="feedback")]
        grades = recorder.book.grades(LAB)
        write_report(folder, LAB, recorder.book.entries(LAB), list(rows[0].verdicts), grades)  # it links to the pages
    surprises = unexpected(members, rows)
    for line in surprises:
        console.print(f"[red]unexpected:[/] {line}", highlight=False)
    _what_next(folder, pages, time.perf_counter() - start)
    return 1 if surprises else 0


def unexpected(members: Sequence[Member], rows: Sequence[Row]) -> list[str]:
    """Where the table is not what each submission deserves."""
    by_name = {member.name: member for member in members}
    found = []
    for row in rows:
        for exercise, verdict in row.verdicts.items():
            expected = expected_status(by_name[row.student], exercise)
            full = verdict.score == verdict.max_score
            if verdict.status not in expected or full != (expected == ["ok"]):
                found.append(f"{row.student}, {exercise}: {verdict.status} {verdict.score:g}, expected {expected}")
    return found


def _what_next(folder: Path, pages: Sequence[Path], seconds: float) -> None:
    console.print(
        f"""
In {seconds:.0f} s: graded, recorded, fed back. Open next:
  {report_path(folder, LAB)}  everybody's points, logs and notebooks
  {pages[0]}  a page of feedback
  {folder / "points.csv"}  the table
  {folder / "gradebook.db"}  nbgrader's gradebook: cd {folder} && nbgrader autograde {LAB} --force
  labs/{LAB}/{LAB}.ipynb  the lab as a student gets it: jupyter lab labs/{LAB}""",
        highlight=False,
        soft_wrap=True,
    )

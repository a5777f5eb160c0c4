"""The staff's commands of ``mlsys``. Each is one call; what it does lives in the library."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .authoring import TermName, Unsafe, build, exercises, mutate, release
from .course import CourseError, load_course
from .machine import machine_trouble
from .nbgrader_config import GRADEBOOK, check_folder
from .screen import console, progress_bar
from .term_commands import app as term_app

STAFF = "Commands of staff"
Into = Annotated[Path | None, typer.Option(help="The course folder for gradebook.db, autograded/ and feedback/.")]


def add_commands(app: typer.Typer) -> None:
    """Join the students' program. What a command needs is imported when it is called: torch takes seconds."""
    for command, example in (
        (build, "mlsys build lab02 --check"),
        (mutate, "mlsys mutate lab02 attention"),
        (release, "mlsys release lab02"),
        (collect, "mlsys collect inbox --into submitted"),
        (grade, "mlsys grade lab02 --submitted submitted --csv points.csv"),
        (feedback, "mlsys feedback lab02 --into ."),
        (exercises, "mlsys exercises --json"),
        (demo, "mlsys demo"),
    ):
        app.command(epilog=f"Example: {example}", rich_help_panel=STAFF)(command)
    app.add_typer(term_app, name="term", rich_help_panel=STAFF)


def collect(
    folder: Annotated[Path | None, typer.Argument(help="Holds what students handed in, sorted or not.")] = None,
    into: Annotated[Path, typer.Option(help="Gets <student>/<lab>/, which `mlsys grade` reads.")] = Path("submitted"),
    receipt: Annotated[str | None, typer.Option(help="Find what was collected with this checksum.")] = None,
    by_folder: Annotated[
        bool, typer.Option("--by-folder", help="Where folder and receipt differ, FOLDER/<student>/ says whose it is.")
    ] = False,
    by_receipt: Annotated[
        bool, typer.Option("--by-receipt", help="Where folder and receipt differ, the receipt says whose it is.")
    ] = False,
    file_times: Annotated[
        bool, typer.Option("--file-times", help="The files' times count, not the receipts'.")
    ] = False,
) -> None:
    """Bring hand-ins to where grading reads them, and check each against its receipt. The last counts.

    Zips, tars, notebooks, folders and archives of them; earlier hand-ins are kept aside. What is not taken is named.
    """
    from .collect import collect as collect_all
    from .collect import find_receipt

    if receipt is None and folder is None:
        raise CourseError("name the folder that holds the hand-ins, or a checksum with --receipt")
    if by_folder and by_receipt:
        raise CourseError("either --by-folder or --by-receipt says whose a hand-in is")
    if receipt is not None:
        found = find_receipt(receipt, into)
    else:
        assert folder is not None
        with machine_trouble():
            found = collect_all(folder, into, by_folder=by_folder, by_receipt=by_receipt, file_times=file_times)
    taken = [row for row in found if row.checksum]
    table = Table("student", "lab", "checksum", "receipt", "time (UTC)", title=escape(f"collected to {into}"))
    for row in taken:
        mark = "[green]ok[/]" if row.receipt == "ok" else f"[red]{row.receipt}[/]"
        table.add_row(row.student, row.lab, row.checksum[:8], mark, row.time[:19])
    if taken:
        console.print(table)
    for row in found:
        if row.remark:
            console.print(f"[yellow]{escape(row.file)}:[/] {escape(row.remark)}", highlight=False, soft_wrap=True)
    stray = sum(row.stray for row in found)
    left = len(found) - len(taken) - stray
    said = f", {left} not: see above" if left else ""
    said += f", {stray} left aside" if stray else ""
    console.print(
        f"{len(taken)} collected{said}; next: mlsys grade LAB --submitted {into}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    raise typer.Exit(0 if taken and not left else 1)


def grade(
    lab: Annotated[str, typer.Argument(metavar="LAB")],
    submitted: Annotated[Path, typer.Option(help="Holds <student>/<lab>/<lab>.ipynb.")] = Path("submitted"),
    into: Into = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table here.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Submissions at a time; default: the cores.")] = None,
    regrade: Annotated[bool, typer.Option("--regrade", help="All again, and say what changed and why.")] = False,
    device: Annotated[str, typer.Option(help="cpu, or cuda: candidates run on the GPU.")] = "cpu",
    term: TermName = None,
    unsafe: Unsafe = False,
) -> None:
    """Grade submissions in the sandbox, into nbgrader's gradebook. Stopped at any moment, it goes on when called again.

    What is graded stays so, unless the submission changes or --regrade says so.
    """
    course = load_course(term=term)
    stem = course.stem(lab)
    check_folder(into or submitted.resolve().parent)
    from .grade.handed_in import submissions
    from .grade.session import Session

    submissions(submitted, stem)  # what is not there is said before anything starts
    with (
        machine_trouble(),
        Session(course, stem, unsafe=unsafe, device=device, jobs=jobs or os.cpu_count()) as session,
        progress_bar() as bar,
    ):
        from .grade.run import grade as grade_lab  # with it nbgrader, which takes as long as the sandbox's start
        from .grade.sheet import write_csv
        from .grade.table import closing_lines, protections_line, results_table

        task = bar.add_task(f"grading {stem}", total=None)

        def started(count: int, session) -> None:
            bar.update(task, total=count)
            bar.console.print(protections_line(session), highlight=False)

        rows = grade_lab(
            course,
            stem,
            submitted,
            into or submitted.resolve().parent,
            jobs=jobs,
            regrade=regrade,
            session=session,
            started=started,
            progress=lambda row: bar.advance(task),
        )
    console.print(results_table(stem, rows))
    if csv:
        with machine_trouble():
            write_csv(csv, stem, rows)
        console.print(f"written: {csv}", highlight=False)
    for line in closing_lines(rows, into or submitted.resolve().parent):
        console.print(line, highlight=False)
    problems = [row for row in rows if row.problem]
    raise typer.Exit(1 if problems else 0)


def feedback(
    lab: Annotated[str, typer.Argument(metavar="LAB")],
    into: Annotated[Path, typer.Option(help="The course folder that `mlsys grade` wrote.")] = Path("."),
    term: TermName = None,
) -> None:
    """Write a page for each student where nbgrader releases feedback from; what says so already is left alone."""
    course = load_course(term=term)
    stem = course.stem(lab)
    check_folder(into)
    if not (into / GRADEBOOK).is_file():
        raise CourseError(f"no gradebook.db in {into.resolve()}; grade first, or name the folder with --into")
    from .feedback import write_pages
    from .grade.record import Recorder

    with machine_trouble(), Recorder(into, stem) as recorder, progress_bar() as bar:
        students = recorder.students()
        if not students:
            raise CourseError(f"no graded submission of {stem} in {into.resolve() / 'gradebook.db'}; grade first")
        recorder.follow(course.plan)
        recorder.announce(course.plan)
        problems = write_pages(recorder, course, bar.track(students, description=f"feedback on {stem}"))
    console.print(f"{len(students) - len(problems)} pages in {into.resolve() / 'feedback'}", highlight=False)
    for student, problem in problems.items():
        console.print(f"[yellow]{escape(student)}:[/] {escape(problem)}", highlight=False)
    console.print(f"hand them out with `nbgrader release_feedback {stem}`, or send the files", highlight=False)
    raise typer.Exit(1 if problems else 0)


def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put the scratch course.")] = Path("demo-course"),
    jobs: Annotated[int | None, typer.Option(min=1, help="Submissions at a time; default: the cores.")] = None,
) -> None:
    """A scratch course: a cohort of submissions, good, broken and hostile, graded while you watch."""
    from .demo import run_demo

    with machine_trouble():
        code = run_demo(folder, jobs=jobs)
    raise typer.Exit(code)

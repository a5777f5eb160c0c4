"""The staff's commands of ``mlsys``. Each is one call; what it does lives in the library."""

import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from .course import CourseError, load_course, new_secret

WIDE = 150  # columns where the output is no terminal, such as CI's log
console = Console(width=None if sys.stdout.isatty() else WIDE)
term_app = typer.Typer(
    help="Terms: fresh secrets, and with them fresh variants and sealed cases.", no_args_is_help=True
)
Unsafe = Annotated[bool, typer.Option("--unsafe", help="Go on without the sandbox where the system has none.")]
TermName = Annotated[str | None, typer.Option(help="The term; default: the one in course.toml.")]
Into = Annotated[Path | None, typer.Option(help="The course folder for gradebook.db, autograded/ and feedback/.")]


def add_commands(app: typer.Typer) -> None:
    """Join the students' program. What a command needs is imported when it is called: torch takes seconds."""
    for command, example in (
        (build, "mlsys build lab02 --check"),
        (grade, "mlsys grade lab02 --submitted submitted --csv grades.csv"),
        (feedback, "mlsys feedback lab02 --into ."),
        (exercises, "mlsys exercises --json"),
        (demo, "mlsys demo"),
    ):
        app.command(epilog=f"Example: {example}")(command)
    app.add_typer(term_app, name="term")


def build(
    labs: Annotated[
        list[str] | None, typer.Argument(help="Labs such as lab02; default: all.", metavar="[LAB]...")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail on a stale or unproven lab.")] = False,
    term: TermName = None,
    unsafe: Unsafe = False,
) -> None:
    """Build student editions from solutions/, and prove that each lab works."""
    course = load_course(term=term)
    stems = [course.stem(name) for name in labs or course.stems()]
    from .build.pipeline import build as build_lab
    from .build.pipeline import prove_built, proven, stale

    good = True
    for lab in map(course.lab, stems):
        committed = course.built(lab.stem)
        with tempfile.TemporaryDirectory(prefix="mlsys-build-") as scratch:
            built = build_lab(lab, Path(scratch) / lab.stem if check else committed)
            with console.status(f"proving {lab.stem}"):
                lines = list(prove_built(course, built, unsafe=unsafe))
            differences = stale(built.folder, committed) if check else []
        console.print(_proof_table(lab.stem, lines))
        for difference in differences:
            console.print(f"[red]stale:[/] {committed / difference}; call `mlsys build {lab.stem}`", highlight=False)
        good = good and proven(lines) and not differences
    raise typer.Exit(0 if good else 1)


def _proof_table(stem: str, lines: list) -> Table:
    table = Table("what", "", "proved", "what is wrong", title=stem)
    for line in lines:
        mark = "[green]✓[/]" if line.ok else "[red]✗[/]"
        table.add_row(line.subject, mark, line.proved, line.detail)
    return table


def grade(
    lab: Annotated[str, typer.Argument(metavar="LAB")],
    submitted: Annotated[Path, typer.Option(help="Holds <student>/<lab>/<lab>.ipynb.")],
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
    from .grade.run import grade as grade_lab
    from .grade.run import write_csv

    with progress_bar() as bar:
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
            unsafe=unsafe,
            device=device,
            regrade=regrade,
            started=started,
            progress=lambda row: bar.advance(task),
        )
    console.print(results_table(stem, rows))
    if csv:
        write_csv(csv, stem, rows)
        console.print(f"written: {csv}", highlight=False)
    for line in closing_lines(rows, into or submitted.resolve().parent):
        console.print(line, highlight=False)
    problems = [row for row in rows if row.problem]
    raise typer.Exit(1 if problems else 0)


def progress_bar() -> Progress:
    """The one progress bar of the staff's commands."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


def protections_line(session) -> str:
    """Which protections of the sandbox are active, in one line."""
    line = session.protections
    return f"[red]{line}[/]" if session.unsafe else line


def closing_lines(rows: list, into: Path) -> Iterator[str]:
    """What a person should know beside the table: problems, changes, flags, what was done before."""
    for row in rows:
        if row.problem:
            yield f"[yellow]{row.student}:[/] {escape(row.problem)}"
        if row.change:
            yield f"[yellow]{row.student} changed:[/] {escape(row.change)}"
        if row.late_seconds > 0:
            yield f"[yellow]{row.student}:[/] late by {timedelta(seconds=round(row.late_seconds))}"
        for name, reasons in row.flags.items():
            yield f"[yellow]{row.student}, {name}: for a person to look at:[/] {escape('; '.join(reasons))}"
    if known := sum(bool(row.earlier) for row in rows):
        yield f"{known} of {len(rows)} were graded before, and neither ran nor changed"
    if outdated := sum(row.earlier == "outdated" for row in rows):
        yield f"[yellow]{outdated} of them before the lab changed:[/] --regrade grades them again and says what changes"
    yield f"everybody's points, logs and notebooks: {into / 'report'}"


def results_table(stem: str, rows: list) -> Table:
    """Students by exercises: points, and what is not all right with its status and hint."""
    names = list(rows[0].verdicts) if rows else []
    legend = ", ".join(f"{number} {name}" for number, name in enumerate(names, 1))
    table = Table("student", *(str(n) for n in range(1, len(names) + 1)), "total", "status and hint", title=stem)
    table.caption = legend
    for row in rows:
        verdicts = row.verdicts.values()
        colours = ["green" if v.ok else "yellow" if v.score else "red" for v in verdicts]
        cells = [f"[{c}]{v.score:g}[/]" for c, v in zip(colours, verdicts, strict=True)]
        total = f"{row.score:g}/{sum(v.max_score for v in verdicts):g}"
        table.add_row(row.student, *cells, total, "\n".join(remarks(row.verdicts.values())))
    return table


def remarks(verdicts) -> list[str]:
    """What is not all right, exercises of one kind of trouble together, with the first hint or note."""
    from .grade.session import UNSAFE

    groups: dict[tuple[str, str], list[str]] = {}
    for v in verdicts:
        words = (v.hints[0] if v.hints else v.note.replace(UNSAFE, "").strip()) if not v.ok or v.note else ""
        if not v.ok or (words and v.kind != "choice"):
            groups.setdefault((v.status, words), []).append(v.exercise)
    everything = len(verdicts)
    return [
        f"{'all' if len(names) == everything else ', '.join(names)}: {status}{'. ' if words else ''}{words}"
        for (status, words), names in groups.items()
    ]


def feedback(
    lab: Annotated[str, typer.Argument(metavar="LAB")],
    into: Annotated[Path, typer.Option(help="The course folder that `mlsys grade` wrote.")] = Path("."),
    term: TermName = None,
) -> None:
    """Write nbgrader's feedback, one HTML page a student."""
    stem = load_course(term=term).stem(lab)
    if not (into / "gradebook.db").is_file():
        raise CourseError(f"no gradebook.db in {into.resolve()}; grade first, or name the folder with --into")
    from .grade.record import Recorder

    with Recorder(into, stem) as recorder, progress_bar() as bar:
        students = recorder.students()
        if not students:
            raise CourseError(f"no graded submission of {stem} in {into.resolve() / 'gradebook.db'}; grade first")
        for student in bar.track(students, description=f"feedback on {stem}"):
            recorder.feedback(student)
    console.print(f"{len(students)} pages in {into.resolve() / 'feedback'}", highlight=False)


def exercises(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    term: TermName = None,
) -> None:
    """Every exercise of every lab: kind, points, component, cases, misconceptions, evidence."""
    from .catalogue import catalogue

    rows = catalogue(load_course(term=term))
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("lab", "exercise", "kind", "points", "public", "sealed", "misconceptions", "evidence")
    for r in rows:
        counts = (str(r["public_cases"]), str(r["sealed_cases"]), str(len(r["misconceptions"])))
        table.add_row(r["lab"], r["id"], r["kind"], f"{r['points']:g}", *counts, ", ".join(r["evidence"]))
    console.print(table)


def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put the scratch course.")] = Path("demo-course"),
    jobs: Annotated[int | None, typer.Option(min=1, help="Submissions at a time; default: the cores.")] = None,
) -> None:
    """A scratch course: a cohort of submissions, good, broken and hostile, graded while you watch."""
    from .demo import run_demo

    raise typer.Exit(run_demo(folder, jobs=jobs))


@term_app.command("new", epilog="Example: mlsys term new 2027-spring")
def term_new(name: Annotated[str, typer.Argument(help="Such as 2027-spring.")]) -> None:
    """Make a term's secret, outside the repository; build it with `mlsys build --term NAME`."""
    path = new_secret(name)
    console.print(f"secret of {name}: {path}\nKeep a copy: regrading this term needs it.", highlight=False)

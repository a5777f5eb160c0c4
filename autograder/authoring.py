"""What authors of labs call: ``mlsys build``, ``mlsys mutate``, ``mlsys release``, ``mlsys exercises``."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from mlsys_course.desk.files import write_whole

from .course import SAMPLE, Course, Lab, load_course
from .errors import CourseError
from .screen import console

if TYPE_CHECKING:
    from .build.proof import Line

ENOUGH_CAUGHT = 0.95  # of the mutants of any exercise
SAMPLED = 8  # mutants of each exercise that ``mlsys build --check`` tries, always the same
TABLE = "Of every exercise, for the sample term's draws; written by `mlsys mutate --into docs/mutants.md`."
Unsafe = Annotated[bool, typer.Option("--unsafe", help="Go on without the sandbox where the system has none.")]
TermName = Annotated[str | None, typer.Option(help="The term; default: the one in course.toml.")]


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
    from .build.pipeline import build_and_prove

    proven, wrong = [], []
    for stem in stems:
        with console.status(f"building and proving {stem}"):
            made = build_and_prove(course, stem, check=check, unsafe=unsafe)
            lines = mutant_lines(made.lab, SAMPLED if check else None) if made.good else []
        console.print(_proof_table(stem, [*made.lines, *lines]))
        for difference in made.differences:
            console.print(f"[red]stale:[/] {made.place / difference}; call `mlsys build {stem}`", highlight=False)
        (proven if made.good else wrong).append(stem)
    console.print(closing_line(course, proven, wrong, check=check), highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(1 if wrong else 0)


def closing_line(course: Course, proven: Sequence[str], wrong: Sequence[str], *, check: bool) -> str:
    """What was proven, and what comes next."""
    option = "" if course.plan.term == course.term.name else f" --term {course.term.name}"
    done = f"proven{' and up to date' if check else ''}: {', '.join(proven) or 'nothing'}"
    if wrong:
        labs = " ".join(wrong)
        return f"{done}; not: {', '.join(wrong)}; next: mend what is said above, and mlsys build {labs}{option}"
    return f"{done}; next: mlsys release {' '.join(proven)}{option}"


def mutant_lines(lab: Lab, most: int | None) -> "list[Line]":
    """For the table of a build, which they do not stop: how many mutants of each exercise its sealed cases catch."""
    from .build.proof import Line

    try:
        from .mutate import scores
    except ModuleNotFoundError as error:
        return [Line("mutants", f"not tried, since {error.name} is missing", ok=True)]
    lines = []
    for found in scores(lab, most=most):
        proved = f"{found.caught:.0%} of {found.tried} mutants caught"
        enough = found.caught >= ENOUGH_CAUGHT or (most is not None and len(found.survivors) <= 1)
        few = "" if enough else f"too few: mlsys mutate {lab.stem} {found.exercise}"
        lines.append(Line(f"{found.exercise}: mutants", proved, ok=True, detail=few))
    return lines


def _proof_table(stem: str, lines: Sequence) -> Table:
    table = Table("what", "", "proved", "what is wrong", title=stem)
    for line in lines:
        mark = "[green]✓[/]" if line.ok else "[red]✗[/]"
        table.add_row(line.subject, mark, line.proved, line.detail)
    return table


def release(
    labs: Annotated[list[str], typer.Argument(help="Labs such as lab02.", metavar="LAB...")],
    into: Annotated[Path | None, typer.Option(help="Where to; default: dist/TERM/releases.")] = None,
    unpacked: Annotated[
        bool, typer.Option("--unpacked", help="The folder itself, for nbgitpuller or nbgrader's exchange.")
    ] = False,
    term: TermName = None,
) -> None:
    """Write the zip that students get of a lab. What is stale or unproven is refused; so is what would give an answer.

    Its number goes up when its content differs from the last release there.
    """
    course = load_course(term=term)
    stems = [course.stem(name) for name in labs]
    from .release import release as release_lab

    folder = into or course.root / "dist" / course.term.name / "releases"
    for stem in stems:
        made = release_lab(course, stem, folder, unpacked=unpacked)
        state = "" if made.changed else " (as it was: nothing has changed)"
        console.print(f"{stem}, release {made.number}{state}: {made.path}", highlight=False, soft_wrap=True)
        if course.term.name == SAMPLE:
            console.print("[yellow]the sample term's draws are public:[/] for a real one, `mlsys term new NAME`")


def mutate(
    lab: Annotated[str | None, typer.Argument(help="A lab such as lab02; default: all.", metavar="[LAB]")] = None,
    exercise: Annotated[str | None, typer.Argument(help="One exercise of it.", metavar="[EXERCISE]")] = None,
    most: Annotated[
        int | None, typer.Option(min=1, help="Only so many of an exercise, drawn with a fixed seed.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Mutants at a time; default: the cores.")] = None,
    into: Annotated[Path | None, typer.Option(help="Write the table there too, as Markdown.")] = None,
    term: TermName = None,
) -> None:
    """Wrong versions of each solution, made by machine, against the sealed cases: which slip past, as diffs."""
    try:
        from .mutate import scores
    except ModuleNotFoundError as error:
        raise CourseError(f'{error.name} is missing; pip install -c constraints.txt -e ".[dev]"') from None

    course = load_course(term=term)
    table = Table("lab", "exercise", "mutants", "caught", "equivalent", title="mutants")
    rows, fewest = [], 1.0
    for stem in [course.stem(lab)] if lab else course.stems():
        with Progress(*Progress.get_default_columns(), console=console, transient=True) as progress:
            bar = progress.add_task(f"mutants of {stem}")
            for found in scores(
                course.lab(stem), exercise, most=most, jobs=jobs, progress=partial(progress.update, bar)
            ):
                for mutant in found.survivors:
                    console.print(f"{stem}, {found.exercise}\n{mutant.diff}\n", highlight=False, markup=False)
                excused = f"{found.equivalent}{', too many' if found.too_many_equivalent else ''}"
                rows.append((stem, found.exercise, str(found.tried), f"{found.caught:.1%}", excused))
                table.add_row(*rows[-1])
                fewest = min(fewest, found.caught)
    console.print(table)
    if into:
        heads = [str(column.header) for column in table.columns]
        lines = [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]
        write_whole(into, "\n".join(["# Mutants caught by the sealed cases\n", f"{TABLE}\n", *lines, ""]))
    raise typer.Exit(1 if fewest < ENOUGH_CAUGHT else 0)


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

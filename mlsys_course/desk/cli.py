"""The command ``mlsys``: the student's commands, and the staff's where ``autograder`` is installed."""

import errno
import logging
import sys
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from ..substrate.errors import CourseProblem
from .plan_command import EXAMPLE, plan
from .screen import PlainConsole

if TYPE_CHECKING:
    from .workbook import Ran

app = typer.Typer(
    help="A workbook course on machine-learning systems.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
console = PlainConsole()
LabName = Annotated[str, typer.Argument(help="A lab: lab02 or lab02_attention.", metavar="LAB")]
LabOrHere = Annotated[str, typer.Argument(help="A lab; default: the one whose folder this is.", metavar="[LAB]")]
Source = Annotated[str | None, typer.Option("--from", help="A zip, a folder or an address; default: the newest here.")]
Install = Annotated[bool, typer.Option(help="Install the lab's mlsys_course where this environment lacks it.")]
Seconds = Annotated[int, typer.Option(min=1, help="A cell may take so long before it is stopped.")]
COLOURS = {"ok": "green", "missing": "yellow", "not run": "yellow", "optional": "cyan"}


@app.command(epilog="Example: mlsys start lab02 --from ~/Downloads/lab02_attention-2027-spring-r1.zip")
def start(
    lab: LabName,
    source: Source = None,
    open_it: Annotated[bool, typer.Option("--open/--no-open", help="Open JupyterLab.")] = True,
    install: Install = True,
) -> None:
    """Unpack a lab, check this environment, and open the notebook. What is there already is never written over."""
    from .start import open_lab
    from .start import start as start_lab
    from .workspace import find_workspace

    started = start_lab(lab, find_workspace(), source, install=install)
    say(started.lines)
    if open_it:
        raise typer.Exit(open_lab(started.folder))


@app.command(epilog="Example: mlsys check lab02")
def check(
    lab: LabOrHere = ".",
    experiments: Annotated[bool, typer.Option(help="Run the experiments too; they take longer.")] = False,
    seconds: Seconds = 30,
) -> None:
    """Run your notebook from the top in a clean process, and show your points on the public cases."""
    from .workbook import find_lab

    folder = find_lab(lab)
    ran = run_with_progress(folder, experiments=experiments, seconds=seconds)
    console.print(check_table(folder, ran))
    say(ran.sentences)
    say(ran.outside)
    say(f"{part}: {whose}" for part, whose in sorted(ran.parts.items()))
    say([check_total(folder, ran), "Sealed cases and open questions are graded after you hand in."])
    raise typer.Exit(0 if all(row.status == "ok" for row in ran.found) else 1)


def run_with_progress(folder: Path, *, experiments: bool = False, seconds: int = 30) -> "Ran":
    """A clean run of the notebook, shown cell by cell, and remembered for ``mlsys progress``."""
    from .points import counted_at
    from .progress import remember
    from .workbook import run_notebook
    from .workspace import Workspace

    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # nbclient leaves a task behind where a cell is stopped
    with console.status(f"running {folder.name} from the top") as status:
        ran = run_notebook(
            folder,
            experiments=experiments,
            seconds=seconds,
            progress=lambda i, n: status.update(f"running {folder.name}: cell {i + 1} of {n}"),
        )
    if not ran.not_run:  # else it is no result to remember
        remember(Workspace(folder.parent), folder, counted_at(folder, ran.points))
    return ran


def check_table(folder: Path, ran: "Ran") -> Table:
    """Points by exercise on public cases, with hints."""
    table = Table("exercise", "points", "result", "hint", title=f"{folder.name}, public cases")
    for row in ran.found:
        colour = COLOURS.get(row.status, "red")
        told = not row.recorded and row not in ran.not_run
        points = f"{format(row.score, 'g') if told else '-'} / {row.max_score:g}"
        said = "recorded" if row.recorded else row.status
        table.add_row(row.exercise, points, f"[{colour}]{said}[/]", escape(row.advice))
    return table


def check_total(folder: Path, ran: "Ran") -> str:
    """What passes of what a machine judges, and how many answers wait for the grade."""
    from .points import counted_at, total

    came = [row for row in ran.found if row not in ran.not_run]
    if not came and ran.not_run:
        return f"No result: none of the {len(ran.not_run)} exercises was run."
    judged = [row for row in came if not row.recorded]
    passed, recorded = sum(row.status == "ok" for row in judged), len(came) - len(judged)
    aside = f"; {recorded} recorded, whose points come with the grade" if recorded else ""
    aside += f"; {len(ran.not_run)} not run, so without a result" if ran.not_run else ""
    return f"On public cases {passed} of {len(judged)} pass: {total(counted_at(folder, ran.points))}{aside}."


@app.command(epilog="Example: mlsys carry lab02")
def carry(
    lab: LabOrHere = ".",
    workspace: Annotated[Path | None, typer.Option(help="Where my_mlsys/ is; default: beside the lab.")] = None,
) -> None:
    """Keep your functions that pass, for later labs: writes my_mlsys/ in your workspace."""
    from .carry import carry as carry_lab
    from .workbook import find_lab

    folder = find_lab(lab)
    workspace = (workspace or folder.parent).resolve()
    with console.status(f"running {folder.name} and checking what passes"):
        became = carry_lab(folder, workspace)
    say(f"{exercise}: {what}" for exercise, what in became.items())
    carried = sum(what.startswith("carried") for what in became.values())
    say([f"{carried} of {len(became)} carried to {workspace / 'my_mlsys'}."])
    raise typer.Exit(0 if carried else 1)


@app.command(epilog="Example: mlsys submit lab02 --student ada")
def submit(
    lab: LabOrHere = ".",
    student: Annotated[str | None, typer.Option(help="Your id at the university; remembered.")] = None,
    into: Annotated[Path | None, typer.Option(help="Where the zip goes; default: beside the lab.")] = None,
    run: Annotated[bool, typer.Option(help="Run the notebook first, as `mlsys check` does.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Pack nothing where something would lose points.")] = False,
    seconds: Seconds = 30,
) -> None:
    """Look for what would lose points, pack the notebook and my_mlsys/, and print a receipt."""
    from .submit import earlier_receipt, prepare, who
    from .submit import submit as pack
    from .workbook import find_lab
    from .workspace import Workspace

    folder = find_lab(lab)
    workspace = Workspace(folder.parent)
    student = who(workspace, student, ask_name)  # first: a name that is none should not cost a minute
    hand_in = prepare(folder, workspace, run_with_progress(folder, seconds=seconds) if run else None)
    for warning in hand_in.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False)
    if strict and hand_in.warnings:
        console.print(f"{len(hand_in.warnings)} warnings, so nothing was packed; without --strict it is.")
        raise typer.Exit(1)
    if earlier := earlier_receipt(hand_in, workspace, student):
        say([f"Nothing has changed since the receipt of {earlier.time}; this is the same one."])
    receipt, path = pack(hand_in, workspace, student, into)
    say(receipt.lines())
    say([f"Hand in this file: {path}"])


def at_terminal() -> bool:
    """Whether somebody can answer."""
    return sys.stdin.isatty()


def ask_name() -> str:
    """Who sits at the terminal; empty where nobody does, as in a notebook's cell."""
    if not at_terminal():
        return ""
    return typer.prompt("Your id at the university, once (it is remembered)")


@app.command(epilog="Example: mlsys update lab02")
def update(lab: LabOrHere = ".", source: Source = None, install: Install = True) -> None:
    """Bring a corrected release into a lab that you are working on. Your cells stay; a copy of everything is kept."""
    from .update import update as update_lab
    from .workbook import find_lab
    from .workspace import Workspace

    folder = find_lab(lab)
    say(update_lab(folder, Workspace(folder.parent), source, install=install).lines)


@app.command(epilog="Example: mlsys progress")
def progress() -> None:
    """How far you are: due dates, points, what was carried and handed in, and what to do next."""
    from .progress import no_lab
    from .progress import progress as look
    from .workspace import find_workspace

    found = look(find_workspace())
    if not found.rows:
        say([no_lab(find_workspace())])
        raise typer.Exit(1)
    console.print(found.table(console.width))
    say(found.notes)


app.command(epilog=EXAMPLE)(plan)


@app.command(epilog="Example: mlsys doctor")
def doctor(
    mend: Annotated[bool, typer.Option("--mend", help="Mend what can be mended; nothing is deleted.")] = False,
) -> None:
    """Look at this machine: what is there, what is missing, what to do."""
    from .doctor import findings

    found = list(findings())
    for point in entry_points(group="mlsys.doctor"):
        found += list(point.load()())
    left, table = [], Table("what", "", "found", "what to do")
    for finding in found:
        if mend and finding.mend:
            finding = replace(finding, state="ok", remedy=finding.mend(), mend=None)
        left.append(finding)
        state = f"[{COLOURS[finding.state]}]{finding.state}[/]"
        table.add_row(escape(finding.what), state, escape(finding.detail), escape(finding.remedy))
    console.print(table)
    raise typer.Exit(1 if any(finding.state == "missing" for finding in left) else 0)


def say(lines: Iterable[str]) -> None:
    """Lines of plain text: a path in them is not cut, and a bracket is no markup."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """The console script. An error that names what to do is shown as one line, everything else as it is."""
    for point in entry_points(group="mlsys.commands"):
        point.load()(app)
    try:
        app()
    except CourseProblem as error:
        PlainConsole(stderr=True).print(f"[red]mlsys:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = f" ({error.filename})" if error.filename else ""
        said = escape(f"the disk is full{place}: free space, and call this again")
        PlainConsole(stderr=True).print(f"[red]mlsys:[/] {said}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        from .environment import PACKAGES

        if error.name not in PACKAGES:
            raise
        remedy = "pip install -r requirements.txt in the lab's folder; mlsys doctor looks at the rest"
        PlainConsole(stderr=True).print(f"[red]mlsys:[/] {error.name} is not installed here; {remedy}", soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()

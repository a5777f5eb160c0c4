"""The command ``mlsys``: the student's commands, and the staff's where ``autograder`` is installed."""

import sys
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from .errors import CourseProblem

app = typer.Typer(
    help="A workbook course on machine-learning systems.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
console = Console()
LabName = Annotated[str, typer.Argument(help="A lab: lab02 or lab02_attention.", metavar="LAB")]
COLOURS = {"ok": "green", "missing": "yellow", "optional": "cyan"}


@app.command(epilog="Example: mlsys check lab02")
def check(
    lab: LabName,
    experiments: Annotated[bool, typer.Option(help="Run the experiments too; they take longer.")] = False,
) -> None:
    """Run your notebook from the top in a clean process, and show your points on the public cases."""
    from .workbook import find_lab, run_checks

    folder = find_lab(lab)
    with console.status(f"running {folder.name} from the top") as status:
        found = run_checks(
            folder,
            experiments=experiments,
            progress=lambda i, n: status.update(f"running {folder.name}: cell {i + 1} of {n}"),
        )
    table = Table("exercise", "points", "result", "hint", title=f"{folder.name}, public cases")
    for row in found:
        colour = COLOURS.get(row.status, "red")
        points = f"{row.score:g} / {row.max_score:g}"
        said = row.status if row.max_score == 0 or row.score or row.status != "ok" else "recorded"
        table.add_row(row.exercise, points, f"[{colour}]{said}[/]", " ".join(row.hints))
    console.print(table)
    passed = sum(row.status == "ok" for row in found)
    console.print(f"{passed} of {len(found)} pass. Sealed cases and open questions are graded after you hand in.")
    raise typer.Exit(0 if passed == len(found) else 1)


@app.command(epilog="Example: mlsys carry lab02")
def carry(
    lab: LabName,
    workspace: Annotated[Path | None, typer.Option(help="Where my_mlsys/ is; default: beside the lab.")] = None,
) -> None:
    """Keep your functions that pass, for later labs: writes my_mlsys/ in your workspace."""
    from .carry import carry as carry_lab
    from .workbook import find_lab

    folder = find_lab(lab)
    workspace = (workspace or folder.parent).resolve()
    with console.status(f"running {folder.name} and checking what passes"):
        became = carry_lab(folder, workspace)
    for exercise, what in became.items():
        console.print(f"{exercise}: {what}", highlight=False)
    carried = sum(what.startswith("carried") for what in became.values())
    console.print(f"{carried} of {len(became)} carried to {workspace / 'my_mlsys'}.", highlight=False)
    raise typer.Exit(0 if carried else 1)


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
        table.add_row(finding.what, f"[{COLOURS[finding.state]}]{finding.state}[/]", finding.detail, finding.remedy)
    console.print(table)
    raise typer.Exit(1 if any(finding.state == "missing" for finding in left) else 0)


def main() -> None:
    """The console script. An error that names what to do is shown as one line, everything else as it is."""
    for point in entry_points(group="mlsys.commands"):
        point.load()(app)
    try:
        app()
    except CourseProblem as error:
        Console(stderr=True).print(f"[red]mlsys:[/] {error}", highlight=False)
        sys.exit(2)


if __name__ == "__main__":
    main()

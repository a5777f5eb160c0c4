"""``mlsys term ...``: the change of term, and the safe keeping of secrets."""

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .nbgrader_config import check_folder
from .screen import console

app = typer.Typer(help="Terms: fresh secrets, and with them fresh variants and sealed cases.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A term, such as 2027-spring.")]
File = Annotated[Path, typer.Argument(help="The copy; keep it where only staff can read it.", metavar="FILE")]


@app.command(epilog="Example: mlsys term new 2027-spring --starts 2027-01-18")
def new(
    name: Name,
    starts: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Its first day; default: half a year later.")
    ] = None,
    gradebook: Annotated[
        list[Path] | None, typer.Option(help="The last term's gradebook, where it is not in the course's folder.")
    ] = None,
) -> None:
    """Begin a term: a fresh secret outside the repository, dates shifted, the last term archived."""
    from .course import find_root
    from .term.renewal import renew
    from .term.syllabus import read_plan

    root = find_root()
    for folder in (root, *(path if path.is_dir() else path.parent for path in gradebook or ())):
        check_folder(folder)
    old = read_plan(root / "course.toml")
    made = renew(root, name, starts.date() if starts else None, tuple(gradebook or ()))
    console.print(said(old.starts, made.plan.starts, chosen=starts is None), highlight=False)
    table = Table("lab", f"due in {old.term}", f"due in {name}")
    for stem, lab in made.plan.labs.items():
        table.add_row(stem, *(f"{due:%a %Y-%m-%d %H:%M %Z}" if due else "" for due in (old.labs[stem].due, lab.due)))
    console.print(table)
    for line in (
        f"secret: {made.secret}",
        f"{old.term} is kept in {made.archived}; its gradebook stays where it is",
        f"next: mlsys term export-secret {name} FILE    regrading needs the secret: keep a copy in a safe place",
        "      mlsys build                   build and prove every lab with the new numbers",
        "      mlsys release lab00           once it is proven",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def said(old: date, new: date, *, chosen: bool) -> str:
    """By how much everything was shifted, and where that was not asked for, how to say otherwise."""
    days = (new - old).days
    by = f"{days // 7} weeks" if days % 7 == 0 else f"{days} days, so weekdays change"
    how = " (chosen: half a year later, on the same weekday; correct `starts` and the dates by hand)" if chosen else ""
    return f"starts on {new:%A, %Y-%m-%d}: everything is shifted by {by}{how}"


@app.command("list", epilog="Example: mlsys term list")
def list_terms() -> None:
    """Every term that this course or this machine knows, and whether its secret is kept safe."""
    from .course import find_root
    from .term.secret import SAMPLE, has_copy, secret_path, secret_terms
    from .term.syllabus import read_plan

    root = find_root()
    plans = [read_plan(path) for path in [*sorted(root.glob("archive/*/course.toml")), root / "course.toml"]]
    starts = {plan.term: str(plan.starts) for plan in plans}
    table = Table("term", "starts", "is", "secret")
    for term in dict.fromkeys([*starts, *secret_terms()]):
        state = "current" if term == plans[-1].term else "archived" if term in starts else "no dates here"
        secret = "public" if term == SAMPLE else "missing" if not secret_path(term).is_file() else "here"
        kept = "" if secret != "here" else ", copied" if has_copy(term) else ", [yellow]no copy[/]"
        table.add_row(term, starts.get(term, ""), state, secret + kept)
    console.print(table)


@app.command("export-secret", epilog="Example: mlsys term export-secret 2027-spring /media/safe/2027-spring.secret")
def export(name: Name, file: File) -> None:
    """Copy a term's secret to a new file, for safe keeping: whoever has it can draw the sealed cases."""
    from .course import find_root
    from .term.secret import export_secret

    export_secret(name, file, find_root())
    console.print(f"secret of {name}: a copy is at {file}", highlight=False)


@app.command("import-secret", epilog="Example: mlsys term import-secret 2027-spring /media/safe/2027-spring.secret")
def import_(name: Name, file: File) -> None:
    """Bring a term's secret to this machine, from its copy."""
    from .term.secret import import_secret

    console.print(f"secret of {name}: {import_secret(name, file)}", highlight=False)

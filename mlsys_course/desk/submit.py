"""``mlsys submit``: the notebook and the student's own parts in one zip, with a receipt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .lookover import warnings
from .points import counted_at
from .receipt import (
    NAME,
    NOTEBOOK_BYTES,
    PART,
    PART_BYTES,
    PART_FILES,
    Receipt,
    check_student,
    checksum,
    receipt_from,
)
from .release import pack
from .workbook import Ran, read_notebook, stored_points
from .workspace import DeskError, Workspace, read_edition, save


@dataclass(frozen=True)
class HandIn:
    """A hand-in that is ready: the files, and what would lose points."""

    folder: Path
    files: Mapping[str, bytes]
    points: Mapping[str, tuple[float, float]]
    warnings: list[str]


def prepare(folder: Path, workspace: Workspace, ran: Ran | None) -> HandIn:
    """Read what is handed in, once, and look it over; ``ran`` is a clean run, None where there was none."""
    notebook = read_notebook(folder)
    files = {f"{folder.name}.ipynb": (folder / f"{folder.name}.ipynb").read_bytes()}
    found = warnings(folder, notebook, ran, workspace)
    if len(files[f"{folder.name}.ipynb"]) > NOTEBOOK_BYTES:
        found.append(
            f"The notebook is larger than {NOTEBOOK_BYTES >> 20} MiB and will not be graded: clear its outputs."
        )
    for path in sorted(workspace.parts.glob("*.py")):
        if PART.fullmatch(path.name) and path.stat().st_size <= PART_BYTES and len(files) <= PART_FILES:
            files[f"my_mlsys/{path.name}"] = path.read_bytes()
        else:
            found.append(
                f"{path} is left out: a part is a file such as attention.py of at most {PART_BYTES >> 20} MiB."
            )
    points = stored_points(notebook) if ran is None else ran.points
    return HandIn(folder, files, counted_at(folder, points), found)


def who(workspace: Workspace, student: str | None, ask: Callable[[], str] | None = None) -> str:
    """The student's name: given, or that of the last hand-in, or what ``ask`` brings.

    Never the login: in a container everybody has the same one.
    """
    name, asked = student or known_name(workspace), False
    if not name and ask is not None:
        name, asked = ask(), True
    if not name.strip():
        raise DeskError(
            "Nobody knows yet who hands in: say it once with `mlsys submit LAB --student NAME`, NAME being your id at "
            "the university; it is remembered."
        )
    name = check_student(name.strip())
    if asked:
        workspace.write_record("student", {"name": name})
    return name


def known_name(workspace: Workspace) -> str:
    """The name of the last hand-in from this workspace; empty where there was none."""
    name = workspace.record("student").get("name")
    return name if isinstance(name, str) else ""


def earlier_receipt(hand_in: HandIn, workspace: Workspace, name: str) -> Receipt | None:
    """The receipt that a student has for exactly this content already."""
    path = _kept(workspace, hand_in.folder.name, checksum(hand_in.files)[:8])
    if path.exists() and (earlier := receipt_from(path.read_bytes())).student == name:
        return earlier
    return None


def _kept(workspace: Workspace, lab: str, short: str) -> Path:
    return workspace.hidden / "receipts" / f"{lab}-{short}.json"


def submit(
    hand_in: HandIn, workspace: Workspace, student: str | None = None, into: Path | None = None
) -> tuple[Receipt, Path]:
    """Write the zip and the receipt; (receipt, path of the zip). An earlier hand-in stays where it is."""
    folder = hand_in.folder
    edition = read_edition(folder)
    name = who(workspace, student)
    receipt = Receipt(
        lab=folder.name,
        student=name,
        checksum=checksum(hand_in.files),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        term=edition.get("term", ""),
        release=edition.get("release", 0),
        points={exercise: list(points) for exercise, points in hand_in.points.items()},
    )
    receipt = earlier_receipt(hand_in, workspace, name) or receipt  # of the same content the first one stands
    path = (into or workspace.root) / f"{folder.name}-{name.replace(' ', '_')}-{receipt.short}.zip"
    save(path, pack({**hand_in.files, NAME: receipt.to_bytes()}))
    save(_kept(workspace, folder.name, receipt.short), receipt.to_bytes())
    workspace.write_record("student", {"name": name})
    return receipt, path

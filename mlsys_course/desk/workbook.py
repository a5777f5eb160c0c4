"""A student's copy of a lab: where it is, and a run of it from the top in a clean process."""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from ..substrate.errors import CourseProblem
from .mend import mend, named
from .outside import outside
from .recognise import grade_id, is_question
from .release import read_release
from .syntax import bound
from .workspace import DeskError, Workspace, meant, read_edition

RESULTS = (
    "MLSYS_CHECK_RESULTS"  # as check/cell.py has it, which imports torch: seconds that this process can do without
)
CELL_SECONDS = 30  # a cell may take so long; somewhat longer than grading allows, for a slow machine
EXPERIMENT_SECONDS = 300
STOPPED = nbformat.v4.new_output("error", ename="KeyboardInterrupt", evalue="it took too long", traceback=[])
STUCK_SECONDS = 10  # after an interrupt, until Python must answer again
CHECK = re.compile(r'^check\("(\w+)", (.+)\)\s*$', re.MULTILINE)
ALL_PASS = re.compile(r"^(\w+): (all cases pass|recorded)\b")  # a check's first line, by check/verdict_table.py
SAID = re.compile(r"^(\w+): .*?(?:, ([\d.]+) of ([\d.]+) points)?$")


class WorkbookError(CourseProblem):
    """The lab is not where it was looked for, or its notebook cannot be read."""


@dataclass(frozen=True)
class Found:
    """What one check came to on the public cases."""

    exercise: str
    status: str
    score: float
    max_score: float
    hints: Sequence[str] = ()
    why: str = ""

    @property
    def advice(self) -> str:
        """The hints, after what was raised; without a hint the first thing that is wrong."""
        return " ".join([self.why, *self.hints] if self.why.startswith("raised") or not self.hints else self.hints)

    @property
    def recorded(self) -> bool:
        """An answer whose points are told when the lab is graded, such as that of a choice."""
        return self.status == "ok" and self.max_score > 0 and not self.score


@dataclass
class Ran:
    """A clean run: what each graded cell found, in order; the parts taken from elsewhere; what stopped a cell."""

    found: list[Found] = field(default_factory=list)
    parts: dict[str, str] = field(default_factory=dict)  # "attention.attention" -> "your own" or "the course's"
    troubles: list[str] = field(default_factory=list)
    reached: int = 0  # code cells that the run came to
    undefined: dict[int, str] = field(default_factory=dict)  # cell of the notebook -> a name that was not there
    outside: list[str] = field(default_factory=list)  # what grading will not have

    @property
    def points(self) -> dict[str, tuple[float, float]]:
        """Exercise -> points, of how many; nothing of what was not run."""
        return {row.exercise: (row.score, row.max_score) for row in self.found if row.status != "not run"}

    @property
    def not_run(self) -> list[Found]:
        """What has no result, which is not a wrong one: the run ended before it."""
        return [row for row in self.found if row.status == "not run"]

    @property
    def sentences(self) -> list[str]:
        """The troubles as sentences; what an error says may end in a dot already."""
        return [f"{trouble.rstrip('.')}." for trouble in self.troubles]


def find_lab(name: str, start: Path | None = None) -> Path:
    """The folder of ``lab02`` or ``lab02_attention``: here, below, or in ``labs/``; of ``.``, here."""
    here = (start or Path.cwd()).resolve()
    if name == ".":
        if not ((here / "cases").is_dir() or (here / f"{here.name}.ipynb").is_file()):
            raise WorkbookError(f"{here} is no lab's own folder; go into one, or name a lab, such as lab02")
        name = here.name
    nearly = []
    for folder in (here, *sorted(here.glob("*/")), *sorted((here / "labs").glob("*/"))):
        if name not in (folder.name, folder.name.split("_")[0]):
            nearly += _renamed(folder, name)
        elif why := _unusable(folder):
            nearly.append(why)
        else:
            return folder
    if nearly:
        raise WorkbookError(nearly[0])
    known = [folder.name for folder in (*here.glob("lab*/"), *(here / "labs").glob("lab*/"))]
    where = "call this in the folder that holds the labs, or in the lab's own"
    raise WorkbookError(f"no lab {name!r} in {here}; {meant(name, known) or where}")


def _unusable(folder: Path) -> str:
    """Why a folder that is named like the lab is not it; empty where it is."""
    stem = folder.name
    if not (folder / f"{stem}.ipynb").is_file():
        others = sorted(path.name for path in folder.glob("*.ipynb"))
        if others:
            return f"{folder} has no {stem}.ipynb, and has {', '.join(others)}; give your notebook its name back"
        return f"{folder} has no {stem}.ipynb; put your notebook there, or move the folder away and start the lab again"
    if not (folder / "cases").is_dir():
        return f"{folder} has no cases/; copy cases/ and drivers.py from the lab as you received it"
    return ""


def _renamed(folder: Path, name: str) -> Iterator[str]:
    """A lab whose folder has lost its name: commands, hand-ins and grading go by it."""
    for path in sorted(folder.glob("lab*.ipynb")):
        if name in (path.stem, path.stem.split("_")[0]) and (folder / "cases").is_dir():
            yield f"{path} lies in a folder that is named {folder.name!r}; rename the folder to {path.stem}"


def read_notebook(folder: Path) -> NotebookNode:
    """The notebook of a lab's folder, with the metadata that its cells were released with."""
    notebook = saved_notebook(folder)
    notebook.cells = named(notebook.cells, released_cells(folder, notebook))
    return notebook


def saved_notebook(folder: Path) -> NotebookNode:
    """The notebook of a lab's folder, as it was saved."""
    path = folder / f"{folder.name}.ipynb"
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8-sig"), as_version=4)
        if not all(isinstance(cell.source, str) and isinstance(cell.metadata, dict) for cell in notebook.cells):
            raise TypeError("a cell without text")
        return notebook
    except Exception as error:
        raise WorkbookError(
            f"{path} is no readable notebook ({type(error).__name__}); restore it from .ipynb_checkpoints/ or your copy"
        ) from None


def released_cells(folder: Path, notebook: NotebookNode) -> list[NotebookNode]:
    """The lab's cells as released, from the kept release; where none was kept, as far as ids and cases tell."""
    with contextlib.suppress(DeskError):
        edition = read_edition(folder)
        path = Workspace(folder.parent).kept(folder.name, edition["term"], edition["release"]) if edition else None
        if path is not None and path.is_file():
            return nbformat.reads(read_release(path).files[f"{folder.name}.ipynb"].decode(), as_version=4).cells
    return list(_as_far_as_known(folder, notebook).values())


def _as_far_as_known(folder: Path, notebook: NotebookNode) -> dict[str, NotebookNode]:
    """In a checkout of the course: an exercise and its check for each file of cases, and what else has a name."""
    checked = dict(match for cell in notebook.cells for match in CHECK.findall(cell.source))
    told = {grade_id(cell): cell.metadata.nbgrader for cell in notebook.cells if grade_id(cell)}
    found = {}
    for name in sorted(path.stem for path in (folder / "cases").glob("*.safetensors")):
        expression, stub = checked.get(name, name), f"solution-{name}"
        found[stub] = _cell(stub, f"{expression} = ...", **{"solution": True, **told.get(stub, {})})
        about = {"grade": True, "locked": True, **told.get(name, {})}
        found[name] = _cell(name, f'check("{name}", {expression})', **about)
    for cell in notebook.cells:
        own = str(cell.get("id", ""))
        name = grade_id(cell) or (own if own.startswith("experiment-") else "")
        about = {"locked": True, **cell.metadata.get("nbgrader", {}), "grade_id": name}
        if name and name not in found:
            found[name] = _cell(own, cell.source, **about)
            if is_question(found[name]):
                found[name].update(cell_type="markdown", source="")
    return found


def _cell(own_id: str, source: str, **about: Any) -> NotebookNode:
    about = {"grade": False, "grade_id": own_id, "locked": False, "solution": False} | about
    cell = NotebookNode(id=own_id, cell_type="code", source=source, outputs=[], execution_count=None)
    cell.metadata = nbformat.from_dict({"nbgrader": about})
    return cell


def mended_notebook(folder: Path) -> tuple[NotebookNode, list[int]]:
    """The notebook as grading reads it; for each cell the number of the student's own that it is or stands behind."""
    notebook = saved_notebook(folder)
    mended = mend(notebook.cells, released_cells(folder, notebook))
    notebook.cells = mended.cells
    return notebook, mended.places


def graded_ids(notebook: NotebookNode) -> list[str]:
    """Ids of the graded code cells, in order."""
    return [
        grade_id(cell)
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade")
    ]


def candidate_names(notebook: NotebookNode) -> dict[str, str]:
    """Exercise -> the expression that its graded cell checks."""
    found = {}
    for cell in notebook.cells:
        if match := re.fullmatch(r'check\("(\w+)", (.+)\)', cell.source.strip()):
            found[match[1]] = match[2]
    return found


def stored_lines(notebook: NotebookNode) -> dict[str, str]:
    """Exercise -> the first line of what its check showed when the notebook was saved."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []) if grade_id(cell) else []:
            text = output.get("data", {}).get("text/plain", output.get("text", ""))
            first = "".join(text).split("\n", 1)[0]
            if first.startswith(f"{grade_id(cell)}: "):
                found[grade_id(cell)] = first
    return found


def stored_points(notebook: NotebookNode) -> dict[str, tuple[float, float]]:
    """Exercise -> (points, of how many) that its check showed when the notebook was saved."""
    lines = {name: SAID.match(line) for name, line in stored_lines(notebook).items()}
    return {name: (float(m[2]), float(m[3])) for name, m in lines.items() if m and m[2]}


def run_checks(folder: Path, **options: Any) -> list[Found]:
    """Run the notebook from the top in a clean kernel; what each graded cell found, in order."""
    return run_notebook(folder, **options).found


def run_notebook(
    folder: Path,
    *,
    experiments: bool = False,
    seconds: int = CELL_SECONDS,
    progress: Callable[[int, int], None] | None = None,
) -> Ran:
    """Run the notebook from the top in a clean kernel. A cell that takes longer than ``seconds`` is interrupted, and
    the run goes on where Python still answers; whatever was found before a crash counts."""
    notebook, places = mended_notebook(folder)
    wanted, ran = graded_ids(notebook), Ran()
    cells = [(n, c) for n, c in zip(places, notebook.cells, strict=True) if c.cell_type == "code"]
    if not experiments:
        cells = [(n, c) for n, c in cells if not grade_id(c).startswith("experiment-")]
    with tempfile.TemporaryDirectory() as scratch:
        results = Path(scratch) / "results.jsonl"
        _run_cells(folder, notebook, cells, seconds, {**os.environ, RESULTS: str(results)}, ran, progress)
        lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    rows = [json.loads(line) for line in lines]
    ran.parts = {row["part"]: row["whose"] for row in rows if "part" in row}
    checked = {row["exercise"]: row for row in rows if "exercise" in row}
    ran.outside = list(outside(read_notebook(folder), folder))
    left = {grade_id(cell) for _, cell in cells[ran.reached :]}
    ran.found = [_found(folder, name, checked.get(name), cells, left) for name in wanted]
    return ran


def _run_cells(
    folder: Path,
    notebook: NotebookNode,
    cells: Sequence[tuple[int, NotebookNode]],
    seconds: int,
    environment: dict[str, str],
    ran: Ran,
    progress: Callable[[int, int], None] | None,
) -> None:
    from nbclient import NotebookClient
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from nbclient.util import run_sync

    limit = float(seconds)

    def most(cell: NotebookNode) -> float:
        return max(limit, EXPERIMENT_SECONDS) if grade_id(cell).startswith("experiment-") else limit

    client = NotebookClient(
        notebook,
        timeout_func=most,
        kernel_name="python3",
        # Errors only; and as grading does, without the notebook's own import, which may come after one that fails.
        extra_arguments=["--log-level=40", "--IPKernelApp.exec_lines=from mlsys_course.desk.check import check"],
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.log.setLevel("CRITICAL")  # what goes wrong is said once, by us
    client.reset_execution_trackers()
    with client.setup_kernel(env=environment):
        for done, (number, cell) in enumerate(cells):
            ran.reached = done + 1
            if progress:
                progress(done, len(cells))
            try:
                client.execute_cell(cell, number - 1)
            except CellTimeoutError:
                ran.troubles.append(f"{_place(number, cell)} ran longer than {most(cell):g} s and was stopped")
                cell.outputs = [STOPPED]
                try:
                    run_sync(client.km.interrupt_kernel)()  # type: ignore[union-attr]
                    limit = float(STUCK_SECONDS)
                    client.execute_cell(nbformat.v4.new_code_cell("pass"), number - 1)
                    limit = float(seconds)
                except (CellTimeoutError, DeadKernelError):
                    ran.troubles.append("It would not be stopped, so the cells after it were not run")
                    return
                continue
            except KeyboardInterrupt:
                run_sync(client.km.shutdown_kernel)(now=True)  # type: ignore[union-attr]
                raise
            except DeadKernelError:
                ran.troubles.append(f"{_place(number, cell)} ended Python itself; the cells after it were not run")
                return
            _note_undefined(number, cell, ran)
            _note_stopped(number, cell, ran)


def _note_stopped(number: int, cell: NotebookNode, ran: Ran) -> None:
    """An experiment has no check that would tell; of other cells the first that stopped may be why later ones did."""
    if cell.metadata.get("nbgrader", {}).get("grade"):
        return
    for output in cell.get("outputs", []):
        if output.get("output_type") == "error":
            said = f"{output['ename']}: {output['evalue'][:80]}"
            if grade_id(cell).startswith("experiment-"):
                ran.troubles.append(f"{_place(number, cell)} raised {said}")
            elif not ran.troubles and output["ename"] != "NotImplementedError":
                ran.troubles.append(f"{_place(number, cell)} stopped first, with {said}")


def _place(number: int, cell: NotebookNode) -> str:
    """A cell as a student finds it."""
    first = next((line.strip() for line in cell.source.splitlines() if line.strip()), "")
    return f"cell {number} ({first[:40]}{'...' if len(first) > 40 else ''})"


def _note_undefined(number: int, cell: NotebookNode, ran: Ran) -> None:
    for output in cell.get("outputs", []):
        match = re.match(r"name '(\w+)' is not defined", output.get("evalue", ""))
        if output.get("ename") == "NameError" and match:
            ran.undefined[number] = match[1]


def _found(
    folder: Path, name: str, row: dict | None, cells: Sequence[tuple[int, NotebookNode]], left: Collection[str]
) -> Found:
    from .check.edition import load_specification

    if row is None:  # the candidate's name was not defined, so the cell never reached check()
        specification = load_specification(folder, name)
        why = "the run ended before it" if name in left else _after_stopped(name, cells)
        if why:
            return Found(name, "not run", 0.0, specification.max_score, why=why)
        why = _unreached(name, cells)
        why = "not answered yet" if specification.kind == "choice" and not why.startswith("stopped") else why
        return Found(name, "missing", 0.0, specification.max_score, why=why)
    numbers = {cell.get("execution_count"): number for number, cell in cells}
    lines = [f"cell {numbers.get(count, '?')}, line {line}: {text}" for count, line, _, text in row["trace"][-1:]]
    why = "; ".join(filter(None, [row["why"], *lines, row["beside"]]))
    return Found(name, row["status"], row["score"], row["max_score"], row["hints"], why)


def _after_stopped(name: str, cells: Sequence[tuple[int, NotebookNode]]) -> str:
    """Of a graded cell without a result, the stopped cell before it that it may have needed, such as the imports."""
    for number, cell in cells:
        if grade_id(cell) == name:
            break
        if STOPPED in cell.get("outputs", []) and not cell.metadata.get("nbgrader", {}).get("grade"):
            return f"{_place(number, cell)} was stopped before it"
    return ""


def _unreached(name: str, cells: Sequence[tuple[int, NotebookNode]]) -> str:
    """Why a graded cell came to nothing: it was stopped, or a name was not there, and from where it would have come."""
    own = next((cell for _, cell in cells if grade_id(cell) == name), None)
    errors = [o for o in own.get("outputs", []) if o.get("output_type") == "error"] if own is not None else []
    if errors and errors[-1]["ename"] == STOPPED.ename:
        return "stopped, since it took too long"
    match = re.match(r"name '(\w+)' is not defined", errors[-1]["evalue"]) if errors else None
    if not match:
        return "its cell did not run; is there a syntax error, or a name without a definition?"
    for number, cell in reversed(cells):
        if match[1] in bound(cell.source):
            failed = [o["ename"] for o in cell.get("outputs", []) if o.get("output_type") == "error"]
            return f"{match[1]} comes from {_place(number, cell)}" + (
                f", which stopped: {failed[-1]}" if failed else ""
            )
    return f"no cell defines {match[1]}"

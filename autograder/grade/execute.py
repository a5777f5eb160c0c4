"""nbgrader's extension points: what reads a submission, what runs it, what generates an assignment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader.preprocessors import Execute, NbGraderPreprocessor

from mlsys_course.desk.check import Verdict
from mlsys_course.desk.check.verdict_table import to_html, to_text

from ..build.notebook import duplicate
from ..feedback.facts import facts_of
from ..files import read_regular
from ..nbgrader_config import check_gradebook
from ..scoring.cells import code_cells, grade_id
from .handed_in import read_parts
from .own_words import stopped
from .passive import passive_text
from .repair import MOST_BYTES, repair
from .session import Graded, Session, with_notes

_sessions: dict[str, Session] = {}


def session_for(stem: str) -> Session:
    """The session of a lab in this process; ``nbgrader autograde`` by hand starts one here."""
    if stem not in _sessions:
        from ..course import load_course

        _sessions[stem] = Session(load_course(), stem)
    return _sessions[stem]


def use_session(session: Session) -> None:
    """Let nbgrader's stages of this process use ``session``."""
    _sessions[session.lab.stem] = session


class RepairingExporter(NotebookExporter):
    """Reads what a student handed in, whatever it is; nbgrader then sees a notebook that it can read."""

    def from_filename(self, filename: str, resources: dict | None = None, **kwargs: Any) -> tuple[Any, dict]:
        converter: Any = self.parent
        if not getattr(converter, "_sanitizing", True):
            return super().from_filename(filename, resources, **kwargs)
        check_gradebook(converter.coursedir.db_url, Path(converter.coursedir.root))
        session = session_for(converter.coursedir.assignment_id)
        blob = read_regular(Path(filename), MOST_BYTES)  # quarantine has moved links away
        repaired = repair(blob or b"", session.released)
        if blob is None:
            repaired.unreadable = f"No file {Path(filename).name} was handed in."
        return self.from_notebook_node(repaired.to_notebook(), resources, **kwargs)


class SealedExecute(Execute):
    """Runs a submission in the sandbox, scores it outside, and writes each graded cell's result itself."""

    def preprocess(self, nb: NotebookNode, resources: dict, *_: Any, **__: Any) -> tuple[NotebookNode, dict]:
        session = session_for(resources["nbgrader"]["assignment"])
        graded = session.grade(nb, read_parts(self._submission(resources))[0], resources["nbgrader"]["student"])
        notes = nb.metadata.get("mlsys", {}).get("notes", {})
        return with_results(nb, graded, with_notes(graded.verdicts, notes), session), resources

    def _submission(self, resources: dict) -> Path:
        exporter: Any = self.parent
        coursedir = exporter.parent.coursedir
        path = coursedir.format_path(
            coursedir.submitted_directory, resources["nbgrader"]["student"], resources["nbgrader"]["assignment"]
        )
        return Path(path)


def with_results(nb: NotebookNode, graded: Graded, verdicts: Mapping[str, Verdict], session: Session) -> NotebookNode:
    """The notebook as it is recorded: our results in graded cells, in the others what was handed in, nothing active.

    Of the grading run nothing that it could choose, since feedback is made from this notebook; staff's log has it.
    """
    runs = iter(graded.run.cells)
    ids = [cell.get("id", "") for cell in code_cells(nb)]
    counted = session.counted(verdicts)
    for number, cell in enumerate(code_cells(nb), 1):
        run = next(runs, None)
        cell.execution_count = number
        name = grade_id(cell)
        if name in verdicts:
            points = session.scorer.specifications[name].points
            facts = facts_of(verdicts[name], points, ids)
            cell.outputs = result_outputs(verdicts[name], number, facts, counted[name][0])
        else:
            cell.metadata["mlsys"] = {"stopped": stopped(cell.source, run)}
    ours = {cell.source for cell in session.released.cells}
    for cell in nb.cells:
        if cell.cell_type != "code" and cell.source not in ours:
            cell.source = passive_text(cell.source)
    nb.metadata["mlsys"] = {**nb.metadata.get("mlsys", {}), "unsafe": session.unsafe, "stopped": graded.stopped}
    return nb


def result_outputs(verdict: Verdict, number: int, facts: Mapping[str, Any], counted: float) -> list[NotebookNode]:
    """The check's table, with the facts that feedback is made from, and exactly one numeric result: what counts."""
    sealed = verdict.kind != "choice"
    table = {"text/html": to_html(verdict, sealed=sealed), "text/plain": to_text(verdict, sealed=sealed)}
    score = {"text/plain": repr(float(counted))}
    return [
        NotebookNode(output_type="display_data", data=table, metadata={"mlsys": dict(facts)}),
        NotebookNode(output_type="execute_result", data=score, metadata={}, execution_count=number),
    ]


class BuiltEdition(NbGraderPreprocessor):
    """nbgrader's Generate: the student's notebook as our build writes it, saved to the gradebook by SaveCells."""

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        session_or_lab = _sessions.get(resources["nbgrader"]["assignment"])
        if session_or_lab is not None:
            built = session_or_lab.released
        else:
            from ..course import load_course

            stem = resources["nbgrader"]["assignment"]
            built = nbformat.read(load_course().built(stem) / f"{stem}.ipynb", as_version=4)
        return duplicate(built), resources

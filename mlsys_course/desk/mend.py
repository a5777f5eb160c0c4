"""A notebook as it was meant: released cells with their metadata, type and locked text; what is missing is put back."""

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nbformat import NotebookNode

from .recognise import bare, grade_id, is_question, plain, recognise

EDITED = "This graded cell had been edited; it was put back as released."
COPIES = "This notebook had several copies of a graded cell; the last one counts."
MISSING = "This graded cell was missing; it was put back."
ELSEWHERE = "This answer was found in other cells than its own."
COPY = "copy_of"  # in the metadata of a cell whose name another one has


@dataclass
class Mended:
    """The cells; for each, the number of the student's own cell that it is or stands behind; and what was mended."""

    cells: list[NotebookNode] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, cell: NotebookNode, place: int) -> None:
        self.cells.append(cell)
        self.places.append(place)


def named(cells: Sequence[NotebookNode], released: Sequence[NotebookNode]) -> list[NotebookNode]:
    """The same cells, with the metadata and the type of those that were released; no text is changed."""
    known = {grade_id(cell): cell for cell in released if grade_id(cell)}
    names = recognise([plain(cell) for cell in cells], released).names
    nodes = [_as(cell, known.get(names.get(index, ""))) for index, cell in enumerate(cells)]
    for index, cell in enumerate(cells):
        if index not in names and (copied := grade_id(cell)) in known:
            nodes[index].metadata[COPY] = copied
    return nodes


def mend(cells: Sequence[NotebookNode], released: Sequence[NotebookNode]) -> Mended:
    """The cells of a student's notebook as grading reads them."""
    known = {grade_id(cell): cell for cell in released if grade_id(cell)}
    came = recognise([plain(cell) for cell in cells], released)
    mended = Mended(notes={_exercise(name): COPIES for name in came.copied if not is_question(known[name])})
    mended.notes |= dict.fromkeys(came.answers, ELSEWHERE)
    checks = _checks(released)
    for index, cell in enumerate(cells):
        name = came.names.get(index, "")
        node = _as(cell, known.get(name))
        if name in came.answers:
            _answer(node, came.answers[name], cells)
        if name and known[name].metadata.nbgrader.locked:
            if own := added(node.source, known[name], released):
                mended.add(own, index + 1)
            if bare(node.source) != bare(known[name].source) and _is_check(known[name]):
                mended.notes[name] = EDITED
            node.source = known[name].source
        elif node.cell_type == "code":  # a check that was merged into this cell; it is made at its own
            node.source = "\n".join("" if line.rstrip() in checks else line for line in node.source.split("\n"))
        mended.add(node, index + 1)
        _put_back([n for n, at in came.behind.items() if at == index], known, index + 1, came.answers, cells, mended)
    _put_back([n for n, at in came.behind.items() if at < 0], known, 0, came.answers, cells, mended)
    return mended


def _as(cell: NotebookNode, original: NotebookNode | None) -> NotebookNode:
    """A cell as the released one that it is, where it is one."""
    node = copy.copy(cell)
    node.metadata = copy.deepcopy(original.metadata if original is not None else cell.metadata)
    if original is None:
        node.metadata.pop("nbgrader", None)  # of a copy: two cells of one id are none of nbgrader's
        return node
    node.id, node.cell_type = original.id, original.cell_type
    if node.cell_type == "code":
        node.setdefault("outputs", [])
        node.setdefault("execution_count", None)
        node.pop("attachments", None)
    else:
        node.pop("outputs", None)
        node.pop("execution_count", None)
    return node


def added(source: str, original: NotebookNode, released: Sequence[NotebookNode]) -> NotebookNode | None:
    """What was added to a locked text, as by merging two cells, as a cell of the student's own."""
    text, locked = bare(source), bare(original.source)
    rest = text.replace(locked, "", 1) if locked and locked in text else ""
    rest = "\n".join(line for line in rest.split("\n") if line not in _checks(released)).strip("\n")
    if not rest.strip():
        return None
    own = NotebookNode(id=f"{original.id}-added"[:64], cell_type="code", metadata=NotebookNode(), source=rest)
    own.update(outputs=[], execution_count=None)
    return own


def _checks(released: Sequence[NotebookNode]) -> set[str]:
    return {bare(cell.source) for cell in released if grade_id(cell) and _is_check(cell)}


def _put_back(
    names: Sequence[str],
    known: Mapping[str, NotebookNode],
    place: int,
    answers: Mapping[str, str],
    cells: Sequence[NotebookNode],
    mended: Mended,
) -> None:
    """Graded cells that are gone."""
    for name in names:
        if known[name].metadata.nbgrader.grade:
            node = copy.deepcopy(known[name])
            if name in answers:
                _answer(node, answers[name], cells)
            mended.add(node, place)
            mended.notes.setdefault(name, MISSING)


def _answer(node: NotebookNode, text: str, cells: Sequence[NotebookNode]) -> None:
    """Let a cell hold an answer from several, with the pictures that it shows."""
    node.source = text
    pictures = {name: p for cell in cells for name, p in cell.get("attachments", {}).items() if name in text}
    if pictures:
        node.attachments = NotebookNode(pictures)


def _is_check(cell: NotebookNode) -> bool:
    about = cell.metadata.nbgrader
    return bool(about.grade and about.locked)


def _exercise(name: str) -> str:
    return re.sub(r"^(solution|experiment)-", "", name)

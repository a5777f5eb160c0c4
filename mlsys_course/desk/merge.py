"""A corrected release into a student's notebook: nbdime finds what became of each cell, we say whose text stands.

Whose: what a student may not edit, and what they did not touch, is the release's; what they wrote is theirs. Where both
changed a cell, the student's stays, and the release's text is put below it in a cell that says so.
"""

import copy
import itertools
from argparse import Namespace
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

import nbformat
from nbformat import NotebookNode

from .mend import COPY, added, named
from .recognise import grade_id, plain, recognise
from .workspace import DeskError

ALIKE = 0.5  # of two texts, the share that must agree for them to be one cell in two versions
STRATEGY = Namespace(
    merge_strategy="union",  # of the list of cells: both sides' new ones
    input_strategy="use-local",
    output_strategy="use-local",
    ignore_transients=True,
    log_level="ERROR",
)
Cells = Mapping[str, NotebookNode]


@dataclass
class Merged:
    """The merged notebook, and the cells by id: text taken from the release, put beside the student's, put back."""

    notebook: NotebookNode
    taken: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)


def merge(base: NotebookNode, local: NotebookNode, remote: NotebookNode, number: int) -> Merged:
    """``local`` with what changed from ``base`` to ``remote``, release ``number``. The arguments stay as they are."""
    from nbdime.merging.notebooks import merge_notebooks

    base, local, remote = (copy.deepcopy(notebook) for notebook in (base, local, remote))
    released = [cell.id for cell in remote.cells]
    came = recognise([plain(cell) for cell in local.cells], base.cells)
    local.cells = list(_parted(named(local.cells, base.cells), base))
    for cell in local.cells:  # an answer that was split stays whole
        if grade_id(cell) in came.answers and grade_id(cell) in came.copied:
            cell.source = came.answers[grade_id(cell)]
    _rename(base, local, by_id=True)
    _rename(base, remote, by_id=False)
    both: Any = merge_notebooks(_text_only(base), _text_only(local), _text_only(remote), STRATEGY)[0]
    order = [cell.get("id") for cell in both.cells]
    was, mine, theirs = ({cell.id: cell for cell in notebook.cells} for notebook in (base, local, remote))
    merged = _told(_complete(order, was, mine, theirs, came.elsewhere), was, mine, theirs, number)
    names = dict(zip(theirs, released, strict=True))
    _number(merged.notebook, names)
    merged.notebook.metadata = {**local.metadata, "mlsys": {"release": number}}
    nbformat.validate(merged.notebook)
    return merged


def _parted(cells: Iterable[NotebookNode], base: NotebookNode) -> Iterator[NotebookNode]:
    """The cells; what a student added to a locked one stands in a cell of its own above."""
    locked = {grade_id(cell): cell for cell in base.cells if grade_id(cell) and _locked(cell)}
    for cell in cells:
        if grade_id(cell) in locked and (own := added(cell.source, locked[grade_id(cell)], base.cells)):
            yield own
        yield cell


def _number(notebook: NotebookNode, released: Mapping[str, str]) -> None:
    """Give the release's cells the ids that they were released with, so that the next release finds them; others keep
    theirs, unless it is taken."""
    taken = set(released.values())
    for cell in notebook.cells:
        if cell.id in released:
            cell.id = released[cell.id]
            continue
        own = (name for count in itertools.count() if (name := f"own-{count}") not in taken)
        cell.id = cell.id if cell.id not in taken else next(own)
        taken.add(cell.id)


def _rename(base: NotebookNode, other: NotebookNode, *, by_id: bool) -> None:
    """Give cells of ``other`` the ids that they have in ``base``: by nbgrader's id, of copies the last; by their own
    where ``by_id``, since editors keep ids and releases count anew; by likeness. What is new gets an id of its own."""
    graded = {grade_id(cell): cell.id for cell in base.cells if grade_id(cell)}
    free = {cell.id: cell for cell in base.cells if not grade_id(cell)}
    claims: dict[int, str] = {}
    for index in reversed(range(len(other.cells))):
        if name := graded.pop(grade_id(other.cells[index]), None):
            claims[index] = name
    texts = [(n, cell) for n, cell in enumerate(other.cells) if n not in claims and not grade_id(cell)]
    for index, cell in texts:
        if by_id and cell.get("id") in free:
            claims[index] = cell.id
            del free[cell.id]
    for index, cell in texts:
        if index not in claims and (name := _most_alike(cell, free)):
            claims[index] = name
            del free[name]
    taken = {cell.id for cell in base.cells}
    for index, cell in enumerate(other.cells):
        own = cell.get("id")
        free_names = (name for count in itertools.count() if (name := f"{by_id:d}-{index}-{count}") not in taken)
        cell.id = claims.get(index) or (own if own and own not in taken else next(free_names))
        taken.add(cell.id)


def _most_alike(cell: NotebookNode, free: Cells) -> str | None:
    """The cell that this one was, judged by its text; None where there is none."""
    found, best = None, ALIKE
    for name, other in free.items():
        if other.cell_type != cell.cell_type:
            continue
        if other.source == cell.source:
            return name
        matcher = SequenceMatcher(None, other.source.split(), cell.source.split(), autojunk=False)
        if matcher.quick_ratio() > best and (ratio := matcher.ratio()) > best:
            found, best = name, ratio
    return found


def _text_only(notebook: NotebookNode) -> NotebookNode:
    """What nbdime is asked about: text and order only, so that outputs and metadata cannot be in conflict."""
    bare = copy.deepcopy(notebook)
    bare.metadata = nbformat.from_dict({})
    bare.nbformat, bare.nbformat_minor = 4, 5
    for cell in bare.cells:
        cell.metadata = nbformat.from_dict({})
        cell.pop("attachments", None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return bare


def _complete(order: list[str], base: Cells, local: Cells, remote: Cells, elsewhere: Collection[str]) -> list[str]:
    """The merged order, with what a merge may not drop put back after the cell that it followed.

    That is all that the release holds, unless the student deleted a text that the release had before, and all that
    the student wrote. What neither has is left out; and a stub, where the student defines it ``elsewhere``.
    """
    gone = {n: grade_id(remote[n]) for n in base if n not in local and n in remote}
    deleted = {n for n, name in gone.items() if not name or (name in elsewhere and not _locked(remote[n]))}
    kept = list(dict.fromkeys(n for n in order if (n in remote and n not in deleted) or _written(n, base, local)))
    for side, wanted in ((remote, set(remote) - deleted), (local, {n for n in local if _written(n, base, local)})):
        before = None
        for name in side:
            if name in wanted and name not in kept:
                kept.insert(kept.index(before) + 1 if before in kept else 0, name)
            before = name if name in kept else before
    return kept


def _written(name: str, base: Cells, local: Cells) -> bool:
    """Whether a cell is the student's work: new, or not as it came; a locked cell is nobody's to write."""
    if name not in local:
        return False
    return name not in base or (local[name].source != base[name].source and not _locked(base[name]))


def _locked(cell: NotebookNode) -> bool:
    return bool(cell.metadata.get("nbgrader", {}).get("locked"))


def _told(order: list[str], base: Cells, local: Cells, remote: Cells, number: int) -> Merged:
    """The cells in order, each with the text that stands."""
    merged = Merged(nbformat.v4.new_notebook())
    cells = merged.notebook.cells
    for name in order:
        mine, theirs = local.get(name), remote.get(name)
        if theirs is None:  # the student's own; or the release dropped it, and the student had written in it
            assert mine is not None
            for key in ("nbgrader", COPY):
                mine.metadata.pop(key, None)
            cells.append(mine)
        elif mine is None:
            (merged.restored if name in base else merged.taken).append(name)
            cells.append(theirs)
        elif _written(name, base, local) and mine.source != theirs.source:
            mine.metadata = theirs.metadata
            cells.append(mine)
            note = _note(theirs, name, number)
            if name not in base or theirs.source != base[name].source:
                merged.beside.append(name)
                cells.append(note)
        else:
            if mine.source == theirs.source and mine.cell_type == "code":
                theirs.outputs, theirs.execution_count = mine.outputs, mine.execution_count
            elif mine.source != theirs.source:
                merged.taken.append(name)
            cells.append(theirs)
    _nothing_lost(merged.notebook, base, local)
    return merged


def _note(theirs: NotebookNode, name: str, number: int) -> NotebookNode:
    """The release's text of a cell that the student changed too."""
    text = f"**Release {number} changed the cell above, and so had you: yours stays.** The release's text:\n\n"
    fence = "`" * (3 + max((len(run) for run in theirs.source.split() if set(run) == {"`"}), default=0))
    body = f"{fence}python\n{theirs.source}\n{fence}" if theirs.cell_type == "code" else theirs.source
    return nbformat.v4.new_markdown_cell(text + body, id=f"release-{number}-{name}"[:64])


def _nothing_lost(merged: NotebookNode, base: Cells, local: Cells) -> None:
    """Every text of the student's is in the merged notebook, or nothing is written."""
    there = {cell.source for cell in merged.cells}
    for name, cell in local.items():
        if _written(name, base, local) and cell.source not in there:
            raise DeskError(f"the merge would lose your cell {cell.source[:40]!r}, so nothing was changed")

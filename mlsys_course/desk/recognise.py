"""Which released cell each cell of a notebook is: one reading for check, carry, submit, update and grading.

On its way a notebook loses metadata (cleaned, pasted into Colab), ids and types of cells; cells are copied, split and
merged. What a cell is is told by nbgrader's id, else by its own id, else by its text, else by what it defines; and an
answer to an open question by its place.
"""

import ast
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nbformat import NotebookNode

from .syntax import defined, parse

STUBS = ("Write this part, then run the cell again.", "*Your answer: replace this line.*")
OURS = re.compile(r"release-\d+-")  # ids of the cells that `mlsys update` puts below a student's


@dataclass(frozen=True)
class Plain:
    """What is known of a cell of a student's notebook; ``name`` is nbgrader's id, or empty."""

    kind: str
    source: str
    name: str = ""
    id: str = ""

    @cached_property
    def bare(self) -> str:
        return bare(self.source)

    @cached_property
    def defines(self) -> set[str]:
        return defined(self.source)


@dataclass
class Recognised:
    """What cells are: nbgrader's ids by index; ids of which there were several; the answers to open questions that are
    not just what stands in their cell; exercises that another cell than their own defines; where what is missing goes.
    """

    names: dict[int, str] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, int] = field(default_factory=dict)
    behind: dict[str, int] = field(default_factory=dict)


def grade_id(cell: NotebookNode) -> str:
    """nbgrader's id of a cell, or an empty string."""
    about = cell.metadata.get("nbgrader", {})
    return str(about.get("grade_id", "")) if isinstance(about, Mapping) else ""


def plain(cell: NotebookNode) -> Plain:
    """A cell that nbformat has read. Colab keeps ids in the metadata."""
    return Plain(cell.cell_type, cell.source, grade_id(cell), str(cell.metadata.get("id") or cell.get("id", "")))


def is_question(cell: NotebookNode) -> bool:
    """Whether a released cell is for the answer to an open question, which a person grades."""
    about = cell.metadata.get("nbgrader", {})
    return bool(about.get("grade") and about.get("solution"))


def is_blank(source: str, released: str) -> bool:
    """Whether nobody has written into a cell; without the released text, by the words of a stub."""
    return bare(source) in ("", bare(released)) or (not released and any(stub in source for stub in STUBS))


def bare(text: str) -> str:
    """A text without what nobody would call an edit: the ends of its lines, and empty lines around it."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def recognise(cells: Sequence[Plain], released: Sequence[NotebookNode]) -> Recognised:
    """What the cells of a student's notebook are of the released ones."""
    known = {grade_id(cell): cell for cell in released if grade_id(cell)}
    found = _named(cells, known)
    texts = _texts(cells, released, set(found.values()))
    where = texts | {at: found[grade_id(cell)] for at, cell in enumerate(released) if grade_id(cell) in found}
    came = Recognised(
        names={index: name for name, index in found.items()},
        copied=[name for name in known if sum(cell.name == name for cell in cells) > 1],
        answers=dict(_answers(cells, released, found, where)),
    )
    for at, cell in enumerate(released):
        if (name := grade_id(cell)) and name not in found:
            holds = [i for i, one in enumerate(cells) if one.kind == "code" and _holds(one, cell)]
            if holds:
                came.elsewhere[name] = holds[-1]
            own = found.get(f"solution-{name}", came.elsewhere.get(f"solution-{name}"))
            near = next((where[r] for r in range(at - 1, -1, -1) if r in where), len(cells) - 1)
            came.behind[name] = holds[-1] if holds else own if own is not None else near
    return came


def _named(cells: Sequence[Plain], known: Mapping[str, NotebookNode]) -> dict[str, int]:
    """nbgrader's id -> the cell that it stands for. Of copies the last that somebody has written in."""
    ways: Sequence[Callable[[Plain, str, NotebookNode], bool]] = (
        lambda cell, name, original: cell.name == name,
        lambda cell, name, original: cell.name not in known and cell.id == original.id,
        lambda cell, name, original: _locked(original) and cell.bare == bare(original.source),
        lambda cell, name, original: cell.kind == "code" and _is_code(original) and _holds(cell, original),
    )
    found: dict[str, int] = {}
    for way in ways:
        for name, original in known.items():
            taken = set(found.values())
            claims = [i for i, cell in enumerate(cells) if i not in taken and way(cell, name, original)]
            if claims and name not in found:
                found[name] = max(claims, key=lambda i: (_written(cells[i], original), i))
    return found


def _locked(original: NotebookNode) -> bool:
    return bool(original.metadata.nbgrader.get("locked"))


def _is_code(original: NotebookNode) -> bool:
    return original.cell_type == "code" and not _locked(original)


def _written(cell: Plain, original: NotebookNode) -> bool:
    if _locked(original):
        return True
    return not is_blank(cell.source, original.source) and (not _is_code(original) or _holds(cell, original))


def _holds(cell: Plain, original: NotebookNode) -> bool:
    """Whether a cell defines what a released one does, or has the line of its check."""
    if _locked(original):
        return bool(original.metadata.nbgrader.get("grade")) and bare(original.source) in cell.bare.split("\n")
    return _is_code(original) and bool(cell.defines & defined(original.source))


def _texts(cells: Sequence[Plain], released: Sequence[NotebookNode], taken: Collection[int]) -> dict[int, int]:
    """Place of a released cell that is nobody's to grade -> the cell with its text."""
    free: dict[str, list[int]] = {}
    for index, cell in enumerate(cells):
        if index not in taken:
            free.setdefault(cell.bare, []).append(index)
    found = {}
    for at, cell in enumerate(released):
        if not grade_id(cell) and (indices := free.get(bare(cell.source))):
            found[at] = indices.pop(0)
    return found


def _answers(
    cells: Sequence[Plain], released: Sequence[NotebookNode], found: Mapping[str, int], where: Mapping[int, int]
) -> Iterator[tuple[str, str]]:
    """Open questions whose answer is in several cells, or where only cells beside the own one have text."""
    ours = {bare(cell.source) for cell in released}
    for at, original in enumerate(released):
        if not is_question(original):
            continue
        name = grade_id(original)
        own = [cell.source for i, cell in enumerate(cells) if cell.name == name or found.get(name) == i]
        said = [text for text in own if not is_blank(text, original.source)]
        said = said or [text for text in _beside(cells, released, at, where) if bare(text) not in ours]
        said = list(dict.fromkeys(text.strip("\n") for text in said))
        if said and (name not in found or said != [cells[found[name]].source.strip("\n")]):
            yield name, "\n\n".join(said)


def _beside(
    cells: Sequence[Plain], released: Sequence[NotebookNode], at: int, where: Mapping[int, int]
) -> Iterator[str]:
    """What a student has written around a question's place: in cells of their own, and in the lab's above and below."""
    taken, near = set(where.values()), set[int]()
    starts = [where[at]] if at in where else [where[r] for r in _nearest(at, where)]
    for start in starts or [len(cells)]:
        for step in (-1, 1):
            index = start + step
            while 0 <= index < len(cells) and index not in taken:
                near.add(index)
                index += step
    around = [bare(cell.source) for cell in released[max(at - 1, 0) : at + 2] if not grade_id(cell)]
    for index in sorted(near):
        cell = cells[index]
        text = cell.source if cell.kind != "code" else _prose(cell.source)
        for lab in around:
            text = bare(text).replace(lab, "").strip() if lab in bare(text) else text
        if text.strip() and not OURS.match(cell.id):
            yield text


def _nearest(at: int, where: Mapping[int, int]) -> Iterator[int]:
    """The released cells before and after a place that are there."""
    yield from [max((r for r in where if r < at), default=-1)] if any(r < at for r in where) else []
    yield from [min((r for r in where if r > at), default=-1)] if any(r > at for r in where) else []


def _prose(source: str) -> str:
    """The text of a code cell that is none: words, a comment, a string."""
    try:
        body = parse(source).body
    except SyntaxError:
        return "" if re.search(r"^\s*[%!]", source, re.MULTILINE) else source
    except (ValueError, RecursionError, MemoryError):
        return ""
    words = all(isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant | ast.Name) for s in body)
    return source if words else ""

"""What the released notebook says: its sections, and what each exercise asks for."""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nbformat import NotebookNode

from mlsys_course.desk.syntax import parse

HEADING = re.compile(r"^(#{1,2})\s+(.+?)\s*#*$")
FENCE = re.compile(r"^\s*(```|~~~)")


@dataclass
class Section:
    """A heading of the first or second level, and the text below it up to the next."""

    title: str
    text: str = ""


@dataclass(frozen=True)
class Asked:
    """An exercise as the lab states it, without anybody's answer."""

    id: str
    cell: str  # grade id of the cell that the student writes in
    section: int
    blank: str  # that cell as released
    signature: str = ""  # of a function or class
    said: str = ""  # the first paragraph of its docstring, plain text
    question: str = ""  # of a choice or an open question, Markdown


@dataclass
class LabText:
    """A lab's title, sections and exercises, in order."""

    title: str
    sections: list[Section] = field(default_factory=list)
    exercises: dict[str, Asked] = field(default_factory=dict)


def read_lab(released: NotebookNode, stem: str) -> LabText:
    """Read a released notebook. Cells of answers are no text of the lab."""
    lab = LabText(stem)
    markdown, asked = "", {}
    for cell in released.cells:
        about = cell.metadata.get("nbgrader", {})
        if about.get("solution"):
            name = about["grade_id"].removeprefix("solution-")
            asked[name] = _asked(name, cell, max(len(lab.sections) - 1, 0), markdown)
        elif cell.cell_type == "markdown":
            markdown = cell.source
            _add_text(lab.sections, cell.source)
    graded = [c.metadata.nbgrader.grade_id for c in released.cells if c.metadata.get("nbgrader", {}).get("grade")]
    lab.exercises = {name: asked[name] for name in graded if name in asked}
    lab.sections = lab.sections or [Section(stem)]
    lab.title = lab.sections[0].title
    return lab


def _add_text(sections: list[Section], source: str) -> None:
    """A Markdown cell may go on with a section, start one, or several."""
    fenced = False
    for line in source.split("\n"):
        fenced ^= bool(FENCE.match(line))
        heading = None if fenced else HEADING.match(line)
        if heading:
            sections.append(Section(heading[2]))
        elif sections:
            sections[-1].text += line + "\n"
    if sections:
        sections[-1].text += "\n"


def _asked(name: str, cell: NotebookNode, section: int, before: str) -> Asked:
    definition = _definition(name, cell.source) if cell.cell_type == "code" else None
    if definition is None:
        return Asked(name, cell.metadata.nbgrader.grade_id, section, cell.source, question=_question(before))
    said = (ast.get_docstring(definition) or "").split("\n\n")[0]
    signature = "\n".join(_signature(definition, cell.source.split("\n")))
    return Asked(name, cell.metadata.nbgrader.grade_id, section, cell.source, signature, " ".join(said.split()))


def _definition(name: str, source: str) -> ast.FunctionDef | ast.ClassDef | None:
    """The function or class of an exercise: the one of its name, else the first."""
    try:
        body = parse(source).body
    except SyntaxError:
        return None
    found = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return next((node for node in found if node.name == name), found[0] if found else None)


def _signature(node: ast.FunctionDef | ast.ClassDef, lines: Sequence[str]) -> Iterator[str]:
    """The head of a function as the lab writes it; of a class its own, and its methods'."""
    head = "\n".join(lines[node.lineno - 1 : node.body[0].lineno - 1]) or lines[node.lineno - 1]
    yield re.sub(r":\s*(#[^\n]*)?$", "", head)
    if isinstance(node, ast.ClassDef):
        for method in (inner for inner in node.body if isinstance(inner, ast.FunctionDef)):
            yield from _signature(method, lines)


def _question(before: str) -> str:
    """Of the text above an answer, what asks: from its last bold or headed paragraph on, else its last paragraph."""
    paragraphs: Sequence[str] = [p for p in re.split(r"\n\s*\n", before.strip()) if p.strip()]
    starts = [i for i, p in enumerate(paragraphs) if p.startswith(("**", "#"))]
    return "\n\n".join(paragraphs[starts[-1] if starts else -1 :])

"""What of the sealed side stands in an edition, looked for by content: answers, references, sealed cases, the secret.

The build's proof looks at the edition that it staged; a release at the bytes that are about to go out, also inside the
wheel. Answers are looked for in three ways: functions by what they do, long lines of words, two lines of code in a row.
"""

import ast
import base64
import io
import itertools
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import nbformat
import torch

from mlsys_course.desk.check import Tree
from mlsys_course.desk.check.tree import leaves
from mlsys_course.desk.syntax import parse

from ..cases import GROUPS, sealed_cases
from ..course import SAMPLE, Course, Lab
from ..term.editions import package_folder
from .notebook import render
from .source import read_source, solution_regions

TEXT = (".py", ".ipynb", ".md", ".txt", ".yml", ".json")
Texts = Sequence[tuple[str, str]]  # (file, text)
SHORT_LINE = 8  # of code
LONG_LINE = 30  # of an answer in words; shorter ones may be anybody's
LONG_BODY = 32  # of a function, as text; shorter ones too
WINDOW = 4096  # bytes of an array that are looked for
DIFFERENT = 16  # bytes that an array must have, or it is a mask or a constant


def leaks(course: Course, stem: str, files: Mapping[str, bytes]) -> list[str]:
    """What should not be in an edition, with the file that holds it; empty where all is well."""
    lab, everything = course.lab(stem), dict(_unpacked(files))
    texts = list(_texts(everything))
    found = [*_secret(course, everything), *_arrays(lab, everything)]
    return found + _answers(lab, texts) + _references(course, stem, texts)


def files_below(folder: Path) -> dict[str, bytes]:
    """An edition on disk, as it is searched."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _unpacked(files: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Every file, and every file inside the wheel."""
    for name, data in files.items():
        yield name, data
        if name.endswith((".whl", ".zip")):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                yield from ((f"{name}/{member}", archive.read(member)) for member in archive.namelist())


def _secret(course: Course, files: Mapping[str, bytes]) -> list[str]:
    """The term's secret as it is kept, as the bytes that it spells, and in base64."""
    if course.term.name == SAMPLE:
        return []
    secret = course.term.secret
    forms = {secret, secret.hex().encode(), base64.b64encode(secret).rstrip(b"=")}
    try:
        raw = bytes.fromhex(secret.decode())
        forms |= {raw, base64.b64encode(raw).rstrip(b"=")}
    except ValueError:  # a secret of one's own
        pass
    return [f"the secret, in {name}" for name, data in files.items() if any(form in data for form in forms)]


def _arrays(lab: Lab, files: Mapping[str, bytes]) -> list[str]:
    """Arrays that sealed cases hand to a candidate, and no public case does."""
    found: set[str] = set()
    for item in lab.exercises:
        public = b"".join(
            array_bytes([g.inputs for g in item.cases(lab.term.draw(lab.stem, item.id, "public")) if g.public])
        )
        sealed = [given.inputs for group in range(GROUPS) for given in sealed_cases(lab, item, group)]
        for data in array_bytes(sealed):
            window = data[:WINDOW]
            if len(set(window)) >= DIFFERENT and window not in public:
                found |= {f"a sealed case of {item.id}, in {name}" for name, blob in files.items() if window in blob}
    return sorted(found)


def array_bytes(tree: Tree) -> Iterator[bytes]:
    """The bytes of all arrays in a tree."""
    for _, leaf in leaves(tree):
        if isinstance(leaf, torch.Tensor) and leaf.numel():
            yield bytes(leaf.detach().contiguous().view(-1).view(torch.uint8).numpy())


def _answers(lab: Lab, texts: Texts) -> list[str]:
    """Functions and neighbouring lines of the solution cells, and long lines of answers in words."""
    cells = read_source(lab.source)
    render(lab.source, cells, lab.variants)
    stated = {line.strip() for cell in cells for line in _without_answers(cell.source).split("\n")}
    code = [cell.source for cell in cells if cell.kind == "exercise"]
    regions = [(cell, region) for cell in cells for region in solution_regions(cell.source)]
    lines = {line.strip() for cell, region in regions if cell.markdown for line in region.split("\n")} - stated
    pairs = set().union(*(_pairs(region) for cell, region in regions if not cell.markdown))
    found = {f"a line of an answer, in {name}" for name, text in texts if lines & _long_lines(text)}
    found |= {f"an answer ({' / '.join(pair)}), in {name}" for name, text in texts for pair in pairs & _pairs(text)}
    return sorted({*found, *_same_bodies({"an answer": set().union(*map(bodies, code))}, texts)})


def _without_answers(source: str) -> str:
    for region in solution_regions(source):
        source = source.replace(region, "")
    return source


def _long_lines(text: str) -> set[str]:
    return {line.strip() for line in text.split("\n") if len(line.strip()) >= LONG_LINE}


def _references(course: Course, stem: str, texts: Texts) -> list[str]:
    """Functions of withheld components anywhere, and neighbouring lines of theirs outside ``mlsys_course``."""
    withheld, found = {}, set()
    lab = [(name, _pairs(text)) for name, text in texts if "mlsys_course" not in PurePosixPath(name).parts]
    for component in course.withheld(stem):
        for path in (package_folder() / component).rglob("*.py"):
            what, text = f"{component}/{path.name}", path.read_text(encoding="utf-8")
            withheld[what], own = bodies(text), _pairs(text, leave_out=("import", "from", '"""', "def "))
            found |= {f"{what}, in {name}" for name, pairs in lab if own & pairs}
    return sorted({*found, *_same_bodies(withheld, texts)})


def _pairs(text: str, leave_out: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Neighbouring lines, without comments and what is too short to be one's own; one line stands for itself."""
    stripped = [line.strip() for line in text.split("\n")]
    lines = [line for line in stripped if len(line) > SHORT_LINE and not line.startswith(("#", *leave_out))]
    return {(lines[0],)} if len(lines) == 1 else set(itertools.pairwise(lines))


def _texts(files: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    """(file, text); of a notebook each cell."""
    for name, data in files.items():
        if PurePosixPath(name).suffix in TEXT:
            text = data.decode("utf-8", "replace")
            if name.endswith(".ipynb"):
                yield from ((name, cell.source) for cell in nbformat.reads(text, as_version=4).cells)
            else:
                yield name, text


def _same_bodies(sealed: Mapping[str, set[str]], texts: Texts) -> list[str]:
    code = [(name, bodies(text)) for name, text in texts if name.endswith((".py", ".ipynb"))]
    return sorted({f"{what}, in {name}" for what, own in sealed.items() for name, there in code if own & there})


def bodies(text: str) -> set[str]:
    """What the functions of Python text do, without names, docstrings and comments of theirs; trivial ones left out."""
    try:
        tree = parse(text)
    except SyntaxError:  # words, or a notebook's magic
        return set()
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            rest = node.body[1:] if ast.get_docstring(node) is not None else node.body
            body = "\n".join(map(ast.unparse, rest))
            if len(body) >= LONG_BODY:
                found.add(body)
    return found

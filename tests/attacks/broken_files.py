"""Files that are broken, each in its own way: how they are made from a right submission, and what must come of them."""

import copy
import gzip
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

UNREADABLE = "unreadable"
Tree = Any


@dataclass(frozen=True)
class Broken:
    """``make`` writes to ``folder``, given the right notebook's bytes. ``came`` is the score, or UNREADABLE."""

    name: str
    make: Callable[[Path, bytes], None]
    came: float | str


def as_bytes(name: str, came: float | str, change: Callable[[bytes], bytes]) -> Broken:
    """The notebook's bytes, changed."""
    return Broken(name, lambda folder, blob: (folder / NOTEBOOK).write_bytes(change(blob)) and None, came)


def as_tree(name: str, came: float | str, change: Callable[[Tree], Tree | None]) -> Broken:
    """The notebook's JSON, changed in place or replaced."""

    def changed(blob: bytes) -> bytes:
        tree = json.loads(blob)
        for cell in tree["cells"]:
            cell["source"] = "".join(cell["source"])
        new = change(tree)
        return json.dumps(tree if new is None else new).encode()

    return as_bytes(name, came, changed)


def on_cells(name: str, came: float | str, change: Callable[[dict], Any], where: str = "") -> Broken:
    """Every cell changed, or those whose id in nbgrader holds ``where``."""

    def changed(tree: Tree) -> None:
        for cell in tree["cells"]:
            if where in cell["metadata"].get("nbgrader", {}).get("grade_id", ""):
                change(cell)

    return as_tree(name, came, changed)


def nbgrader(**changes: Any) -> Callable[[dict], None]:
    """Change nbgrader's metadata where there is some."""
    return lambda cell: "nbgrader" in cell["metadata"] and cell["metadata"]["nbgrader"].update(changes)


def old_format(tree: Tree, number: int) -> Tree:
    """As nbformat 2 and 3 had it."""
    cells = []
    for cell in tree["cells"]:
        text = {"input": cell["source"], "language": "python", "outputs": [], "collapsed": False}
        code = cell["cell_type"] == "code"
        cells.append({"cell_type": cell["cell_type"], "metadata": {}, **(text if code else {"source": cell["source"]})})
    sheet = {"cells": cells, "metadata": {}}
    return {"worksheets": [sheet], "metadata": {"name": ""}, "nbformat": number, "nbformat_minor": 0}


def insert(tree: Tree, *cells: Tree) -> None:
    tree["cells"][1:1] = cells


def code(source: Any, **more: Any) -> dict:
    return {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None, **more}


def zipped(folder: Path, blob: bytes) -> None:
    with zipfile.ZipFile(folder / NOTEBOOK, "w") as file:
        file.writestr(NOTEBOOK, blob)


def sparse(folder: Path, blob: bytes) -> None:
    with (folder / NOTEBOOK).open("wb") as file:
        file.truncate(1 << 30)


def linked(kind: Callable) -> Callable[[Path, bytes], None]:
    def make(folder: Path, blob: bytes) -> None:
        elsewhere = folder.parent.parent.parent / "elsewhere.ipynb"
        elsewhere.write_bytes(blob)
        kind(elsewhere, folder / NOTEBOOK)

    return make


def beside(name: bytes | str, data: bytes = b"x = 1") -> Callable[[Path, bytes], None]:
    """A right notebook, and a file with an odd name among the student's own parts."""

    def make(folder: Path, blob: bytes) -> None:
        (folder / NOTEBOOK).write_bytes(blob)
        (folder / "my_mlsys").mkdir()
        Path(folder, "my_mlsys", os.fsdecode(name)).write_bytes(data)

    return make


def parts_elsewhere(folder: Path, blob: bytes) -> None:
    (folder / NOTEBOOK).write_bytes(blob)
    (folder / "my_mlsys").symlink_to("/etc")


NOTEBOOK = "lab00_foundations.ipynb"
FULL = 14.0
R_CODE = "library(torch)\nx <- function(y) { y * 2 }"
BOMB = b'{"cells": ' + b"[" * 100_000
LARGE = 'x = """' + "a" * (15 << 20) + '"""'

BYTES = [
    as_bytes("truncated", UNREADABLE, lambda b: b[: len(b) // 2]),
    as_bytes("empty", UNREADABLE, lambda b: b""),
    as_bytes("blanks", UNREADABLE, lambda b: b" \n\t\n"),
    as_bytes("binary", UNREADABLE, lambda b: bytes(range(256)) * 40),
    as_bytes("a picture", UNREADABLE, lambda b: b"\x89PNG\r\n\x1a\n" + bytes(500)),
    as_bytes("gzip", UNREADABLE, gzip.compress),
    as_bytes("UTF-16", UNREADABLE, lambda b: b.decode().encode("utf-16")),
    as_bytes("a byte order mark", FULL, lambda b: b"\xef\xbb\xbf" + b),
    as_bytes("latin-1", FULL, lambda b: b.replace(b"A lab to attack", "ein Labor für".encode("latin-1"))),
    as_bytes("wrong line ends", FULL, lambda b: b.replace(b"\n", b"\r\n")),
    as_bytes("carriage returns in sources", FULL, lambda b: b.replace(b"\\n", b"\\r\\n")),
    as_bytes("a web page", UNREADABLE, lambda b: b"<!DOCTYPE html><title>Sign in</title>"),
    as_bytes("a script", UNREADABLE, lambda b: b"def times(x):\n    return x\n"),
    as_bytes("conflict markers", UNREADABLE, lambda b: b.replace(b'"cells"', b'<<<<<<< HEAD\n"cells"')),
    as_bytes("words behind", UNREADABLE, lambda b: b + b"\nthat is all"),
    as_bytes("deep", UNREADABLE, lambda b: BOMB),
    as_bytes("a number", UNREADABLE, lambda b: b"42"),
    as_bytes("a number without end", UNREADABLE, lambda b: b"9" * 10_000),
    as_bytes("null", UNREADABLE, lambda b: b"null"),
    as_bytes("two keys alike", FULL, lambda b: b.replace(b'"nbformat": 4', b'"nbformat": 3, "nbformat": 4')),
    as_bytes("50 MB in one cell", UNREADABLE, lambda b: b.replace(b"A lab to attack", b"a" * (50 << 20))),
    Broken("a folder", lambda folder, blob: (folder / NOTEBOOK).mkdir(), UNREADABLE),
    Broken("a pipe", lambda folder, blob: os.mkfifo(folder / NOTEBOOK), UNREADABLE),
    Broken("a symbolic link", linked(lambda to, at: at.symlink_to(to)), UNREADABLE),
    Broken("a hard link", linked(lambda to, at: at.hardlink_to(to)), UNREADABLE),
    Broken("a link to a device", lambda folder, blob: (folder / NOTEBOOK).symlink_to("/dev/zero"), UNREADABLE),
    Broken("another name", lambda folder, blob: (folder / "Untitled.ipynb").write_bytes(blob) and None, UNREADABLE),
    Broken("no file", lambda folder, blob: None, UNREADABLE),
    Broken("zip", zipped, UNREADABLE),
    Broken("a gigabyte of nothing", sparse, UNREADABLE),
    Broken("parts under a name that is no text", beside(b"\xff\xfe.py"), FULL),
    Broken("parts that are binary", beside("odd.py", bytes(range(256))), FULL),
    Broken("parts elsewhere", parts_elsewhere, FULL),
]
TREES = [
    as_tree("nbformat 2", FULL, lambda t: old_format(t, 2)),
    as_tree("nbformat 3", FULL, lambda t: old_format(t, 3)),
    as_tree("nbformat 5", FULL, lambda t: t.update(nbformat=5)),
    as_tree("nbformat four", FULL, lambda t: t.update(nbformat="four", nbformat_minor=None)),
    as_tree("no nbformat", FULL, lambda t: t.pop("nbformat") and None),
    as_tree("no kernel", FULL, lambda t: t.update(metadata={})),
    as_tree("a foreign kernel", FULL, lambda t: t["metadata"].update(kernelspec={"name": "ir", "language": "R"})),
    as_tree("a kernel that is a list", FULL, lambda t: t["metadata"].update(kernelspec=[1], language_info=None)),
    as_tree("metadata null", FULL, lambda t: t.update(metadata=None)),
    as_tree("metadata a list", FULL, lambda t: t.update(metadata=[1, 2])),
    as_tree("widgets", FULL, lambda t: t["metadata"].update(widgets={"state": {"x": "<script>"}}, signature="x")),
    as_tree("not a number", FULL, lambda t: t["metadata"].update(x=float("nan"), y=float("inf"))),
    as_tree("no cells", UNREADABLE, lambda t: t.pop("cells") and None),
    as_tree("cells null", UNREADABLE, lambda t: t.update(cells=None)),
    as_tree("cells an object", UNREADABLE, lambda t: t.update(cells={"0": t["cells"][0]})),
    as_tree("cells empty", 0.0, lambda t: t.update(cells=[])),
    as_tree("cells that are none", FULL, lambda t: insert(t, None, 7, "x", [], {}, {"cell_type": "code"})),
    as_tree("a list", UNREADABLE, lambda t: [t]),
    as_tree("10,000 cells", FULL, lambda t: insert(t, *[code("1 + 1", id=f"c{n}") for n in range(10_000)])),
    as_tree("15 MB in one cell", FULL, lambda t: insert(t, code(LARGE))),
    as_tree("surrogates", FULL, lambda t: insert(t, code("x = '\ud800\udfff\udc80'"))),
    as_tree("NULs", FULL, lambda t: insert(t, code("x = 1\0\n"), code("\0\0"))),
    as_tree("control characters", FULL, lambda t: insert(t, code("x = '\x1b[2J\x08\u202e\u2028\f'\n\x0c"))),
    as_tree("R", 0.0, lambda t: [c.update(source=R_CODE) for c in t["cells"]] and None),
    as_tree("reversed", 0.0, lambda t: t["cells"].reverse()),
    as_tree("every cell twice", FULL, lambda t: t.update(cells=t["cells"] + copy.deepcopy(t["cells"]))),
    as_tree("another lab", 0.0, lambda t: t.update(cells=[
        code("def other(x): return x", metadata={"nbgrader": {"grade_id": "solution-other", "solution": True}}),
        code("check('other', other)", metadata={"nbgrader": {"grade_id": "other", "grade": True, "points": 99}})])),
]  # fmt: skip
CELLS = [
    on_cells("no ids", FULL, lambda c: c.pop("id", None)),
    on_cells("one id", FULL, lambda c: c.update(id="same")),
    on_cells("ids that are numbers", FULL, lambda c: c.update(id=7)),
    on_cells("ids too long", FULL, lambda c: c.update(id="x" * 500)),
    on_cells("no metadata", FULL, lambda c: c.pop("metadata")),
    on_cells("nbgrader's old schema", FULL, nbgrader(schema_version=1, checksum="0")),
    on_cells("nbgrader's next schema", FULL, nbgrader(schema_version=99, task=True)),
    on_cells("other points", FULL, nbgrader(points=1000, locked=False, grade=True, solution=True)),
    on_cells("points that are none", FULL, nbgrader(points="all of them", locked=None)),
    on_cells("names that are none", FULL, nbgrader(grade_id=["times"])),
    on_cells("answers as text", FULL, lambda c: c.update(cell_type="markdown"), "solution-"),
    on_cells("answers as raw text", FULL, lambda c: c.update(cell_type="raw"), "solution-"),
    on_cells("a type that is none", 0.0, lambda c: c.update(cell_type="heading")),
    on_cells("everything a code cell", FULL, lambda c: c.update(cell_type="code")),
    on_cells("sources as lists", FULL, lambda c: c.update(source=c["source"].splitlines(keepends=True))),
    on_cells("sources as odd lists", 0.0, lambda c: c.update(source=[1, None, {}])),
    on_cells("no sources", 0.0, lambda c: c.pop("source")),
    on_cells("sources that are numbers", 0.0, lambda c: c.update(source=3.5)),
    on_cells("outputs that are none", FULL, lambda c: c.update(outputs={"x": 1}, execution_count="many")),
    on_cells("outputs that act", FULL, lambda c: c.update(outputs=[{"output_type": "display_data", "metadata": {},
             "data": {"text/html": "<script>alert(1)</script>", "application/javascript": "alert(2)"}}])),
    on_cells("attachments", FULL, lambda c: c.update(attachments={"a.svg": {"image/svg+xml": "<svg onload=f()>"}})),
    on_cells("graded cells without name", FULL, lambda c: c["metadata"].pop("nbgrader", None), "times"),
    on_cells("graded cells edited", FULL, lambda c: c.update(source=c["source"].replace("check(", "print(")), "times"),
]  # fmt: skip
BROKEN = [*BYTES, *TREES, *CELLS]

"""A notebook's cell as a syntax tree, read as IPython reads it: magics, prompts and help are turned into Python first.

Nothing is executed. What runs by a magic in the notebook's own namespace is read like the rest; what cannot be read is
noted, for whoever searches.
"""

import __future__

import ast
import functools
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..syntax import parse

LONGEST_CELL = 100_000  # characters; parsing takes a thousand times that
DEEPEST = 5  # magics in magics
MOST_READ = 400_000  # magics times characters: IPython reads the whole cell for each
# In this namespace: their text is read. In another process, or none: their text is nobody's business here.
PYTHON = frozenset(("time", "timeit", "capture", "prun", "debug"))
_ELSEWHERE = (
    "bash sh script sx system html HTML javascript js markdown latex svg SVG perl ruby cmd python python2 python3 pypy"
)
_HARMLESS = (
    "matplotlib config autoreload aimport env set_env pip conda uv who whos who_ls pwd cd ls ll la lx ldir "
    "cat less more man mkdir rmdir mv cp rm history hist lsmagic magic quickref precision pprint xmode colors "
    "doctest_mode page pinfo pinfo2 pdoc pdef pfile psource psearch tb notebook gui connect_info qtconsole "
    "autosave dirs dhist pushd popd bookmark clear cls reset reset_selective xdel save pastebin logstart "
    "logstop logon logoff logstate pycat unload_ext "
)
_BRINGING = "writefile file run load loadpy load_ext reload_ext macro recall rep rerun edit ed code_wrap pylab"
ELSEWHERE, HARMLESS, BRINGING = (frozenset(names.split()) for names in (_ELSEWHERE, _HARMLESS, _BRINGING))
EXTENSIONS = ("autoreload", "line_profiler", "memory_profiler", "tensorboard")
# Where a text that is Python could be something else to IPython: it cuts lines at these, and takes prompts off.
_ELSE = re.compile("[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]" + r"|(?m:^[ \t]*(>>>|\.\.\.|In *\[|\[nav\]|\[ins\]))")
_SHELL = re.compile(r"(?m)^[ \t]*[%!]|=[ \t]*[%!]|^[^\n]*\?[ \t]*$")
_OPTIONS = re.compile(r"^(\s*-{1,2}\w+(?:[ =]?\d+)?)*\s*(--\s)?")


@dataclass(frozen=True)
class Note:
    """What a search of the text has to know of a line: code that it ``hides``, or that comes from elsewhere."""

    line: int
    why: str
    hides: bool = False


@dataclass(frozen=True)
class Reading:
    """A cell's statements, each with its own lines as ``text`` where they are nobody else's.

    There are none where it is no Python to IPython either, which ``broken`` says.
    """

    statements: Sequence[ast.stmt] = field(default_factory=list)
    notes: Sequence[Note] = ()
    broken: bool = False


@functools.lru_cache(maxsize=256)  # a notebook is searched once for each exercise, and most cells are everybody's
def read(source: str) -> Reading:
    """Read one cell."""
    return _read(source, 0)


def _read(source: str, depth: int) -> Reading:
    if len(source) > LONGEST_CELL or depth > DEEPEST:
        return Reading(notes=[Note(1, "is too long to be searched" if not depth else "hides magics in magics", True)])
    try:
        if not _ELSE.search(source):
            return Reading(_with_lines(parse(source).body, source.split("\n")))
    except (ValueError, RecursionError, MemoryError):
        return Reading(notes=[Note(1, "cannot be read", True)])
    except SyntaxError:
        pass
    return _as_shell(source, depth)


def _as_shell(source: str, depth: int) -> Reading:
    """What IPython makes of it."""
    from IPython.core.inputtransformer2 import TransformerManager  # where there is none, no cell has magics

    if len(_SHELL.findall(source)) * len(source) > MOST_READ:
        return Reading(notes=[Note(1, "has more magics than can be read", True)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # IPython's own, about how a cell's last line ends
            text = TransformerManager().transform_cell(source)
        tree = _parsed(text)
    except SyntaxError:
        return Reading(broken=True)
    except (ValueError, RuntimeError, MemoryError):  # RecursionError too
        return Reading(notes=[Note(1, "cannot be read", True)])
    magics, statements = _Magics(depth), []
    for statement in _with_lines(tree.body, text.split("\n")):
        ran = len(magics.ran)
        new = magics.visit(statement)
        if isinstance(new, ast.stmt) and len(magics.ran) > ran:
            new.text = ""  # type: ignore[attr-defined]
        statements += new if isinstance(new, list) else [new]
    above = len(source[: len(source) - len(source.lstrip())].split("\n")) - 1  # empty lines, which IPython leaves out
    for statement in statements:
        ast.increment_lineno(ast.fix_missing_locations(statement), above)
    return Reading(statements, [Note(note.line + above, note.why, note.hides) for note in magics.notes])


def _with_lines(statements: Sequence[ast.stmt], lines: Sequence[str]) -> Sequence[ast.stmt]:
    """The statements, each with its own lines where it shares none with a neighbour."""
    ends = [0, *(s.end_lineno or 0 for s in statements)]
    starts = [*map(_first_line, statements), len(lines) + 1]
    for n, statement in enumerate(statements):
        alone = ends[n] < starts[n] and ends[n + 1] < starts[n + 1]
        statement.text = "\n".join(lines[starts[n] - 1 : ends[n + 1]]) if alone else ""  # type: ignore[attr-defined]
    return statements


def _first_line(statement: ast.stmt) -> int:
    return min([statement.lineno, *(d.lineno for d in getattr(statement, "decorator_list", []))])


def _parsed(text: str) -> ast.Module:
    """Of Python, also with ``<>``, which one of Python's own jokes brings back; a single line may be a magic's."""
    try:
        return parse(text)
    except SyntaxError:
        flags = ast.PyCF_ONLY_AST | __future__.barry_as_FLUFL.compiler_flag
        try:
            return compile(text, "<cell>", "exec", flags, dont_inherit=True)  # pyright: ignore[reportReturnType]
        except SyntaxError:
            head, _, rest = text.strip().partition(" ")
            if len(text.splitlines()) == 1 and head in PYTHON | BRINGING | HARMLESS:
                return parse(f"get_ipython().run_line_magic({head!r}, {rest!r})")
            raise


class _Magics(ast.NodeTransformer):
    """Puts in the place of a magic what it runs."""

    def __init__(self, depth: int):
        self.depth = depth
        self.ran: list[str] = []
        self.notes: list[Note] = []

    def visit_Expr(self, node: ast.Expr) -> list[ast.stmt] | ast.stmt:
        """A magic that is a statement: its statements."""
        if (arguments := _magic(node.value)) is None:
            self.generic_visit(node)
            return node
        return self._run(node.value, *arguments) or ast.copy_location(ast.Pass(), node)

    def visit_Call(self, node: ast.Call) -> ast.expr:
        """A magic in an assignment: its expression."""
        if (arguments := _magic(node)) is None:
            self.generic_visit(node)
            return node
        statements = self._run(node, *arguments)
        values = [s.value for s in statements if isinstance(s, ast.Expr)]
        if len(values) < len(statements):
            self.notes.append(Note(node.lineno, "hides statements in an expression", True))
        nothing = ast.Constant(None)
        return ast.copy_location(ast.Tuple(values, ast.Load()) if len(values) > 1 else [*values, nothing][0], node)

    def _run(self, node: ast.expr, kind: str, name: str, line: str, body: str) -> list[ast.stmt]:
        self.ran.append(name)
        if kind in ("system", "getoutput") or (name in ELSEWHERE) or (name in HARMLESS and kind == "run_line_magic"):
            return self._expanded(node, line.partition("=")[2] if name == "config" else "", line)
        if name in BRINGING:
            if not (name.endswith("load_ext") and line.strip() in EXTENSIONS):
                hides = name not in ("writefile", "file")
                self.notes.append(Note(node.lineno, "brings in code by a magic", hides))
            return []
        if name not in PYTHON:
            self.notes.append(Note(node.lineno, f"runs a magic that cannot be read: `{name[:40]}`", True))
            return []
        if name == "capture":
            return [*_bound(line), *self._inner(node, body, 0)]
        setup = line if kind == "run_line_magic" or name == "timeit" else ""
        return [*self._inner(node, _OPTIONS.sub("", setup, count=1), -1), *self._inner(node, body, 0)]

    def _expanded(self, node: ast.expr, assigned: str, line: str) -> list[ast.stmt]:
        """IPython evaluates what stands in braces in a magic's or a shell's line, and what `%config` is to set."""
        found: list[ast.stmt] = []
        for text in filter(str.strip, [assigned, *_in_braces(line)]):
            inner = _parsed_or_none(text.strip())
            if inner is None:
                self.notes.append(Note(node.lineno, "has code in a magic that cannot be read", True))
                continue
            for statement in inner:
                found.append(ast.increment_lineno(statement, node.lineno - 1))
        return found

    def _inner(self, node: ast.expr, text: str, shift: int) -> list[ast.stmt]:
        inner = _read(text, self.depth + 1) if text.strip() else Reading()
        if inner.broken:  # with options of another kind before it, perhaps
            inner = Reading(notes=[Note(1, "runs a magic whose text cannot be read", True)])
        for statement in inner.statements:
            ast.increment_lineno(statement, node.lineno + shift)
        self.notes += [Note(note.line + node.lineno + shift, note.why, note.hides) for note in inner.notes]
        return list(inner.statements)


def _in_braces(line: str) -> list[str]:
    """What stands between a brace and every one that may be its other half, the widest first: none is left unread."""
    first, last = line.find("{"), line.rfind("}")
    if first < 0 or last < first:
        return []
    whole = line[first + 1 : last]
    pieces = [piece.partition("}")[0] for piece in line[first + 1 :].split("{")]
    return [whole] if _parsed_or_none(whole) else pieces


def _parsed_or_none(text: str) -> list[ast.stmt] | None:
    try:
        return list(parse(f"({text})").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bound(line: str) -> list[ast.stmt]:
    """``%%capture out`` binds ``out``."""
    name = line.strip().split(" ")[-1]
    return list(parse(f"{name} = None").body) if name.isidentifier() else []


def _magic(node: ast.expr) -> tuple[str, str, str, str] | None:
    """(kind, name, line, body) of what IPython writes for a magic or a shell line."""
    function = node.func if isinstance(node, ast.Call) else None
    if not (
        isinstance(node, ast.Call) and isinstance(function, ast.Attribute) and isinstance(function.value, ast.Call)
    ):
        return None
    shell, kind = function.value.func, function.attr
    given = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    counts = {"run_line_magic": 2, "run_cell_magic": 3, "system": 1, "getoutput": 1}
    if not (isinstance(shell, ast.Name) and shell.id == "get_ipython" and len(given) == counts.get(kind)):
        return None
    return (kind, *given, *[""] * (3 - len(given))) if len(given) > 1 else (kind, "", *given, "")  # pyright: ignore

"""Signs of an evasion in a submission's text, for a person to judge. A flag costs no points.

What an exercise forbids is refused while it runs, but by a guard in the student's own process: whoever switches it
off, or reaches round it, writes something that honest solutions have no use for. That is what is looked for: in what
the candidate of an exercise with forbidden calls reaches, and in the whole notebook, whatever patches what it runs on.
"""

import ast
import builtins
import functools
import itertools
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mlsys_course.desk.check import Driver, Specification
from mlsys_course.desk.check.reach import (
    Reached,
    bound_names,
    docstrings,
    dotted_name,
    import_aliases,
    messages,
    nodes_of,
    parse_cell,
    reach,
    searched,
    used_names_of,
)
from mlsys_course.desk.check.reading import LONGEST_CELL, read
from mlsys_course.desk.former_names import present
from mlsys_course.desk.syntax import parse

from ..sandbox import Cell
from .signs import DYNAMIC, HOOKS, INNARDS, KNOWN, PATCHABLE, PLACES, ROADS, STARS, WIDE_ROADS

HARMLESS = ("__name__", "__qualname__", "__doc__", "__init__", "__call__", "__version__", "__file__")
WORD = 12  # characters
NAMED = ("getattr", "setattr", "delattr", "hasattr", "attrgetter", "methodcaller")


@dataclass(frozen=True)
class Flag:
    """One line of the text that a person should look at: ``where`` is a cell ("cell 3") or a file handed in with it."""

    where: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.where}, line {self.line}: {self.why}"


def flags(
    cells: Sequence[Cell],
    specifications: Mapping[str, Specification],
    drivers: Mapping[str, Driver],
    files: Mapping[str, bytes] | None = None,
) -> dict[str, list[Flag]]:
    """Flags by exercise; under "" those that concern the whole notebook. Empty for honest work.

    ``files`` are those handed in beside the notebook (``my_mlsys/attention.py`` -> its bytes). Cells count from 1,
    code cells only, as in the run's log.
    """
    given = {f"cell {n}": cell.source for n, cell in enumerate(cells, 1) if not cell.exercise and not cell.skip}
    texts = dict(zip(given, searched(given.values()), strict=True))
    carried = {name: data.decode(errors="replace") for name, data in (files or {}).items()}
    hidden = [
        Flag(where, 0, "is too long to be searched") for where, text in given.items() if text and not texts[where]
    ] + [Flag(where, n.line, n.why) for where, text in texts.items() for n in read(text).notes if n.hides]
    work = _Notebook.of(texts)
    aliases = tuple(sorted(work.aliases.items()))
    patches = [Flag(where, line, why) for where, text in texts.items() for line, why in _patches(text, aliases)]
    for path, text in carried.items():
        text = text[:LONGEST_CELL]
        own = tuple(sorted(import_aliases(parse_cell(text)).items()))
        patches += [Flag(path, line, why) for line, why in _patches(text, own)]
    found = {"": [*hidden, *patches]}
    for name, specification in specifications.items():
        expression = next((cell.candidate for cell in cells if cell.exercise == name), "")
        if (specification.forbidden or specification.allowed) and expression:
            stop = drivers[name].parts if name in drivers else ()
            found[name] = list(_evasions(work, expression, stop, specification.forbidden, carried))
            found[name] += [
                Flag(flag.where, flag.line, "what this exercise forbids may be hidden here: the cell " + flag.why)
                for flag in hidden
            ]
        if expression and any("peak_memory" in case.limits for case in specification.cases):
            found[name] = [*found.get(name, []), *_kept_outside(work, expression)]
    return {name: list(dict.fromkeys(those)) for name, those in found.items() if those}


@dataclass(frozen=True)
class _Notebook:
    """What is searched, read once for all exercises: each cell's text and statements, and the imports' aliases."""

    texts: Mapping[str, str]
    statements: Mapping[str, Sequence[ast.stmt]]
    aliases: Mapping[str, str]
    places: Mapping[int, str]  # in which cell a statement stands, by its id

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> "_Notebook":
        statements = {where: parse_cell(text) for where, text in texts.items()}
        places = {id(s): where for where, cell in statements.items() for s in cell}
        return cls(texts, statements, import_aliases(s for cell in statements.values() for s in cell), places)

    def reach(self, roots: Iterable[str], stop: Iterable[str] = (), *, changes: bool = False) -> Reached:
        return reach(list(self.texts.values()), roots, stop, changes=changes)

    def place(self, statement: ast.stmt) -> str:
        return self.places.get(id(statement), "notebook")


def _kept_outside(work: _Notebook, expression: str) -> Iterator[Flag]:
    """What a candidate whose memory counts has set aside before it is called: that is part of no peak."""
    for statement in work.reach(used_names_of(expression)).statements:
        value = getattr(statement, "value", None) if isinstance(statement, ast.Assign | ast.AnnAssign) else None
        if value is not None and any(isinstance(node, ast.Call) for node in nodes_of(value)):
            yield Flag(
                work.place(statement),
                statement.lineno,
                "is set aside outside the function, where its memory does not count",
            )


def _evasions(
    work: _Notebook, expression: str, stop, forbidden: Sequence[str], carried: Mapping[str, str]
) -> Iterator[Flag]:
    """In what one candidate reaches, and in the carried files that it takes something from."""
    roots = used_names_of(expression)
    reached = work.reach(roots, stop)
    everything = [s for cell in work.statements.values() for s in cell]
    short = {name.rsplit(".", 1)[-1] for name in forbidden if not name.startswith("torch.Tensor.")}
    for statement in work.reach(roots, stop, changes=True).statements:
        yield from _signs(statement, work.place(statement), work.aliases, short)
    for name in sorted(reached.missing - roots - _from_stars(everything) - set(KNOWN)):
        yield Flag("notebook", 0, f"the candidate uses `{name}`, which no cell defines in plain text")
    for path, text in carried.items():
        if _taken(path, reached):
            tree = _parsed(text)
            own = import_aliases(tree)
            for statement in tree:
                yield from _signs(statement, path, own, short)
                for node in nodes_of(statement):
                    if isinstance(node, ast.Attribute | ast.Name) and _mentions(node, own, short):
                        yield Flag(path, node.lineno, f"a carried part calls `{ast.unparse(node)[:60]}`")


def _parsed(text: str) -> Sequence[ast.stmt]:
    """Statements of a module, where no line is a magic's."""
    try:
        return parse(text[:LONGEST_CELL]).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _signs(statement: ast.stmt, where: str, aliases: Mapping[str, str], short: set[str]) -> Iterator[Flag]:
    """What honest candidates have no use for."""
    skip = docstrings(statement) | messages(statement)
    for node in nodes_of(statement):
        line = getattr(node, "lineno", 0)
        if why := _dynamic(node, aliases) or _innards(node) or _road(node, aliases, ROADS):
            yield Flag(where, line, why)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skip:
            # A word such as "gelu" may be the name of a choice; in a longer text, or looked up, it is none.
            if hidden := next((s for s in sorted(short) if s in node.value and (s != node.value or len(s) > WORD)), ""):
                yield Flag(where, line, f"a string holds `{hidden}`")
        elif isinstance(node, ast.Attribute) and node.attr in short:
            yield Flag(where, line, f"names `{node.attr}`")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for root in _roots(node) - set(KNOWN):
                yield Flag(where, line, f"imports `{root}`, which is no part of the course")


@functools.lru_cache(maxsize=256)  # most cells are everybody's
def _patches(text: str, imported: tuple[tuple[str, str], ...]) -> Sequence[tuple[int, str]]:
    """In any cell, by line: changes to what everything runs on, and looks at where the notebook lives."""
    found, aliases, statements = [], dict(imported), parse_cell(text)
    skip = {i for s in statements for i in docstrings(s)}
    for compared in (node for s in statements for node in nodes_of(s) if isinstance(node, ast.Compare)):
        skip |= {id(node) for node in compared.comparators}  # `"google.colab" in sys.modules` changes nothing
    for node in (node for s in statements for node in nodes_of(s)):
        line = getattr(node, "lineno", 0)
        if id(node) in skip:
            continue
        if why := _patch(node, aliases) or _hook(node) or _road(node, aliases, WIDE_ROADS):
            found.append((line, why))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found += [(line, f"names {p}") for p in PLACES if node.value.startswith(p)]
            if any(word in INNARDS or (_inner_word(word) and word != "__main__") for word in node.value.split(".")):
                found.append((line, f"a string names `{node.value[:60]}`"))
    return found + [(note.line, note.why) for note in read(text).notes if not note.hides]


def _dynamic(node: ast.AST, aliases: Mapping[str, str]) -> str:
    """Code from data, and names that are computed."""
    if isinstance(node, ast.Name) and node.id in DYNAMIC and node.id not in aliases:
        return f"uses `{node.id}`"
    if isinstance(node, ast.Call) and (name := _called(node)) in NAMED:
        names = node.args[1:2] if name.endswith("attr") else node.args[:1]
        if any(not isinstance(n, ast.Constant) for n in [*names, *(k.value for k in node.keywords if k.arg == "name")]):
            return f"`{name}` with a name that is computed"
    return ""


def _innards(node: ast.AST) -> str:
    """Attributes that lead from an object to the interpreter's own."""
    if not isinstance(node, ast.Attribute):
        return ""
    if node.attr in INNARDS:
        return f"looks into `{node.attr}`"
    inner = node.value
    if _dunder(node) and isinstance(inner, ast.Attribute) and _dunder(inner):
        return f"a chain of `{inner.attr}.{node.attr}`"
    return ""


def _dunder(node: ast.Attribute) -> bool:
    return _inner_word(node.attr)


def _inner_word(word: str) -> bool:
    return word.startswith("__") and word.endswith("__") and len(word) > 4 and word not in HARMLESS


def _road(node: ast.AST, aliases: Mapping[str, str], roads: Collection[str]) -> str:
    """Modules and functions by their full name, whatever they are called here."""
    names: list[str] = []
    if isinstance(node, ast.Attribute | ast.Name):
        names = [dotted_name(node, aliases)]
    elif isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    road = next((prefix for name in names for prefix in _prefixes(present(name)) if prefix in roads), "")
    return f"uses `{road}`" if road else ""


def _prefixes(name: str) -> Sequence[str]:
    """``a.b.c`` as ``a``, ``a.b``, ``a.b.c``."""
    return list(itertools.accumulate(name.split("."), lambda left, right: f"{left}.{right}"))


def _patch(node: ast.AST, aliases: Mapping[str, str]) -> str:
    """An attribute of a module or a class of the course's ground that is given another value."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign | ast.Delete):
        targets = [t for target in node.targets for t in getattr(target, "elts", [target])]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Call) and _called(node) in ("setattr", "delattr") and node.args:
        targets = [ast.Attribute(node.args[0], "?")]
    for target in targets:
        inner = target.value if isinstance(target, ast.Subscript) else target
        name = dotted_name(inner, aliases)
        if name.startswith(PATCHABLE) and (isinstance(inner, ast.Attribute)):
            return f"changes `{name.removesuffix('.?')}`"
    return ""


def _hook(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute) and node.attr in HOOKS:
        return f"uses the shell's `{node.attr}`"
    if isinstance(node, ast.Name) and node.id in ("eval", "exec", "compile", "globals", "__import__", "__builtins__"):
        return f"uses `{node.id}`"
    return ""


def _called(node: ast.Call) -> str:
    function = node.func
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _mentions(node: ast.AST, aliases: Mapping[str, str], short: set[str]) -> bool:
    name = dotted_name(node, aliases)
    return name.startswith("torch") and name.rsplit(".", 1)[-1] in short


def _roots(node: ast.Import | ast.ImportFrom) -> set[str]:
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or "."]
    return {name.split(".")[0] for name in names}


def _taken(path: str, reached: Reached) -> bool:
    """Whether reached code takes something from a file handed in beside the notebook."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    taken = {d for d in reached.dotted if d.startswith("my_mlsys")}
    for statement in reached.statements:
        for node in nodes_of(statement):
            if isinstance(node, ast.Import):
                taken |= {alias.name for alias in node.names if alias.name.startswith("my_mlsys")}
    return (module == "my_mlsys" and bool(taken)) or any(t == module or t.startswith(f"{module}.") for t in taken)


def _from_stars(statements: Sequence[ast.stmt]) -> set[str]:
    """Names that ``from torch import *`` and its like bring, and those of an interactive session."""
    found = {"In", "Out", "display", "get_ipython", "_"}
    for statement in statements:
        if isinstance(statement, ast.ImportFrom) and any(alias.name == "*" for alias in statement.names):
            module = sys.modules.get(statement.module or "") if statement.module in STARS else None
            found |= set(dir(module)) if module else set()
    return found | set(dir(builtins)) | {n for s in statements for n in bound_names(s)}

"""What a candidate reaches: the definitions of a notebook that its code depends on, read from the text."""

import ast
import builtins
import functools
import symtable
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ..former_names import present
from ..syntax import parse
from .reading import LONGEST_CELL, read

LONGEST_NOTEBOOK = 400_000  # characters that are searched
LOOKUPS = ("getattr", "hasattr", "setattr", "attrgetter", "methodcaller", "import_module", "__import__", "eval", "exec")
CHANGERS = ("setattr", "delattr", "vars", "object")
CONTAINERS = ("append", "extend", "insert", "add", "update", "setdefault", "appendleft", "register")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Reached:
    """Top-level statements that the roots depend on, in notebook order, and what their text mentions.

    ``dotted`` holds names resolved through the notebook's imports (``F.softmax`` as
    ``torch.nn.functional.softmax``), ``strings`` those that look something up by its name, ``missing`` names defined
    nowhere.
    """

    statements: list[ast.stmt] = field(default_factory=list)
    dotted: set[str] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    cells: set[int] = field(default_factory=set)  # that hold the statements

    def source(self) -> str:
        """The statements as the text of a module, comments inside them kept."""
        text = ""
        for before, statement in zip([None, *self.statements], self.statements, strict=False):
            apart = any(isinstance(s, DEFINITIONS) for s in (before, statement))
            text += ("\n\n\n" if apart else "\n") if text else ""
            text += getattr(statement, "text", "") or ast.unparse(statement)
        return text + "\n"


def parse_cell(source: str) -> Sequence[ast.stmt]:
    """Statements of a cell as IPython reads it; empty where it does not parse."""
    return read(source).statements


def searched(sources: Iterable[str]) -> list[str]:
    """The sources, with those left empty that are too long to be searched, or come after too much."""
    found, length = [], 0
    for source in sources:
        length += len(source)
        found.append(source if len(source) <= LONGEST_CELL and length <= LONGEST_NOTEBOOK else "")
    return found


def nodes_of(statement: ast.AST) -> Sequence[ast.AST]:
    """All nodes of a statement; walking it takes longer than looking at them, so it is done once."""
    found = getattr(statement, "nodes", None)
    if found is None:
        found = statement.nodes = list(ast.walk(statement))  # type: ignore[attr-defined]
    return found


def bound_names(statement: ast.stmt) -> set[str]:
    """Names that a top-level statement binds in the notebook's namespace, in whichever of its branches."""
    found: set[str] = set()
    inner: list[ast.AST] = [statement]
    while inner:
        node = inner.pop()
        found |= _bound_by(node)
        if not isinstance(node, (*DEFINITIONS, ast.Lambda, ast.Import, ast.ImportFrom)):
            inner += ast.iter_child_nodes(node)
    return found


def _bound_by(node: ast.AST) -> set[str]:
    if isinstance(node, DEFINITIONS):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name.split(".")[0]) for alias in node.names}
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    return {name for name in (getattr(node, "name", None), getattr(node, "rest", None)) if isinstance(name, str)}


def _bound_from_within(statement: ast.stmt) -> set[str]:
    """Names that a function declares global: whoever calls it binds them."""
    return {name for node in nodes_of(statement) if isinstance(node, ast.Global) for name in node.names}


def used_names(statement: ast.AST) -> set[str]:
    """Names that a statement reads from the notebook's namespace; a function's own variables are none of them."""
    found: set[str] | None = getattr(statement, "used", None)
    if found is not None:
        return found
    found = set()
    try:
        tables = [symtable.symtable(ast.unparse(statement), "<cell>", "exec")]
    except (SyntaxError, RecursionError):  # what IPython alone allows: then every name that it reads
        tables = []
        found |= {n.id for n in nodes_of(statement) if isinstance(n, ast.Name)}
    while tables:
        table = tables.pop()
        tables += table.get_children()
        top = table.get_type() == "module"
        found |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (top or s.is_global())}
    statement.used = found  # type: ignore[attr-defined]
    return found


def docstrings(tree: ast.AST) -> set[int]:
    """Ids of the constants that are docstrings, which mention without calling."""
    found = set()
    for node in nodes_of(tree):
        if isinstance(node, DEFINITIONS) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(id(first.value))
    return found


def messages(tree: ast.AST) -> set[int]:
    """Ids of the constants in ``raise`` and ``assert``: words for people."""
    spoken = (node for node in nodes_of(tree) if isinstance(node, ast.Raise | ast.Assert))
    return {id(inner) for node in spoken for inner in ast.walk(node) if isinstance(inner, ast.Constant)}


def dotted_name(node: ast.AST, aliases: Mapping[str, str]) -> str:
    """``F.softmax`` as ``torch.nn.functional.softmax``; empty where the base is no import."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in aliases:
        return ""
    return present(".".join([aliases[node.id], *reversed(parts)]))


def import_aliases(statements: Iterable[ast.stmt], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Name in the notebook -> dotted name that it stands for, following plain assignments (``f = F.softmax``)."""
    aliases: dict[str, str] = dict(known or {})
    for statement in statements:
        for node in nodes_of(statement):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    name = alias.asname or alias.name.split(".")[0]
                    aliases[name] = alias.name if alias.asname else name
            elif isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    names = _stars(node.module) if alias.name == "*" else [alias.name]
                    aliases |= {alias.asname or name: f"{node.module}.{name}" for name in names}
            elif isinstance(node, ast.Assign) and (target := dotted_name(node.value, aliases)):
                for name in node.targets:
                    if isinstance(name, ast.Name):
                        aliases[name.id] = target
    return aliases


def _stars(module: str) -> list[str]:
    """What ``from module import *`` brings, of PyTorch's own modules; nobody else's is asked."""
    found = sys.modules.get(module) if module.split(".")[0] == "torch" else None
    public = [name for name in dir(found) if not name.startswith("_")] if found else []
    return list(getattr(found, "__all__", public))


def _own_aliases(statement: ast.stmt, aliases: Mapping[str, str]) -> dict[str, str]:
    """The aliases that hold inside a statement: the notebook's, but for names that are a function's own there."""
    inside = import_aliases([statement], aliases)
    known = used_names(statement) | bound_names(statement)
    for node in nodes_of(statement):
        if isinstance(node, ast.Import | ast.ImportFrom) or (
            isinstance(node, ast.Assign) and dotted_name(node.value, inside)
        ):
            known |= bound_names(node)
    return {name: target for name, target in inside.items() if name in known}


@functools.lru_cache(maxsize=8)
def _program(sources: tuple[str, ...]) -> tuple[list[ast.stmt], dict[str, list[int]], dict[str, str]]:
    """Statements of all cells, which of them bind a name in the end, and the imports' aliases."""
    statements = [statement for source in sources for statement in parse_cell(source)]
    binds: dict[str, list[int]] = {}
    for index, statement in enumerate(statements):
        for name in bound_names(statement):
            if isinstance(statement, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
                binds[name] = [index]
            else:
                binds.setdefault(name, []).append(index)
        for name in _bound_from_within(statement):
            binds.setdefault(name, []).append(index)
    return statements, binds, import_aliases(statements)


def reach(sources: Sequence[str], roots: Iterable[str], stop: Iterable[str] = (), *, changes: bool = False) -> Reached:
    """Follow ``roots`` through the cells' top-level statements; of two definitions the later one counts.

    Names in ``stop`` are not followed: a composite's parts, which are exercises of their own. With ``changes`` what may
    change something that is reached is reached too: every statement with a name in it that stands for data, and those
    that give a function, a class or a module attributes or entries.
    """
    read = searched(sources)
    statements, binds, aliases = _program(tuple(read))
    cell_of = [cell for cell, source in enumerate(read) for _ in parse_cell(source)]
    wanted, seen, missing = list(roots), set(stop), set()
    indices: set[int] = set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in binds and not hasattr(builtins, name):
            missing.add(name)
        for index in [*binds.get(name, []), *(_changing(name, statements, binds) if changes else ())]:
            if index not in indices:
                indices.add(index)
                wanted.extend(used_names(statements[index]))
    chosen = [statements[i] for i in sorted(indices)]
    result = Reached(chosen, missing=missing, cells={cell_of[i] for i in indices})
    for statement in chosen:
        own = _own_aliases(statement, aliases)
        for node in nodes_of(statement):
            if isinstance(node, ast.Attribute | ast.Name) and (found := dotted_name(node, own)):
                result.dotted.add(found)
            elif isinstance(node, ast.ImportFrom) and node.module:
                named = {alias.name for alias in node.names if (alias.asname or alias.name) in seen}
                result.dotted.update(present(f"{node.module}.{name}") for name in named)
            else:
                result.strings.update(_looked_up(node))
    return result


def _changing(name: str, statements: Sequence[ast.stmt], binds: Mapping[str, list[int]]) -> Iterator[int]:
    """The statements that may change what a name stands for, without binding it."""
    bound = [statements[index] for index in binds.get(name, [])]
    data = bool(bound) and not all(isinstance(s, (*DEFINITIONS, ast.Import, ast.ImportFrom)) for s in bound)
    for index, statement in enumerate(statements):
        if name in used_names(statement) and (data or name in _given_something(statement)):
            yield index


def _given_something(statement: ast.stmt) -> set[str]:
    """Names that a statement gives attributes or entries, or hands to what can: ``f.helper = g``, ``vars(f)``."""
    found: set[str] | None = getattr(statement, "given", None)
    if found is None:
        found = statement.given = set(filter(None, map(_given, nodes_of(statement))))  # type: ignore[attr-defined]
    return found


def _given(node: ast.AST) -> str:
    inner: ast.AST | None = None
    if isinstance(node, ast.Attribute | ast.Subscript):
        named = getattr(node, "attr", "")
        if not isinstance(node.ctx, ast.Load) or named.startswith("__") or named in CONTAINERS:
            inner = node.value
    elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in CHANGERS and node.args:
        inner = node.args[0]
    while isinstance(inner, ast.Attribute | ast.Subscript):
        inner = inner.value
    return getattr(inner, "id", "")


def _looked_up(node: ast.AST) -> list[str]:
    """Strings that name an attribute: ``getattr(F, "softmax")``, ``vars(F)["softmax"]``. Others are words."""
    constants: list[ast.expr] = []
    if isinstance(node, ast.Call):
        function = node.func
        name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
        if name in LOOKUPS or (name in ("get", "pop") and _is_namespace(getattr(function, "value", None))):
            constants = [*node.args, *(keyword.value for keyword in node.keywords)]
    elif isinstance(node, ast.Subscript) and _is_namespace(node.value):
        constants = [node.slice]
    return [c.value for c in constants if isinstance(c, ast.Constant) and isinstance(c.value, str)]


def _is_namespace(node: ast.AST | None) -> bool:
    """``vars(x)``, ``globals()``, ``x.__dict__``."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in ("vars", "globals", "locals")
    return isinstance(node, ast.Attribute) and node.attr == "__dict__"


def used_names_of(expression: str) -> set[str]:
    """Names that an expression reads."""
    return used_names(parse(expression)) if expression else set()

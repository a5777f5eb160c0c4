"""The course's own operators: mistakes in code of tensors, gradients, caches and ranks.

Each is a function of (source, place): the text with its change made at the place-th spot, None where there are fewer.
"""

import ast
from collections.abc import Callable, Iterator

from mlsys_course.desk.syntax import parse

Operator = Callable[[str, int], str | None]
DETACHED, REMEMBERED, WRITTEN = "_detached", "_remembered", "_written"  # what mutants call: helpers.py
SYMMETRIC = ("promote_types", "transpose", "maximum", "minimum", "max", "min", "broadcast_shapes", "equal", "gcd")
CASTS = ("to", "float", "double", "clone", "contiguous", "type_as", "copy")


def _operator(spots: Callable[[ast.AST], Iterator[Callable[[], None]]]) -> Operator:
    """From a function that yields, for a tree, a change for each spot."""

    def changed(source: str, place: int) -> str | None:
        tree = parse(source)
        for number, change in enumerate(spots(tree)):
            if number == place:
                change()
                return ast.unparse(ast.fix_missing_locations(tree)) + "\n"
        return None

    return changed


def _replaced(tree: ast.AST, wanted: Callable[[ast.AST], list[ast.AST]]) -> Iterator[Callable[[], None]]:
    """A change for each node for which ``wanted`` gives replacements."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for at, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, ast.AST):
                    for new in wanted(node):
                        yield lambda parent=parent, field=field, at=at, new=new: _put(parent, field, at, new)


def _put(parent: ast.AST, field: str, at: int | None, new: ast.AST) -> None:
    if at is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[at] = new


@_operator
def drop_a_branch(tree: ast.AST) -> Iterator[Callable[[], None]]:
    """Only one side of an ``if`` or of ``a if b else c``."""

    def sides(node: ast.AST) -> list[ast.AST]:
        if isinstance(node, ast.IfExp):
            return [node.body, node.orelse]
        if isinstance(node, ast.If):
            always, never = ast.Constant(True), ast.Constant(False)
            return [ast.If(test, node.body, node.orelse) for test in (always, never)]
        return []

    return _replaced(tree, sides)


@_operator
def drop_a_statement(tree: ast.AST) -> Iterator[Callable[[], None]]:
    """A statement that is left out."""

    def nothing(node: ast.AST) -> list[ast.AST]:
        left_out = ast.Assign | ast.AugAssign | ast.Expr | ast.Raise | ast.For | ast.Delete
        return [ast.Pass()] if isinstance(node, left_out) else []

    return _replaced(tree, nothing)


@_operator
def swap_arguments(tree: ast.AST) -> Iterator[Callable[[], None]]:
    """Two neighbours among the arguments of a call, or the sides of a product of matrices."""

    def swapped(node: ast.AST) -> list[ast.AST]:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult | ast.Sub | ast.Div):
            return [ast.BinOp(node.right, node.op, node.left)]
        if not isinstance(node, ast.Call) or ast.unparse(node.func).rpartition(".")[2] in SYMMETRIC:
            return []
        pairs = range(len(node.args) - 1)
        plain = [at for at in pairs if not any(isinstance(a, ast.Starred) for a in node.args[at : at + 2])]
        both = [[*node.args[:at], node.args[at + 1], node.args[at], *node.args[at + 2 :]] for at in plain]
        return [ast.Call(node.func, arguments, node.keywords) for arguments in both]

    return _replaced(tree, swapped)


@_operator
def forget_an_argument(tree: ast.AST) -> Iterator[Callable[[], None]]:
    """A keyword argument that is not given."""

    def fewer(node: ast.AST) -> list[ast.AST]:
        if not isinstance(node, ast.Call):
            return []
        return [
            ast.Call(node.func, node.args, [k for k in node.keywords if k is not left])
            for left in node.keywords
            if left.arg is not None
        ]

    return _replaced(tree, fewer)


@_operator
def forget_a_cast(tree: ast.AST) -> Iterator[Callable[[], None]]:
    """``x.to(dtype)``, ``x.clone()`` and their like as plain ``x``."""

    def bare(node: ast.AST) -> list[ast.AST]:
        method = node.func if isinstance(node, ast.Call) else None
        return [method.value] if isinstance(method, ast.Attribute) and method.attr in CASTS else []

    return _replaced(tree, bare)


@_operator
def detach(tree: ast.AST) -> Iterator[Callable[[], None]]:
    """A factor or term through which no gradient flows."""

    def cut(node: ast.AST) -> list[ast.AST]:
        if not isinstance(node, ast.BinOp) or not isinstance(
            node.op, ast.Mult | ast.MatMult | ast.Add | ast.Sub | ast.Div
        ):
            return []
        left = [ast.BinOp(_detached(node.left), node.op, node.right)] * isinstance(node.left, ast.Name)
        right = [ast.BinOp(node.left, node.op, _detached(node.right))] * isinstance(node.right, ast.Name)
        return [*left, *right]

    return _replaced(tree, cut)


def _detached(node: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(DETACHED), [node], [])


@_operator
def one_fewer(tree: ast.AST) -> Iterator[Callable[[], None]]:
    """A loop over ``range`` that ends one too early, or begins one too late; a list without its last."""

    def shorter(node: ast.AST) -> list[ast.AST]:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != "range":
            return []
        first = [ast.Constant(0), *node.args] if len(node.args) == 1 else list(node.args)
        less = [first[0], ast.BinOp(first[1], ast.Sub(), ast.Constant(1)), *first[2:]]
        later = [ast.BinOp(first[0], ast.Add(), ast.Constant(1)), *first[1:]]
        return [ast.Call(node.func, arguments, []) for arguments in (less, later)]

    return _replaced(tree, shorter)


@_operator
def cache_the_first_result(tree: ast.AST) -> Iterator[Callable[[], None]]:
    """A function that answers every later call as it did the first."""
    for node in _functions(tree):
        yield lambda node=node: node.decorator_list.append(ast.Name(REMEMBERED))


@_operator
def write_into_an_argument(tree: ast.AST) -> Iterator[Callable[[], None]]:
    """An argument that is not left as it was."""
    for node in _functions(tree):
        names = [argument.arg for argument in node.args.args]
        for at, name in enumerate(names):
            written = ast.Call(ast.Name(WRITTEN), [ast.Constant(at), ast.Constant(name)], [])
            yield lambda node=node, written=written: node.decorator_list.append(written)


def _functions(tree: ast.AST) -> list[ast.FunctionDef]:
    """Those at the top, which others call."""
    return [node for node in getattr(tree, "body", []) if isinstance(node, ast.FunctionDef)]


OPERATORS: tuple[Operator, ...] = (
    drop_a_branch, drop_a_statement, swap_arguments, forget_an_argument, forget_a_cast, detach, one_fewer,
    cache_the_first_result, write_into_an_argument,
)  # fmt: skip

"""Wrong versions of a solution's cell: a library's operators, and those mistakes that students of these labs make."""

import ast
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.provider import OperatorProvider

from mlsys_course.desk.syntax import parse

from .operators import OPERATORS

# Of the library's: one replacement for each operator, which is as hard to notice as any other.
BINARY = [
    "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "Pow_Mul", "FloorDiv_Mul", "Mod_FloorDiv",
    "BitAnd_BitOr", "BitOr_BitAnd",
]  # fmt: skip
COMPARISON = ["Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt", "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is"]
LIBRARY = (
    *(f"ReplaceBinaryOperator_{name}" for name in BINARY),
    *(f"ReplaceComparisonOperator_{name}" for name in COMPARISON),
    *(f"ReplaceUnaryOperator_Delete_{name}" for name in ("USub", "Not", "Invert")),
    "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd", "NumberReplacer",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop",
)  # fmt: skip


NO_CASE = re.compile(r"(, )?strict=(True|False)")  # what no case can tell


@dataclass(frozen=True)
class Mutant:
    """One wrong version: its text, and what was changed as (what stood there, what stands there now)."""

    source: str
    was: str
    now: str

    @property
    def diff(self) -> str:
        """Lines taken out and put in."""
        return "\n".join(
            [*(f"- {line}" for line in self.was.splitlines()), *(f"+ {line}" for line in self.now.splitlines())]
        )


def mutants(source: str) -> list[Mutant]:
    """All of a cell, each once, in a fixed order. Texts are without comments and docstrings, as ``ast`` writes them."""
    plain = normal(settled(source))
    found: dict[str, Mutant] = {}
    for text in (*_of_the_library(plain), *_of_the_course(plain)):
        try:
            written = normal(text)
        except SyntaxError:
            continue
        was, now = _difference(plain, written)
        if not (written == plain or written in found or _says_as_much(was, now)):
            found[written] = Mutant(written, was, now)
    return list(found.values())


def _says_as_much(was: str, now: str) -> bool:
    """Whether only an error's message differs, or what guards against a mistake of one's own."""
    return (was.startswith("raise ") and now.startswith("raise ")) or NO_CASE.sub("", was) == NO_CASE.sub("", now)


def settled(source: str) -> str:
    """Without the branches that this term's draw leaves out: comparisons of two texts are decided."""
    return ast.unparse(ast.fix_missing_locations(_Settled().visit(parse(source)))) + "\n"


class _Settled(ast.NodeTransformer):
    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        match node:
            case ast.Compare(ast.Constant(str(a)), [ast.Eq() | ast.NotEq() as operator], [ast.Constant(str(b))]):
                return ast.Constant((a == b) == isinstance(operator, ast.Eq))
        return node

    def visit_If(self, node: ast.If) -> Any:
        self.generic_visit(node)
        match node.test:
            case ast.Constant(bool(chosen)):
                return (node.body if chosen else node.orelse) or ast.Pass()
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        match node.test:
            case ast.Constant(bool(chosen)):
                return node.body if chosen else node.orelse
        return node


def normal(source: str) -> str:
    """As ``ast`` writes it, without docstrings."""
    tree = parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None and node.body[1:]:
            del node.body[0]
    return ast.unparse(tree) + "\n"


def _of_the_library(source: str) -> Iterator[str]:
    known = OperatorProvider()
    for name in LIBRARY:
        made: Any = known[name]
        operator = made()
        occurrence = 0
        while (text := mutate_code(source, operator, occurrence)) is not None:
            occurrence += 1
            yield text


def _of_the_course(source: str) -> Iterator[str]:
    for operator in OPERATORS:
        place = 0
        while (text := operator(source, place)) is not None:
            place += 1
            yield text


def _difference(before: str, after: str) -> tuple[str, str]:
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return tuple("\n".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in "-+")  # type: ignore[return-value]

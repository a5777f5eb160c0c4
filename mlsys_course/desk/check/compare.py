"""Comparison of a candidate's outputs with the expected ones, by a tolerance of the case's dtype."""

import builtins
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from .devices import MADE_ON, PLACES
from .tree import Tree, leaves

# Allowed |got - want| is tolerance * (1 + |want|); the dtype is the lowest precision among a case's inputs.
TOLERANCE: Mapping[str, float] = {"float64": 1e-9, "float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}

RAISED = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)}
RAISED |= {"nothing"}  # what ``raised`` of driver.py may say
HELD = {"[": "a list", ".": "a dict"}  # what follows the path of a value in that of an entry
MOST_QUOTED = 90  # characters of a word that is shown


@dataclass(frozen=True)
class Leaf:
    """How one output compares: ``error`` counts in tolerances, so at most 1 passes; inf for another kind."""

    path: str
    ok: bool
    reason: str = ""
    shape: str = ""
    dtype: str = ""
    largest: float = 0.0  # largest absolute difference
    where: tuple[int, ...] = ()
    error: float = 0.0
    values: str = ""  # of a number or a few words: found and expected, for public cases


def case_dtype(inputs: Tree) -> str:
    """The lowest-precision floating dtype among the inputs, or float64 where there is none."""
    found = {str(x.dtype).removeprefix("torch.") for _, x in leaves(inputs) if isinstance(x, torch.Tensor)}
    for name in ("bfloat16", "float16", "float32"):
        if name in found:
            return name
    return "float64"


def name_of(value: Tree) -> str:
    """The type of a leaf in a student's words."""
    names = {torch.Tensor: "a tensor", bool: "a bool", int: "a whole number", float: "a number", str: "a string"}
    if value is None:
        return "None (is a `return` missing?)"
    return next((name for kind, name in names.items() if isinstance(value, kind)), f"an empty {type(value).__name__}")


def compare(got: Tree, want: Tree, tolerance: float) -> list[Leaf]:
    """One Leaf for each expected output, and one for each that was not asked for."""
    got_leaves, want_leaves = dict(leaves(got)), dict(leaves(want))
    found = [_leaf(path, got_leaves, expected, tolerance) for path, expected in want_leaves.items()]
    told = tuple(
        f"{path}{mark}" for path in want_leaves if path for mark in HELD
    )  # of the value that is asked for there
    found += [
        Leaf(path, False, f"{in_words(path)} was not expected", error=math.inf)
        for path in got_leaves
        if path not in want_leaves and not path.startswith(told)
    ]
    return _by_length(found, got, want)


def in_words(path: str) -> str:
    """The path of an output in words: "rank 0.sum" is "sum on rank 0"."""
    rank, point, rest = path.partition(".")
    return f"{rest} on {rank}" if point and re.fullmatch(r"rank \d+", rank) else path or "result"


def _by_length(found: list[Leaf], got: Tree, want: Tree) -> list[Leaf]:
    """The same, with one word for all entries that a list has too few or too many."""
    lengths = dict(_lengths(want))
    wrong = {path: f"{in_words(path)} has {count} entr{'y' if count == 1 else 'ies'}, expected {lengths[path]}"
             for path, count in _lengths(got) if lengths.get(path, count) != count}  # fmt: skip
    kept: dict[str, Leaf] = {}
    for leaf in found:
        whole = next((path for path in wrong if re.fullmatch(re.escape(path) + r"(\[\d+\].*)?", leaf.path)), None)
        if whole is not None and leaf.reason.endswith((" is missing", " was not expected")):
            kept.setdefault(f"{whole}[]", replace(leaf, reason=wrong[whole]))
        else:
            kept[leaf.path] = leaf
    return list(kept.values())


def _lengths(tree: Tree, path: str = "") -> Iterator[tuple[str, int]]:
    """Every list of a tree by its path, empty ones too, with the number of its entries."""
    if isinstance(tree, dict):
        for key, item in tree.items():
            yield from _lengths(item, f"{path}.{key}" if path else key)
    elif isinstance(tree, list | tuple):
        yield path, len(tree)
        for i, item in enumerate(tree):
            yield from _lengths(item, f"{path}[{i}]")


def _leaf(path: str, got_leaves: Mapping[str, Tree], want: Tree, tolerance: float) -> Leaf:
    label = in_words(path)
    if path not in got_leaves:
        held = (
            next((HELD[mark] for mark in HELD if any(p.startswith(path + mark) for p in got_leaves)), "")
            if path
            else ""
        )
        reason = f"{label} is {held}, expected {name_of(want)}" if held else f"{label} is missing"
        return Leaf(path, False, reason, error=math.inf)
    got = got_leaves[path]
    if isinstance(want, torch.Tensor):
        return _tensor(path, label, got, want, tolerance)
    if isinstance(want, bool | str | type(None) | dict | list) or isinstance(got, bool | str | type(None)):
        same = type(got) is type(want) and got == want
        if type(got) is not type(want):
            return Leaf(path, False, f"{label} is {name_of(got)}, expected {name_of(want)}", error=math.inf)
        if same:
            return Leaf(path, True)
        if said := raises_else(path, got, want) or made_on(path, got, want):
            return Leaf(path, False, said, error=math.inf)
        return Leaf(path, False, f"{label} has another value", error=math.inf, values=quoted(got, want))
    if not isinstance(got, int | float):
        return Leaf(path, False, f"{label} is {name_of(got)}, expected {name_of(want)}", error=math.inf)
    return _number(path, label, got, want, tolerance)


def raises_else(path: str, got: Tree, want: Tree) -> str:
    """Of an output called ``raised`` what was raised and what was expected; "" unless both are built-in exceptions.

    The names are looked up, so that a candidate's own text never gets into a reason.
    """
    named = isinstance(got, str) and isinstance(want, str) and {got, want} <= RAISED
    if not named or path.rpartition(".")[2] != "raised":
        return ""
    return f"raises {got}, expected {want}"


def made_on(path: str, got: Tree, want: Tree) -> str:
    """Of a result's device what it is and where it should be; "" unless both are such that a case may pretend."""
    if not path.startswith(MADE_ON) or not {got, want} <= PLACES:
        return ""
    return f"{in_words(path.removeprefix(MADE_ON))} is on {got}, while the inputs are on {want}"


def quoted(got: Tree, want: Tree) -> str:
    """Both values, where they are a few words each. It is apart from the reason, so that sealed cases never show it."""
    return f"found {got!r}, expected {want!r}" if max(len(str(got)), len(str(want))) <= MOST_QUOTED else ""


def _number(path: str, label: str, got: float, want: float, tolerance: float) -> Leaf:
    try:
        difference = abs(got - want)
        allowed = 0.05 if isinstance(want, int) else tolerance * (1 + abs(want))  # whole numbers are exact
        error = difference / allowed
        if got == want or (math.isnan(float(got)) and math.isnan(float(want))):
            difference = error = 0.0
    except OverflowError:
        difference = error = math.inf
    ok = error <= 1
    values = "" if ok else f"found {written(got)}, expected {written(want)}"
    reason = "" if ok else f"{label} is off"
    return Leaf(path, ok, reason, "number", largest=float(difference), error=float(error), values=values)


def written(number: float) -> str:
    """Whole numbers in full, others to six digits."""
    return f"{number:,}" if isinstance(number, int) else f"{number:.6g}"


def _tensor(path: str, label: str, got: Tree, want: torch.Tensor, tolerance: float) -> Leaf:
    if not isinstance(got, torch.Tensor):
        return Leaf(path, False, f"{label} is {name_of(got)}, expected a tensor", error=math.inf)
    shape, dtype = str(tuple(got.shape)), str(got.dtype).removeprefix("torch.")
    if got.shape != want.shape:
        reason = f"{label} has shape {shape}, expected {tuple(want.shape)}"
        return Leaf(path, False, reason, shape, dtype, error=math.inf)
    if got.dtype != want.dtype:
        reason = f"{label} has dtype {dtype}, expected {str(want.dtype).removeprefix('torch.')}"
        return Leaf(path, False, reason, shape, dtype, error=math.inf)
    if not want.numel():
        return Leaf(path, True, "", shape, dtype)
    if want.is_complex():
        got, want = torch.view_as_real(got), torch.view_as_real(want)
    a, b = got.double().numpy(), want.double().numpy()  # NumPy's calls on small arrays cost a tenth of PyTorch's
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.abs(a - b) if np.isfinite(a).all() and np.isfinite(b).all() else _apart(a, b)
        allowed = tolerance * (1 + np.abs(b)) if want.is_floating_point() else 0.05
        errors = difference / np.where(np.isfinite(allowed), allowed, tolerance)
    where = tuple(int(i) for i in np.unravel_index(int(errors.argmax()), errors.shape))
    error, largest = float(errors[where]), float(difference[where])
    if error <= 1:
        return Leaf(path, True, "", shape, dtype, largest, where, error)
    at = f" at {list(where)}" if where else ""
    reason = f"{label} is off by up to {largest:.2g}{at}"
    if got.dtype == torch.bool:
        reason = f"{label} differs in {int((a != b).sum())} of {a.size} places, first at {list(where)}"
    if (np.isnan(a) & ~np.isnan(b)).any():
        reason = f"{label} has NaN{at}"
    elif (np.isinf(a) & ~np.isinf(b)).any():
        reason = f"{label} is infinite{at}"
    return Leaf(path, False, reason, shape, dtype, largest, where, error)


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distances: none between infinities of one sign, nor from NaN to NaN; else to either of them an infinite one."""
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(equal, 0.0, np.nan_to_num(np.abs(a - b), nan=math.inf, posinf=math.inf))


def worst_error(found: list[Leaf]) -> float:
    """The largest error in tolerances; 0 where there is nothing to compare."""
    return max((leaf.error for leaf in found), default=0.0)


def problems(found: list[Leaf]) -> Iterator[str]:
    """What is wrong, in a student's words."""
    return (leaf.reason for leaf in found if not leaf.ok)

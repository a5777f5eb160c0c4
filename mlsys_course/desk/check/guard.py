"""Forbidden calls: looked for in what a candidate reaches, refused while it runs, and read in the dispatcher's record.

A forbidden name is refused where it is called, with its line. It stands for its kind: what the record shows of that
kind afterwards, by whatever name, comes to the same. A policy, not a seal: graders flag evasions besides.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from .families import policy
from .reach import Reached
from .record import ASIDE, LISTED, Record, range_of

# Stand-ins, the guard itself, and what switches it off: no candidate has business there.
PRIVATE = ("drivers", "mlsys_course.desk.check", "torch._C")
# Roads from a tensor to somebody else's arrays, as methods; and of NumPy what is no array and makes none.
CONVERSIONS = (
    "numpy", "__array__", "__array_wrap__", "__dlpack__", "__dlpack_device__", "data_ptr", "untyped_storage", "storage",
    "__cuda_array_interface__", "to_dlpack",
)  # fmt: skip
LIBRARIES = (
    "numpy", "scipy", "jax", "cupy", "sklearn", "sympy", "mpmath", "networkx", "pandas", "tensorflow", "numba", "cffi",
)  # fmt: skip
ARRAYS = ("torch.from_numpy", "torch.from_dlpack", "torch.frombuffer", "torch.utils.dlpack", "torch._numpy")
SCALARS = (
    "inf", "nan", "pi", "e", "newaxis", "sqrt", "log", "log2", "prod", "ceil", "floor", "finfo", "iinfo", "float32",
    "float64", "int64", "isnan",
)  # fmt: skip
FIXED = (type(torch.matmul), type(torch.Tensor.mul), type(object().__str__))  # whose names nobody changes
DRAINED = 20_000  # calls, after which what the record holds is read


class Forbidden(RuntimeError):
    """A candidate called what its exercise forbids."""


class _Guard(TorchFunctionMode):
    """Sees every call of PyTorch's API, whatever alias, ``getattr`` or ``torch.ops`` road it came by."""

    def __init__(self, names: Sequence[str], liftable: bool, record: Record):
        super().__init__()
        self.liftable, self.record = liftable, record
        self.names = {name.rsplit(".", 1)[-1]: name for name in names}
        if record.policy.refuses("numpy"):
            self.names |= dict.fromkeys(CONVERSIONS, "numpy")
        self.lifted = self.calls = 0
        self.plain: set[Any] = set()  # what was called and is of no interest

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        if self.calls % DRAINED == 0 and not self.lifted:
            self.record.drain()
        if func in self.plain:
            return func(*args, **(kwargs or {}))
        name = str(getattr(func, "__name__", "")).split(".")[0]
        if name in self.names and not self.lifted:
            raise Forbidden(self.names[name])
        if name == "tolist":  # whose steps would look like a conversion's
            with range_of(LISTED):
                return func(*args, **(kwargs or {}))
        if name not in self.names and type(func) in FIXED:
            self.plain.add(func)
        return func(*args, **(kwargs or {}))


_active: list[_Guard] = []


@contextlib.contextmanager
def guarded(
    names: Sequence[str], families: Sequence[str] = (), *, liftable: bool = True, composite: bool = False
) -> Iterator[None]:
    """Raise Forbidden when a PyTorch function among ``names`` (dotted) is called; ``allowed`` lifts it if it may.

    And, at the end, when operators ran of the kinds that the names stand for, or outside the ``families`` allowed. What
    the public stand-ins of a ``composite`` do in the backward pass is not the candidate's.
    """
    record = Record(policy(names, families), trusting=liftable, forward_only=liftable and composite)
    with _Guard(names, liftable, record) as guard:
        _active.append(guard)
        try:
            with record:
                yield
        finally:
            _active.remove(guard)  # not always the last: ranks run as threads
    if record.offence:
        raise Forbidden(record.offence)


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """For public stand-ins: what they call themselves is not the candidate's. While grading it lifts nothing."""
    lifted = [guard for guard in _active if guard.liftable]
    for guard in lifted:
        guard.lifted += 1
    try:
        with range_of(ASIDE) if lifted else contextlib.nullcontext():
            yield
    finally:
        for guard in lifted:
            guard.lifted -= 1


def forbidden_in(reached: Reached, names: Sequence[str], families: Sequence[str] = ()) -> str:
    """The first of ``names`` that reached code mentions, by any import alias or looked up by a string; else empty.

    Names of methods (``torch.Tensor.backward``) are left to the guard at run time: text cannot tell whose they are.
    Where NumPy is none of the ``families`` allowed, its arrays are as forbidden.
    """
    if policy(names, families).refuses("numpy") and (
        any(map(_makes_arrays, reached.dotted)) or {text.split(".")[0] for text in reached.strings} & {*LIBRARIES}
    ):
        return "numpy"
    if names and (ours := next((d for d in sorted(reached.dotted) if d.startswith(PRIVATE)), "")):
        return ours
    said = {text.rsplit(".", 1)[-1] for text in reached.strings if re.fullmatch(r"[\w.]+", text)}
    for name in names:
        if name.startswith("torch.Tensor."):
            continue
        short = name.rsplit(".", 1)[-1]
        if name in reached.dotted or any(d.endswith("." + short) and d.startswith("torch") for d in reached.dotted):
            return name
        if short in said:
            return name
    return ""


def _makes_arrays(name: str) -> bool:
    """Whether a dotted name is of an array library, and no number or scalar function.

    A library is the same as the attribute of a module that imports it: ``matplotlib.cbook.np.array``.
    """
    parts = name.split(".")
    for place, part in enumerate(parts[:-1]):
        if part == "numpy" or (part == "np" and place):
            return parts[place + 1] not in SCALARS
    return parts[0] in LIBRARIES[1:] or any(name == road or name.startswith(f"{road}.") for road in ARRAYS)

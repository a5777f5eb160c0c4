"""Forbidden calls: looked for in what a candidate reaches, and refused while it runs.

A policy, not a seal: it keeps honest students on the path and tells them at once; graders flag evasions.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode

from .reach import Reached

# Stand-ins, the guard itself, and what switches it off: no candidate has business there.
PRIVATE = ("drivers", "mlsys_course.desk.check", "torch._C")


class Forbidden(RuntimeError):
    """A candidate called what its exercise forbids."""


class _Guard(TorchFunctionMode):
    """Sees every call of PyTorch's API, whatever alias, ``getattr`` or ``torch.ops`` road it came by."""

    def __init__(self, names: Sequence[str], liftable: bool):
        super().__init__()
        self.liftable = liftable
        self.names = {name.rsplit(".", 1)[-1]: name for name in names}
        self.lifted = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(getattr(func, "__name__", "")).split(".")[0]
        if name in self.names and not self.lifted:
            raise Forbidden(self.names[name])
        return func(*args, **(kwargs or {}))


_active: list[_Guard] = []


@contextlib.contextmanager
def guarded(names: Sequence[str], *, liftable: bool = True) -> Iterator[None]:
    """Raise Forbidden when a PyTorch function among ``names`` (dotted) is called; ``allowed`` lifts it if it may."""
    with _Guard(names, liftable) as guard:
        _active.append(guard)
        try:
            yield
        finally:
            _active.remove(guard)  # not always the last: ranks run as threads


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """For public stand-ins: what they call themselves is not the candidate's. While grading it lifts nothing."""
    lifted = [guard for guard in _active if guard.liftable]
    for guard in lifted:
        guard.lifted += 1
    try:
        yield
    finally:
        for guard in lifted:
            guard.lifted -= 1


def forbidden_in(reached: Reached, names: Sequence[str]) -> str:
    """The first of ``names`` that reached code mentions, by any import alias or looked up by a string; else empty.

    Names of methods (``torch.Tensor.backward``) are left to the guard at run time: text cannot tell whose they are.
    """
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

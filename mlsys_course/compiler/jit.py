"""Just in time: a function is compiled when it is called, once for each kind of arguments."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .program import compiled

Program = Callable[..., Any]


class Jitted:
    """A function with its programs, each behind a guard: what must be as it was when the program was made."""

    def __init__(self, function: Callable[..., Any], specialize: Callable[..., Program]):
        self.function, self.specialize = function, specialize
        self.programs: dict[Any, Program] = {}
        self.traces = 0

    def __call__(self, *arguments: Any) -> Any:
        guard = tuple(map(guard_of, arguments))
        if guard not in self.programs:
            self.traces += 1
            self.programs[guard] = self.specialize(self.function, arguments)
        return self.programs[guard](*[x for x in arguments if isinstance(x, Tensor)])


def guard_of(value: Any) -> tuple[Any, ...]:
    """All that a program depends on: of a tensor its kind, of any other value its type and itself. 1, 1.0 and True are
    equal and written differently."""
    if isinstance(value, Tensor):
        return value.shape, value.dtype, value.device
    return type(value), repr(value)


def jit(function: Callable[..., Any], specialize: Callable[..., Program] = compiled) -> Jitted:
    """``function``, compiled when it is called; ``traces`` counts how often. Lab 6, exercise ``jit``.

    ``specialize(function, arguments)`` makes the program for arguments like these, which is called with their tensors
    in order. It is asked again for tensors of another shape, dtype or device, and for other Python values: numbers,
    strings, None, tuples of these. What it raises goes to the caller, and nothing is remembered.
    """
    return Jitted(function, specialize)

"""What mutants call. Where none of it ever does anything, a mutant is none: a number has no gradient to lose."""

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor

from .operators import DETACHED, REMEMBERED, WRITTEN


class Helpers:
    """For one mutant: ``acted`` once anything was done."""

    def __init__(self) -> None:
        self.acted = False

    def names(self) -> dict[str, Callable]:
        """By the names that mutants use."""
        return {DETACHED: self.detached, REMEMBERED: self.remembered, WRITTEN: self.written}

    def detached(self, x: Any) -> Any:
        """Without its gradient, where it has one."""
        if not isinstance(x, Tensor) or not x.requires_grad:
            return x
        self.acted = True
        return x.detach()

    def remembered(self, function: Callable) -> Callable:
        """Answers every call as it did the first."""
        kept: list[Any] = []

        @functools.wraps(function)
        def first(*given: Any, **named: Any) -> Any:
            self.acted = True
            if not kept:
                kept.append(function(*given, **named))
            return kept[0]

        return first

    def written(self, at: int, name: str) -> Callable[[Callable], Callable]:
        """Changes an argument when it is done: a tensor by its first entry, a list or dict by an item."""

        def decorated(function: Callable) -> Callable:
            @functools.wraps(function)
            def changes(*given: Any, **named: Any) -> Any:
                result = function(*given, **named)
                self._spoil(given[at] if at < len(given) else named.get(name))
                return result

            return changes

        return decorated

    def _spoil(self, x: Any) -> None:
        if isinstance(x, Tensor) and x.numel():
            first = x.data[(0,) * x.ndim]
            first.copy_(first + 1 if x.is_floating_point() or x.is_complex() else ~first)
        elif isinstance(x, list) and x:
            x.append(x[-1])
        elif isinstance(x, dict) and x:
            x["one more"] = next(iter(x.values()))
        else:
            return
        self.acted = True

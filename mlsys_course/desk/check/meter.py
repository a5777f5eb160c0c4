"""Costs of a call that a notebook can see for itself: peak memory, and calls of the parts that it was handed."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from ...substrate.memory_meter import MemoryMeter, peak_bytes
from .driver import Candidate, Driver, run_case
from .outcome import Outcome
from .tree import Tree, leaves

__all__ = ["MemoryMeter", "PartCounter", "peak_bytes", "run_measured"]


def run_measured(
    driver: Driver, candidate: Candidate, inputs: Mapping[str, Tree], limits: Mapping[str, float], **watch: Any
) -> Outcome:
    """``run_case`` with those costs measured that ``limits`` bounds; copies that a check makes for itself stay out."""
    meters: list[MemoryMeter] = []  # one a rank
    counter = PartCounter()

    def function(*args: Any, **parts: Callable[..., Any]) -> Tree:
        counted = {name: counter.counted(part) for name, part in parts.items()}
        with MemoryMeter() if "peak_memory" in limits else contextlib.nullcontext() as meter:
            if meter:
                meters.append(meter)
            return driver.function(*args, **counted)

    outcome = run_case(replace(driver, function=function), candidate, inputs, **watch)
    costs = {"part_calls": float(counter.calls)} if "part_calls" in limits else {}
    costs |= {"peak_memory": float(max(meter.peak for meter in meters))} if meters else {}
    return replace(outcome, costs={**outcome.costs, **costs})


class PartCounter:
    """Counts calls of a composite's parts, forward and backward, as the trusted side does while grading."""

    def __init__(self) -> None:
        self.calls = 0

    def counted(self, part: Callable[..., Any]) -> Callable[..., Any]:
        """The same part, counted."""

        @functools.wraps(part)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            result = part(*args, **kwargs)
            tensors = (leaf for _, leaf in leaves(result) if isinstance(leaf, torch.Tensor) and leaf.requires_grad)
            for first in itertools.islice(tensors, 1):
                first.register_hook(self._backward)
            return result

        return call

    def _backward(self, gradient: torch.Tensor) -> None:
        self.calls += 1

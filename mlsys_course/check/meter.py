"""Peak memory of a call, read from the tensors that it makes: on any machine, and the same on each."""

import contextlib
import functools
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .driver import Candidate, Driver, run_case
from .outcome import Outcome
from .tree import Tree, leaves


class MemoryMeter(TorchDispatchMode):
    """While it is entered, follows the bytes of every storage that an operation makes, until nothing holds it any more.

    So what autograd keeps for backward counts for as long as it is kept, and a view or a change in place costs
    nothing. What was there before the first operation does not count. Not seen: what a kernel takes for itself and
    gives back before it returns, and memory that is not PyTorch's, such as NumPy's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}  # bytes by storage
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {storage._cdata for storage in _storages((args, kwargs))}
        result = func(*args, **kwargs)
        for storage in _storages(result):
            key = storage._cdata
            if key not in self.live and key not in given:
                weakref.finalize(storage, self._freed, key)
                self.live[key] = 0
            if key in self.live:
                self.now += storage.nbytes() - self.live[key]  # it may have been resized
                self.live[key] = storage.nbytes()
        self.peak = max(self.peak, self.now)
        return result

    def _freed(self, key: int) -> None:
        self.now -= self.live.pop(key)


def _storages(tree: Any) -> Iterator[torch.UntypedStorage]:
    for leaf in tree_leaves(tree):
        if isinstance(leaf, torch.Tensor) and leaf.layout is torch.strided and not leaf.is_meta:
            yield leaf.untyped_storage()


def peak_bytes(function: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
    """The most bytes of tensors that ``function(*args, **kwargs)`` holds at one time, its arguments not counted."""
    with MemoryMeter() as meter:
        function(*args, **kwargs)
    return meter.peak


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

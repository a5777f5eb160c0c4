"""Peak memory of a call, read from the tensors that it makes: on any machine, and the same on each."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


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


class MemoryTrace(MemoryMeter):
    """Writes down each storage that is made, as (key, bytes), and that goes, as (key, 0), in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = set(self.live)
        result = super().__torch_dispatch__(func, types, args, kwargs)
        self.events += [(key, self.live[key]) for key in self.live if key not in before and self.live[key]]
        return result

    def _freed(self, key: int) -> None:
        if self.live[key]:
            self.events.append((key, 0))
        super()._freed(key)

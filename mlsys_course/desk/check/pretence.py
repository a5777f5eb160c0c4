"""A card that is not there: ordinary tensors that say they are on CUDA, and meet only their like.

A mode sees every call of PyTorch's API and answers for where tensors are; another sees every operator and labels what
it makes. A label belongs to a tensor's memory, so views and gradients have it too. As on CUDA, tensors without
dimensions and index tensors may be on the CPU, and ``copy_`` goes anywhere.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from .settings import pop_operators_modes

DEVICE = "device"
CPU, CARD = torch.device("cpu"), torch.device("cuda", 0)
_aten, _functorch = torch.ops.aten, torch._C._functorch  # pyright: ignore[reportAttributeAccessIssue]
_MOVES = (_aten.copy_.default,)
_JOINS = (_aten.cat.default, _aten.stack.default)
_INDEXES = (_aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default, _aten._index_put_impl_.default)


class Elsewhere(RuntimeError):
    """Tensors of two devices have met."""


class Pretence:
    """Which tensors of a call are on the card; ``named`` is a tensor among its arguments, for messages."""

    def __init__(self, named: str):
        self.named = named
        self.within = 0  # a call of the API with a tensor of the card: what PyTorch makes in it itself is there too
        self._there: dict[int, StorageWeakRef] = {}  # by address, which nothing else has while this refers to it

    def has(self, x: Any) -> bool:
        """Whether a tensor is on the card."""
        return (storage := _storage(x)) is not None and storage._cdata in self._there

    def put(self, x: Tensor, there: bool) -> Tensor:
        """The same tensor, now there or not."""
        if (storage := _storage(x)) is not None:
            if there and storage._cdata not in self._there:
                self._there[storage._cdata] = StorageWeakRef(storage)
            elif not there:
                self._there.pop(storage._cdata, None)
        return x

    def any(self, given: Any) -> bool:
        """Whether a tensor among arguments is on the card."""
        return any(self.has(x) for x in _tensors(given))

    def moved(self, x: Tensor, there: bool) -> Tensor:
        """A copy on the other device where it is not yet there, through which gradients flow."""
        return x if self.has(x) == there else _Moved.apply(x, self, there)  # type: ignore[return-value]

    def meet(self, operator: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> bool:
        """Whether what an operator makes is on the card. Raises Elsewhere where its arguments may not meet."""
        tensors = list(_tensors((given, named)))
        there = [self.has(x) for x in tensors]
        if operator in _MOVES:
            return there[0]
        if not any(there):
            return self.within > 0 and (not tensors or operator is _aten.lift_fresh.default)
        written = [x for place, x in enumerate(given) if place in _written(operator)]
        strict = tensors if operator in _JOINS else [x for x in tensors if x.dim()]
        if operator in _INDEXES and self.has(given[0]):
            strict = [x for x in given[2:3] if x.dim()]
        for x in (*strict, *_tensors(written)):
            if not self.has(x):
                raise Elsewhere(f"made a tensor of shape {tuple(x.shape)} on cpu, {self.where}")
        return True

    @property
    def where(self) -> str:
        """Where tensors are to be made, in a student's words."""
        asked = f"device={self.named}.device" if self.named else "device=device"
        place = f"{self.named} is on {CARD}" if self.named else f"`device` is {CARD}"
        return f"while {place}: make it with {asked} (this case pretends that there is a card)"


class _Moved(torch.autograd.Function):
    """A copy on another device; its gradient comes back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pretence: Pretence, there: bool) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.pretence, ctx.there = pretence, there
        return pretence.put(x.clone(), there)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return ctx.pretence.put(gradient.clone(), not ctx.there), None, None


class _Operators(TorchDispatchMode):
    """Labels what operators make, in autograd's backward pass too."""

    def __init__(self, pretence: Pretence):
        super().__init__()
        self.pretence = pretence

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Whether to load PyTorch's compiler, for a second, so that it leaves this alone: nothing is compiled here."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        there = self.pretence.meet(func, args, kwargs or {})
        result = func(*args, **(kwargs or {}))
        if there:
            for x in _tensors(result):
                self.pretence.put(x, True)
        return result


class _Calls(TorchFunctionMode):
    """Answers for devices, and sees to those that calls are given."""

    def __init__(self, pretence: Pretence):
        super().__init__()
        self.pretence = pretence

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if special := _SPECIAL.get(func):
            return special(self.pretence, func, args, kwargs)
        asked = _asked(kwargs)
        if asked is None and kwargs.get(DEVICE) is not None:  # some third device
            return func(*args, **kwargs)
        kwargs.pop(DEVICE, None)
        inside = func not in _FACTORIES and self.pretence.any((args, kwargs))
        self.pretence.within += inside
        try:
            result = func(*args, **kwargs)
        finally:
            self.pretence.within -= inside
        return result if asked is None else self.pretence.put(result, asked)


def _asked(kwargs: Mapping[str, Any]) -> bool | None:
    """Whether a ``device`` is the card; None where it is neither that nor the CPU."""
    return _is_card(kwargs.get(DEVICE))


def _is_card(device: Any) -> bool | None:
    try:
        device = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    except (TypeError, RuntimeError):
        return None
    return {"cpu": False, "cuda": True}.get(device.type)


def _device(pretence: Pretence, func: Any, args: Any, _: Any) -> Any:
    return CARD if pretence.has(args[0]) else func(*args)


def _is_cuda(pretence: Pretence, func: Any, args: Any, _: Any) -> Any:
    return pretence.has(args[0]) or func(*args)


def _is_cpu(pretence: Pretence, func: Any, args: Any, _: Any) -> Any:
    return not pretence.has(args[0]) and func(*args)


def _get_device(pretence: Pretence, func: Any, args: Any, _: Any) -> Any:
    return CARD.index if pretence.has(args[0]) else func(*args)


def _to(pretence: Pretence, func: Any, args: Any, kwargs: Any) -> Any:
    """``to(device)``, ``to(dtype)``, ``to(device, dtype)``, ``to(other)``; each may be by name."""
    x, *rest = args
    there, by_place = pretence.has(x), bool(rest) and not isinstance(rest[0], torch.dtype)
    other = kwargs.pop("other", rest[0] if by_place and isinstance(rest[0], Tensor) else None)
    if other is not None:
        there = pretence.has(other)
        return func(pretence.moved(x, there), other, *rest[1:], **kwargs)
    place = rest[0] if by_place else kwargs.get(DEVICE)
    if place is not None:
        if (asked := _is_card(place)) is None:
            return func(*args, **kwargs)
        there = asked
        rest, kwargs = [CPU, *rest[1:]] if by_place else rest, kwargs if by_place else {**kwargs, DEVICE: CPU}
    return func(pretence.moved(x, there), *rest, **kwargs)


def _cuda(pretence: Pretence, func: Any, args: Any, kwargs: Any) -> Any:
    return pretence.moved(args[0], True)


def _cpu(pretence: Pretence, func: Any, args: Any, kwargs: Any) -> Any:
    return pretence.moved(args[0], False)


def _type_as(pretence: Pretence, func: Any, args: Any, kwargs: Any) -> Any:
    other = args[1] if len(args) > 1 else kwargs["other"]
    return func(pretence.moved(args[0], pretence.has(other)), other)


def _array(pretence: Pretence, func: Any, args: Any, kwargs: Any) -> Any:
    if pretence.has(args[0]):
        raise TypeError(f"can't convert {CARD} device type tensor to numpy. Use Tensor.cpu() first")
    return func(*args, **kwargs)


def _like_self(pretence: Pretence, func: Any, args: Any, kwargs: Any) -> Any:
    """What it makes is where the tensor is whose method it is, unless it is told otherwise."""
    asked = _asked(kwargs)
    kwargs.pop(DEVICE, None)
    return pretence.put(func(*args, **kwargs), pretence.has(args[0]) if asked is None else asked)


def _as_tensor(pretence: Pretence, func: Any, args: Any, kwargs: Any) -> Any:
    """Perhaps the very tensor that it is given."""
    asked = _asked(kwargs)
    kwargs.pop(DEVICE, None)
    result = func(*args, **kwargs)
    return result if asked is None else pretence.moved(result, asked)


def _functions(names: str, owner: Any = torch) -> Iterator[Any]:
    """Those that this PyTorch has."""
    return (getattr(owner, name) for name in names.split() if hasattr(owner, name))


_SPECIAL: dict[Any, Callable[..., Any]] = {
    Tensor.device.__get__: _device,  # type: ignore[attr-defined]
    Tensor.is_cuda.__get__: _is_cuda,  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: _is_cpu,  # type: ignore[attr-defined]
    Tensor.get_device: _get_device,
    Tensor.to: _to,
    Tensor.cuda: _cuda,
    Tensor.cpu: _cpu,
    Tensor.type_as: _type_as,
    **dict.fromkeys(_functions("numpy __array__", Tensor), _array),
    **dict.fromkeys(_functions("new new_tensor __deepcopy__", Tensor), _like_self),
    **dict.fromkeys(_functions("as_tensor asarray"), _as_tensor),
}
# What these make is on the CPU unless they are told otherwise, whatever tensors are among the numbers that they take.
_FACTORIES = frozenset(_functions(
    "zeros ones empty full eye arange range linspace logspace tensor scalar_tensor rand randn randint randperm "
    "tril_indices triu_indices normal from_numpy frombuffer"
))  # fmt: skip


@functools.cache
def _written(operator: Any) -> tuple[int, ...]:
    """The places of arguments that an operator writes to: of these a number may not be elsewhere either."""
    marks = (argument.alias_info for argument in operator._schema.arguments)
    return tuple(place for place, mark in enumerate(marks) if mark is not None and mark.is_write)


def _tensors(given: Any) -> Iterator[Tensor]:
    """Those among arguments or results, in lists and dicts too."""
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, list | tuple | dict):
        for one in given.values() if isinstance(given, dict) else given:
            if isinstance(one, Tensor):
                yield one
            elif isinstance(one, list | tuple | dict):
                yield from _tensors(one)


def _storage(x: Any) -> torch.UntypedStorage | None:
    """A tensor's memory; of one that ``torch.func`` has wrapped, the memory of what is in it."""
    with torch._C.DisableTorchFunction():
        while _functorch.is_functorch_wrapped_tensor(x):
            x = _functorch.get_unwrapped(x)
        return x.untyped_storage() if torch._C._has_storage(x) else None


@contextlib.contextmanager
def pretending(pretence: Pretence) -> Iterator[None]:
    """In here there is a card."""
    depth = torch._C._len_torch_dispatch_stack()
    try:
        with _Operators(pretence), _Calls(pretence):
            yield
    finally:
        pop_operators_modes(above=depth)  # that the candidate has left, on ours

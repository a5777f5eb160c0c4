"""Data-parallel training: every rank has the whole model, its own part of the batch, and everybody's mean gradient."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..substrate.ranks import Communicator
from .algorithms import AllReduce, all_reduce
from .buckets import flat_gradients, set_gradients
from .collectives import broadcast
from .distributed_data_parallel import DistributedDataParallel


class Optimizer(Protocol):
    """As in ``torch.optim``."""

    def zero_grad(self) -> None: ...

    def step(self) -> Any: ...


def data_parallel_step(
    model: nn.Module,
    optimizer: Optimizer,
    loss: Callable[[nn.Module, Any], Tensor],
    examples: Any,
    comm: Communicator,
    all_reduce: AllReduce = all_reduce,
) -> None:
    """One training step on all ranks' examples together: afterwards all have what one process would have.

    ``loss(model, examples)`` is the mean over a rank's own examples, and is not asked where there are none, which may
    be so on some ranks but not on all. ``all_reduce(tensor, comm)`` returns the sum, a new tensor.
    Lab 9, exercise ``data_parallel_step``.
    """
    total = all_reduce(torch.tensor(float(len(examples)), dtype=torch.float64, device=comm.device), comm)
    optimizer.zero_grad()
    if len(examples):
        (loss(model, examples) * (len(examples) / float(total))).backward()
    for parameter in model.parameters():
        if parameter.requires_grad:
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = all_reduce(own, comm)
    optimizer.step()


class Started:
    """An all-reduce that was over as soon as it began; ``wait`` returns the sum."""

    def __init__(self, total: Tensor):
        self.total = total

    def wait(self) -> Tensor:
        return self.total


def start_all_reduce(flat: Tensor, comm: Communicator) -> Started:
    """The simplest part for ``DataParallel``, which overlaps nothing."""
    return Started(all_reduce(flat, comm))


class DataParallel:
    """Keeps replicas of a model in step; buckets of gradients leave while backward goes on.

    >>> replica = DataParallel(model, comm, buckets)
    >>> loss(model, examples).backward()
    >>> replica.finish()                 # now every rank has the mean gradient
    >>> optimizer.step()

    Each parameter that requires a gradient is in one of ``buckets``, which leave in their order on every rank alike.
    ``start_all_reduce(flat, comm)`` returns a handle at once, whose ``wait()`` returns the sum.
    ``DataParallel(model, comm)``, with the options of ``DistributedDataParallel``, is one of those: the same for models
    of many dtypes, devices and sizes, which makes its own buckets.
    Source: Li et al. 2020, "PyTorch Distributed". Lab 9, exercise ``DataParallel``.
    """

    def __new__(
        cls,
        model: nn.Module,
        comm: Communicator,
        buckets: Any = None,
        broadcast: Any = broadcast,
        start_all_reduce: Any = start_all_reduce,
        **options: Any,
    ) -> Any:
        if buckets is None and cls is DataParallel:
            return DistributedDataParallel(model, comm, **options)
        return super().__new__(cls)

    def __init__(
        self,
        model: nn.Module,
        comm: Communicator,
        buckets: Sequence[Sequence[nn.Parameter]],
        broadcast: Callable[[Tensor, Communicator], Any] = broadcast,
        start_all_reduce: Callable[[Tensor, Communicator], Any] = start_all_reduce,
    ):
        self.comm, self.buckets, self.start_all_reduce = comm, buckets, start_all_reduce
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                broadcast(tensor, comm)
        self.sync, self.ready, self.handles = True, set[nn.Parameter](), list[Any]()
        for bucket in buckets:
            for parameter in bucket:
                parameter.register_post_accumulate_grad_hook(self._gradient_ready)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients of backward passes in here stay on their rank and add up; the next one outside sends the sum."""
        self.sync = False
        try:
            yield
        finally:
            self.sync = True

    def _gradient_ready(self, parameter: nn.Parameter) -> None:
        if self.sync:
            self.ready.add(parameter)
            self._send_what_is_ready()

    def _send_what_is_ready(self) -> None:
        """In order: a bucket waits for those before it."""
        while len(self.handles) < len(self.buckets) and self.ready.issuperset(self.buckets[len(self.handles)]):
            self.handles.append(self.start_all_reduce(flat_gradients(self.buckets[len(self.handles)]), self.comm))

    def finish(self) -> None:
        """Send what has not left yet, and wait for all of it; every rank calls it before its optimizer step."""
        self.ready = {p for bucket in self.buckets for p in bucket}
        self._send_what_is_ready()
        for bucket, handle in zip(self.buckets, self.handles, strict=True):
            set_gradients(bucket, handle.wait() / self.comm.world_size)
        self.ready, self.handles = set(), []

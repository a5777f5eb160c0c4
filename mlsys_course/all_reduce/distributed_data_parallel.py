"""Data-parallel training of any model: buckets of its own, beside backward on a thread or a stream."""

import contextlib
import hashlib
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import nn

from ..substrate.ranks import Communicator
from .algorithms import AllReduce, all_reduce
from .buckets import buckets_of
from .collectives import CollectiveError, all_gather, broadcast
from .segmented_ring import ring_all_reduce_

BUCKET_BYTES = 25 << 20


class DistributedDataParallel(nn.Module):
    """``DataParallel`` as a module that needs no parts: it wraps a model whose replicas train in step.

    >>> replica = DistributedDataParallel(model, comm)
    >>> loss(replica(x), y).backward()   # buckets of gradients leave while backward goes on
    >>> replica.finish()                 # now every rank has the mean gradient
    >>> optimizer.step()

    All ranks start with rank 0's parameters and buffers. A gradient is put into its bucket as soon as it is whole; full
    buckets are summed in the order in which they were made, on every rank alike. A parameter that no loss of a rank
    reaches counts as zero there. One that no rank's loss reaches has zeros after ``finish``, or with ``find_unused``
    None as in one process, so that the optimizer leaves it alone; that costs one more small all-reduce.
    With ``mean=False`` gradients are summed. ``overlap=False`` leaves everything to ``finish``.
    ``all_reduce_`` sums a flat tensor in place. Buckets have a channel of their own, so ``comm`` is free between
    backward and ``finish``; ranks that have one channel only send them where backward stands, without overlap.
    Source: Li et al. 2020, "PyTorch Distributed".

    A gradient with a history (``create_graph``) or a sparse one raises CollectiveError. When the wrapper is let go
    of, the model is an ordinary one again. Gradients are views of the buckets: what ``parameter.grad`` was is
    overwritten by the next backward.
    """

    def __init__(
        self,
        module: nn.Module,
        comm: Communicator,
        *,
        bucket_bytes: int = BUCKET_BYTES,
        mean: bool = True,
        overlap: bool = True,
        find_unused: bool = False,
        all_reduce_: AllReduce = ring_all_reduce_,
    ):
        super().__init__()
        if not isinstance(comm, Communicator):
            raise TypeError(
                f"comm is a Communicator, and this is a {type(comm).__name__}; mlsys_course.substrate.ranks has `run`, "
                "which gives one to each rank, and of_process_group() for processes of torchrun or mp.spawn"
            )
        self.module, self.comm, self.all_reduce_ = module, comm, all_reduce_
        self.channel = comm.channel()  # between backward and finish the caller may use comm
        self.overlap, self.find_unused = overlap, find_unused
        self.scale = 1 / comm.world_size if mean else 1.0
        check_same_model(module, comm)
        broadcast_state(module, comm)
        trained = [p for p in module.parameters() if p.requires_grad]  # a tied one is there once
        self.buckets = buckets_of(trained, bucket_bytes)
        self.bucket_of = {p: bucket for bucket in self.buckets for p in bucket.parameters}
        self.sync, self._next = True, 0
        ready = weakref.WeakMethod(self._gradient_ready)  # a parameter holds its hooks where no collector looks

        def hook(parameter: nn.Parameter) -> None:
            if (still_there := ready()) is not None:
                still_there(parameter)

        self._hooks = [p.register_post_accumulate_grad_hook(hook) for p in trained]
        self._background = background_of(self.channel)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own."""
        return self.module(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Gradients of backward passes in here stay on their rank and add up; the next one outside sends the sum."""
        before, self.sync = self.sync, False
        try:
            yield
        finally:
            self.sync = before

    def finish(self) -> None:
        """Send what has not left yet, and wait for all of it; every rank calls it before its optimizer step.

        A rank whose share of the batch is empty calls it without a backward pass.
        """
        used = torch.tensor([float(p.grad is not None) for p in self.bucket_of], device=self.comm.device)
        for bucket in self.buckets:
            for p in tuple(bucket.missing):
                bucket.put(p, self.scale)
        self._send_full_buckets()
        if self.find_unused:
            self._background.run(lambda: self.all_reduce_(used, self.channel))
        self._background.wait()
        self._next = 0
        for bucket in self.buckets:
            bucket.refill()
        if self.find_unused:
            for p, ranks in zip(self.bucket_of, used.tolist(), strict=True):
                p.grad = p.grad if ranks else None

    def close(self) -> None:
        """Take the hooks off the model, which is an ordinary one again."""
        for hook in self._hooks:
            hook.remove()
        self._background.close()

    def _gradient_ready(self, parameter: nn.Parameter) -> None:
        """Called by autograd when the gradient is whole: tied parameters have got all their parts."""
        bucket = self.bucket_of[parameter]
        if not self.sync:
            return
        if parameter not in bucket.missing:
            raise CollectiveError("a second backward pass before finish(); put all but the last into no_sync()")
        if bucket.put(parameter, self.scale) and self.overlap:
            self._send_full_buckets()

    def _send_full_buckets(self) -> None:
        """In their order: a bucket waits for those before it, or two ranks might send different ones first."""
        while self._next < len(self.buckets) and not self.buckets[self._next].missing:
            flat = self.buckets[self._next].flat
            self._background.run(lambda flat=flat: self.all_reduce_(flat, self.channel))
            self._next += 1


class AtOnce:
    """Calls run where they are made: the caller's collectives come before or after, on ranks of one channel too."""

    def run(self, call: Callable[[], Any]) -> None:
        call()

    def wait(self) -> None:
        pass

    def close(self) -> None:
        pass


class OnAThread:
    """Calls run one after the other beside backward: waiting for a message on the CPU holds up a thread."""

    def __init__(self, comm: Communicator) -> None:
        self._comm, self._lock, self._left = comm, threading.Lock(), 0  # calls that are not through
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="all-reduce")
        self._running: list[Future] = []

    def run(self, call: Callable[[], Any]) -> None:
        self._count(1)
        self._running.append(self._worker.submit(self._run, call))

    def wait(self) -> None:
        running, self._running = self._running, []
        self._comm.working(-1)  # this thread waits for that one
        try:
            for one in running:
                one.result()
        finally:
            self._comm.working(1)

    def _run(self, call: Callable[[], Any]) -> None:
        try:
            call()
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        """While there is a call, a second thread of this rank goes on."""
        with self._lock:
            before, self._left = self._left, self._left + change
            self._comm.working(bool(self._left) - bool(before))

    def close(self) -> None:
        self._worker.shutdown(wait=False)


class OnAStream:
    """On a card calls only queue work: on a stream of their own it runs beside backward's, without a thread."""

    def __init__(self, device: torch.device):
        self._device, self._stream = device, torch.cuda.Stream(device)

    def run(self, call: Callable[[], Any]) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self._device))  # the gradients are whole by then
        with torch.cuda.stream(self._stream):
            call()

    def wait(self) -> None:
        torch.cuda.current_stream(self._device).wait_stream(self._stream)

    def close(self) -> None:
        pass


def background_of(comm: Communicator) -> AtOnce | OnAThread | OnAStream:
    """What can run beside backward on ranks of this kind."""
    if comm.device.type == "cuda":
        return OnAStream(comm.device)
    return OnAThread(comm) if comm.concurrent else AtOnce()


def broadcast_state(module: nn.Module, comm: Communicator) -> None:
    """Parameters and buffers of rank 0, on every rank; frozen ones too. Buffers may drift later: call it again."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            broadcast(tensor.detach(), comm)


def check_same_model(module: nn.Module, comm: Communicator) -> None:
    """Raise CollectiveError on every rank unless all have a model of the same layout; else they would wait forever."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    layout = [(name, str(x.dtype), tuple(x.shape), x.requires_grad) for name, x in tensors]
    digest = hashlib.sha256(repr(layout).encode()).digest()[:4]
    mine = torch.tensor([len(tensors), int.from_bytes(digest, "big")], device=comm.device)
    for rank, other in enumerate(all_gather(mine, comm)):
        if not torch.equal(other, mine):
            raise CollectiveError(
                f"rank {rank}'s model has {int(other[0])} tensors where rank {comm.rank}'s has {len(tensors)}, or of "
                "other names, shapes, dtypes or frozen ones; build the same model on every rank"
            )


def loss_weight(count: int, comm: Communicator) -> float:
    """What to multiply a rank's mean loss of ``count`` examples with, so that the mean over ranks is the batch's.

    With parts of one size it is 1; a last batch may have others, down to none.
    """
    total = all_reduce(torch.tensor(float(count), dtype=torch.float64, device=comm.device), comm)
    if total == 0:
        raise CollectiveError("no rank has an example; skip the step on all of them")
    return count * comm.world_size / float(total)

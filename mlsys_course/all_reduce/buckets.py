"""Gradients by the bucket: few large messages instead of one for each parameter."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..substrate.ranks import Communicator
from .algorithms import AllReduce, all_reduce
from .collectives import CollectiveError


def make_buckets(sizes: Sequence[int], bucket_bytes: int) -> list[list[int]]:
    """Numbers of parameters by bucket, last parameter first, since backward reaches it first.

    ``sizes`` are bytes. A bucket is full when the next parameter would take it over ``bucket_bytes``; a parameter that
    is larger has a bucket of its own. Lab 9, exercise ``make_buckets``.
    """
    buckets: list[list[int]] = []
    filled = 0
    for number in reversed(range(len(sizes))):
        if not buckets or filled + sizes[number] > bucket_bytes:
            buckets.append([])
            filled = 0
        buckets[-1].append(number)
        filled += sizes[number]
    return buckets


def average_bucket(parameters: Sequence[nn.Parameter], comm: Communicator, all_reduce: AllReduce = all_reduce) -> None:
    """Make each gradient its mean over all ranks, with one all-reduce for all of them.

    ``parameters`` have one dtype; one without a gradient counts as zeros, and has the mean afterwards.
    ``all_reduce(flat, comm)`` returns the sum, a new tensor. Lab 9, exercise ``average_bucket``.
    """
    set_gradients(parameters, all_reduce(flat_gradients(parameters), comm) / comm.world_size)


def flat_gradients(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Their gradients one after the other in one dimension, copied; zeros where there is none."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])


def set_gradients(parameters: Sequence[nn.Parameter], flat: Tensor) -> None:
    """The way back: each gets its piece of ``flat``, in its shape and in memory of its own."""
    for p, piece in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = piece.view(p.shape).clone()


class Bucket:
    """One flat tensor for the gradients of some parameters of one dtype and device, and a view of it for each."""

    def __init__(self, parameters: Sequence[nn.Parameter]):
        self.parameters = list(parameters)
        first = self.parameters[0]
        self.flat = torch.zeros(sum(p.numel() for p in parameters), dtype=first.dtype, device=first.device)
        pieces = self.flat.split([p.numel() for p in parameters])
        self.views = {p: piece.view(p.shape) for p, piece in zip(parameters, pieces, strict=True)}
        self.missing: set[nn.Parameter] = set(parameters)

    def put(self, parameter: nn.Parameter, scale: float) -> bool:
        """Move a gradient in, multiplied with ``scale``; whether it was the last one missing.

        From then on ``parameter.grad`` is a view of the bucket, so nothing has to be copied back after the all-reduce.
        """
        view, grad = self.views[parameter], parameter.grad
        if grad is not None and (grad.requires_grad or grad.layout is not torch.strided):
            wrong = (
                "is sparse; make its embedding with sparse=False"
                if grad.layout is not torch.strided
                else ("has a history; call backward without create_graph=True")
            )
            raise CollectiveError(f"a gradient of shape {tuple(grad.shape)} {wrong}: buckets hold plain numbers")
        if grad is None:
            view.zero_()
        elif grad is view or grad.data_ptr() == view.data_ptr():
            view.mul_(scale)
        else:
            torch.mul(grad, scale, out=view)
        parameter.grad = view
        self.missing.discard(parameter)
        return not self.missing

    def refill(self) -> None:
        """Wait for every gradient anew."""
        self.missing = set(self.parameters)


def buckets_of(parameters: Sequence[nn.Parameter], bucket_bytes: int) -> list[Bucket]:
    """``make_buckets``, cut where dtype or device change."""
    runs: list[list[nn.Parameter]] = []
    for p in parameters:
        if not runs or (runs[-1][-1].dtype, runs[-1][-1].device) != (p.dtype, p.device):
            runs.append([])
        runs[-1].append(p)
    return [
        Bucket([run[k] for k in numbers])
        for run in reversed(runs)
        for numbers in make_buckets([p.numel() * p.element_size() for p in run], bucket_bytes)
    ]

"""Push and pull in few bytes: workers compress gradients, the server compresses their mean."""

import torch
from torch import Tensor

from ..substrate.ranks import Communicator
from .compressors import Compressor, Payload


class ErrorFeedback:
    """Compresses what comes one after the other; with ``keeps`` what was lost is added to the next.

    Unbiased compressors do without: their errors are as often up as down.
    Source: Seide et al. 2014, "1-bit stochastic gradient descent"; Karimireddy et al. 2019.
    """

    def __init__(self, compressor: Compressor, keeps: bool = True):
        self.compressor, self.keeps = compressor, keeps
        self.residual: Tensor | None = None

    def encode(self, x: Tensor, u: Tensor) -> Payload:
        """What is sent for x and for what earlier calls left."""
        if self.residual is not None:
            x = x + self.residual
        payload = self.compressor.encode(x, u)
        if self.keeps:
            self.residual = x - self.compressor.decode(payload, len(x))
        return payload


def compressed_push_pull(gradient: Tensor, comm: Communicator, feedback: ErrorFeedback, u: Tensor) -> Tensor:
    """The workers' mean gradient, as all ranks decode it. Rank 0 is the server, and its own gradient plays no part.

    ``feedback`` is the rank's own and remembers between steps, on the server too (Tang et al. 2019, "DoubleSqueeze").
    gradient: (n,), float32; n is the same on all ranks. Raises ValueError in a world without workers.
    """
    compressor, n, workers = feedback.compressor, len(gradient), comm.world_size - 1
    if not workers:
        raise ValueError("a world of one has a server and no worker; start at least two ranks")
    if comm.rank:
        for part in feedback.encode(gradient, u):
            comm.send(part, 0)
        return compressor.decode(tuple(comm.recv(part, 0) for part in compressor.buffers(n)), n)
    total = torch.zeros(n)
    for worker in range(1, comm.world_size):  # in this order whoever comes first, so that every run has the same bits
        total += compressor.decode(tuple(comm.recv(part, worker) for part in compressor.buffers(n)), n)
    payload = feedback.encode(total / workers, u)
    for worker in range(1, comm.world_size):
        for part in payload:
            comm.send(part, worker)
    return compressor.decode(payload, n)

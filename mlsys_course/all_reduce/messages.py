"""Messages between two ranks, as all collectives send them."""

from torch import Tensor

from ..substrate.ranks import Communicator


def send(x: Tensor, to: int, comm: Communicator) -> None:
    """Send a copy now, also on NCCL, where messages otherwise begin together at the next wait."""
    comm.send(x, to)
    comm.flush()


def exchange(outgoing: Tensor, to: int, buffer: Tensor, source: int, comm: Communicator) -> Tensor:
    """Send and receive at once. Where sending may block, two ranks that both sent first would wait forever."""
    sent = comm.isend(outgoing, to)
    comm.recv(buffer, source)
    sent.wait()
    return buffer

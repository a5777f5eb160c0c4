"""Training without waiting: the events of ``bounded_staleness``, with real gradients at what each worker pulled."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from .staleness import Happened

Values = Sequence[Tensor]


def asynchronous_training(
    events: Iterable[Happened],
    parameters: Values,
    gradient: Callable[[int, int, Values], tuple[float, Values]],
    update: Callable[[Values], object],
) -> list[tuple[float, float]]:
    """Play ``events``; the time and the loss of each push.

    A pull copies ``parameters``; at its push, ``gradient(worker, iteration, pulled)`` gives the loss and the gradients
    there, and ``update(gradients)`` changes ``parameters`` in place, which may have moved on by then.
    """
    pulled, iterations = dict[int, list[Tensor]](), dict[int, int]()
    losses: list[tuple[float, float]] = []
    for time, what, worker, _ in events:
        if what == "pull":
            pulled[worker] = [x.detach().clone() for x in parameters]
            continue
        loss, gradients = gradient(worker, iterations.get(worker, 0), pulled[worker])
        iterations[worker] = iterations.get(worker, 0) + 1
        with torch.no_grad():
            update(gradients)
        losses.append((time, loss))
    return losses

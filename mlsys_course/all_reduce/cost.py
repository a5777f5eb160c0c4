"""What an all-reduce costs before it runs: the alpha-beta model. Lab 9, exercise ``all_reduce_seconds``.

A message of m bytes takes alpha + beta m seconds: alpha until anything arrives (latency), beta a byte (one over the
bandwidth). A rank sends one message and receives one at a time, both at once. Adding up is taken as free.
"""

import math
from dataclasses import dataclass

import torch

from .collectives import CollectiveError


@dataclass(frozen=True)
class Cost:
    """Of one all-reduce: steps that follow one another, and the share of the tensor that each moves, summed."""

    steps: int
    volume: float  # in units of the whole tensor

    def seconds(self, n_bytes: float, alpha: float, beta: float) -> float:
        """For a tensor of ``n_bytes``."""
        return self.steps * alpha + self.volume * n_bytes * beta


def cost(algorithm: str, world_size: int) -> Cost:
    """Steps and volume of ``naive``, ``ring``, ``tree`` or ``halving_doubling`` on ``world_size`` ranks.

    Where P does not divide the tensor, chunks are rounded up and a little more goes over the wire.
    """
    if world_size < 1:
        raise CollectiveError(f"world_size={world_size}; there is at least one rank")
    others, levels = world_size - 1, math.ceil(math.log2(world_size))
    power = 1 << (world_size.bit_length() - 1)
    fold = 2 if power < world_size else 0
    known = {
        "naive": Cost(2 * others, 2.0 * others),
        "ring": Cost(2 * others, 2 * others / world_size),
        "tree": Cost(2 * levels, 2.0 * levels),
        "halving_doubling": Cost(2 * int(math.log2(power)) + fold, 2 * (power - 1) / power + fold),
    }
    if algorithm not in known:
        raise CollectiveError(f"no cost of {algorithm!r}; there are {', '.join(known)}")
    return known[algorithm]


def all_reduce_seconds(algorithm: str, n_bytes: float, world_size: int, alpha: float, beta: float) -> float:
    """Seconds of one all-reduce of ``n_bytes``, with a latency of alpha seconds and beta seconds a byte."""
    return cost(algorithm, world_size).seconds(n_bytes, alpha, beta)


def crossover_bytes(few_steps: str, few_bytes: str, world_size: int, alpha: float, beta: float) -> float:
    """The size from which on ``few_bytes`` is the faster of two algorithms: 0 if always, infinity if never."""
    a, b = cost(few_steps, world_size), cost(few_bytes, world_size)
    more_steps, less_volume = b.steps - a.steps, a.volume - b.volume
    if less_volume <= 0:
        return 0.0 if more_steps < 0 else math.inf
    if beta == 0:  # bytes take no time, so steps decide, or nothing does
        return 0.0 if more_steps < 0 or alpha == 0 else math.inf
    return max(0.0, alpha * more_steps / (beta * less_volume))


def fitted(sizes: list[float], seconds: list[float]) -> tuple[float, float]:
    """(alpha, beta) of messages that were measured: least squares of the *relative* errors, so that all sizes count.

    Neither is below zero: where one would be, it is 0, and the other fitted alone.
    """
    if len(sizes) != len(seconds) or len(set(sizes)) < 2 or min(seconds, default=0) <= 0:
        raise CollectiveError("fitting takes one positive time for each size, and two sizes at least")
    rows = torch.tensor([[1 / s, m / s] for m, s in zip(sizes, seconds, strict=True)], dtype=torch.float64)
    alpha, beta = torch.linalg.lstsq(rows, torch.ones(len(sizes), 1, dtype=torch.float64)).solution.flatten().tolist()
    if min(alpha, beta) >= 0:
        return alpha, beta
    only = (rows.sum(0) / rows.square().sum(0)).tolist()  # of one column: least squares of column * factor - 1
    return (0.0, only[1]) if alpha < 0 else (only[0], 0.0)

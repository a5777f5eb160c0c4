"""Send the few entries that matter, and remember the rest: top-k and random-k sparsification."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor


def sparsify(
    gradient: Float[Tensor, "*shape"], residual: Float[Tensor, "*shape"], k: int
) -> tuple[Float[Tensor, " K"], Int[Tensor, " K"], Float[Tensor, "*shape"]]:
    """(values, indices, residual): the k entries of gradient + residual with the largest magnitudes, and what is left.

    ``indices`` count in the flattened tensor and ascend; of equal magnitudes the earlier one goes first. All entries
    where there are fewer than k. What is not sent is the new residual (error feedback): gradient + residual equals what
    was sent plus the new residual, entry by entry. All are new tensors of the gradient's dtype, indices int64.
    Source: Stich, Cordonnier and Jaggi 2018, "Sparsified SGD with memory"; lecture 001. Lab 8, exercise ``sparsify``.
    """
    left = gradient + residual
    flat = left.reshape(-1)
    indices = flat.abs().sort(descending=True, stable=True).indices[:k].sort().values
    values = flat[indices]
    flat[indices] = 0
    return values, indices, flat.view(gradient.shape)


def densify(values: Float[Tensor, " K"], indices: Int[Tensor, " K"], shape: Sequence[int]) -> Float[Tensor, "*shape"]:
    """Zeros of ``shape`` with ``values`` at ``indices`` of the flattened tensor: what a receiver makes of a message."""
    flat = values.new_zeros(torch.Size(shape).numel())
    flat[indices] = values
    return flat.view(torch.Size(shape))


def random_k(
    gradient: Float[Tensor, "*shape"], k: int, u: Float[Tensor, "*shape"]
) -> tuple[Float[Tensor, " K"], Int[Tensor, " K"]]:
    """(values, indices) of k entries drawn without regard to their size, scaled so that the mean over draws is right.

    The entries with the k smallest ``u``, of equal ones the earlier first; indices ascend. Each of n entries is drawn
    with probability k / n, so values are entries times n / k; all entries, as they are, where k >= n.
    Source: Stich, Cordonnier and Jaggi 2018.
    """
    flat = gradient.reshape(-1)
    indices = u.reshape(-1).sort(stable=True).indices[:k].sort().values
    return flat[indices] * (len(flat) / max(len(indices), 1)), indices


def momentum_sparsify(
    gradient: Float[Tensor, " n"],
    momentum: Float[Tensor, " n"],
    residual: Float[Tensor, " n"],
    k: int,
    beta: float,
) -> tuple[Float[Tensor, " K"], Int[Tensor, " K"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """(values, indices, momentum, residual): momentum goes on in what waits, and ends where an entry is sent.

    The momentum becomes beta * momentum + gradient, the residual grows by it, and its k largest leave; where they
    stood, both are zero afterwards (momentum factor masking). The receiver steps without momentum of its own.
    Source: Lin et al. 2018, "Deep gradient compression", equations 4 to 6.
    """
    momentum = beta * momentum + gradient
    values, indices, residual = sparsify(momentum, residual, k)
    momentum[indices] = 0
    return values, indices, momentum, residual

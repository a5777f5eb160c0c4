"""Consensus by ADMM: data stay where they are, and solutions are pulled together."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def admm_step(
    problems: Sequence[tuple[Float[Tensor, "_ d"], Float[Tensor, " _"]]],
    z: Float[Tensor, " d"],
    duals: Float[Tensor, "P d"],
    rho: float,
) -> tuple[Float[Tensor, "P d"], Float[Tensor, " d"], Float[Tensor, "P d"]]:
    """(x, z, duals) after one step towards the least-squares solution of all problems (A, b) together.

    Each rank solves its own, x_p = argmin |A_p x - b_p|^2 / 2 + rho / 2 |x - z + u_p|^2; then z is the mean of
    x_p + u_p, and u_p grows by x_p - z. Only x_p + u_p leaves a rank. A problem may have fewer rows than unknowns.
    Source: Boyd et al. 2011, "Distributed optimization and statistical learning via ADMM", section 7.1. Lab 8,
    exercise ``admm_step``.
    """
    eye = torch.eye(len(z), dtype=z.dtype)
    x = torch.stack([
        torch.linalg.solve(A.mT @ A + rho * eye, A.mT @ b + rho * (z - dual))
        for (A, b), dual in zip(problems, duals, strict=True)
    ])  # fmt: skip
    z = (x + duals).mean(0)
    return x, z, duals + x - z

"""Why long-range influence fades or blows up: a product of many Jacobians, and what clipping does about it."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


def state_jacobian(h: Float[Tensor, "*batch C"], w_hh: Float[Tensor, "C C"]) -> Float[Tensor, "*batch C C"]:
    """d h / d h_before of one step that ended in ``h``: entry (i, j) says how h[i] moves with h_before[j].

    For h = tanh(x w_xh + h_before w_hh + b) that is diag(1 - h^2) w_hh^T. Lab 1, exercise ``jacobian_product``.
    """
    if w_hh.shape != (h.shape[-1], h.shape[-1]):
        raise ValueError(f"h {tuple(h.shape)} has {h.shape[-1]} channels, but w_hh is {tuple(w_hh.shape)}")
    return (1 - h**2)[..., :, None] * w_hh.T  # (..., C, 1) * (C, C)


def jacobian_product(states: Float[Tensor, "*batch T C"], w_hh: Float[Tensor, "C C"]) -> Float[Tensor, "*batch T C C"]:
    """d h_T / d h_t for every t of ``states``, as the last state sees them; the last entry is the identity.

    Later steps stand on the left, since rows of a Jacobian are outputs. Raises ValueError for an empty sequence, or
    widths that do not fit. Source: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks",
    equation 5. Lab 1, exercise ``jacobian_product``.
    """
    if states.ndim < 2 or states.shape[-2] < 1:
        raise ValueError(f"states {tuple(states.shape)} should be (..., T, C) with T of at least 1")
    identity = torch.eye(states.shape[-1], dtype=states.dtype, device=states.device)
    products = [identity.expand(*states.shape[:-2], *identity.shape)]
    for t in reversed(range(1, states.shape[-2])):
        products.append(products[-1] @ state_jacobian(states[..., t, :], w_hh))
    return torch.stack(products[::-1], dim=-3)


def spectral_radius(w: Float[Tensor, "C C"]) -> float:
    """The largest absolute value among the eigenvalues of ``w``."""
    return torch.linalg.eigvals(w.double()).abs().max().item()


def clip_by_norm(gradients: Mapping[str, Tensor | None], max_norm: float) -> tuple[dict[str, Tensor | None], float]:
    """All gradients times min(1, max_norm / norm), and the norm that they had, taken over all of them together.

    Directions stay as they are. The norm is a sum in float32 or better; each result has its gradient's dtype. None,
    of a parameter that the loss does not reach, stays None. Raises ValueError for a ``max_norm`` that is not positive,
    and for a norm that is not finite, which no factor can mend.
    Source: Pascanu et al. 2013, algorithm 1. Lab 1, extension ``clip_by_norm``.
    """
    if not max_norm > 0:
        raise ValueError(f"max_norm={max_norm}; choose a positive number")
    found = [g for g in gradients.values() if g is not None]
    parts = [torch.linalg.vector_norm(g.to(torch.promote_types(g.dtype, torch.float32))) for g in found]
    norm = torch.linalg.vector_norm(torch.stack(parts)).item() if parts else 0.0
    if not norm < float("inf"):
        raise ValueError(f"the gradients' norm is {norm}; leave this step out, or lower the learning rate")
    factor = min(1.0, max_norm / norm) if norm else 1.0
    return {name: None if g is None else g * factor for name, g in gradients.items()}, norm

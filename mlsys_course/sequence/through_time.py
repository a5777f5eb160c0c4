"""Back-propagation through time: the chain rule along the unrolled network, by hand."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..substrate.dtypes import check_floating
from .recurrent import check_steps


def rnn_backward(
    x: Float[Tensor, "B T Cx"],
    h_0: Float[Tensor, "B C"],
    states: Float[Tensor, "B T C"],
    d_states: Float[Tensor, "B T C"],
    w_xh: Float[Tensor, "Cx C"],
    w_hh: Float[Tensor, "C C"],
    mask: Bool[Tensor, "B T"] | None = None,
    chunk: int | None = None,
) -> dict[str, Tensor]:
    """Gradients of the loss by "x", "h_0", "w_xh", "w_hh" and "b", from ``states = rnn(x, h_0, ...)``.

    ``d_states`` is what the loss says of each state directly, its other paths left out: zeros but for the last step
    where only the last state is used. With ``chunk``, back-propagation is truncated: steps 0 to chunk - 1 are one
    piece, the next ``chunk`` another, and no gradient passes from a piece to the one before, as if the state that
    enters it were a constant; "h_0" gets the first piece's. ``mask`` as in ``rnn``. Raises ValueError for a chunk
    below 1, or shapes that do not fit. Source: Werbos 1990; Williams and Peng 1990 for truncation. Lab 1, exercise
    ``rnn_backward``, of whole sequences without padding.
    """
    _check(x, states, d_states, mask, chunk)
    before = torch.cat((h_0[:, None], states[:, :-1]), dim=1)  # (B, T, C), the state that each step starts from
    d_a = torch.empty_like(states)  # by the argument of tanh
    d_h = torch.zeros_like(h_0)  # what later steps say of this one's state
    for t in reversed(range(x.shape[1])):
        d_h = d_h + d_states[:, t]
        d_a[:, t] = d_h * (1 - states[:, t] ** 2)
        passed = d_a[:, t] @ w_hh.T
        if mask is not None:
            real = mask[:, t, None]
            d_a[:, t] = torch.where(real, d_a[:, t], 0)
            passed = torch.where(real, passed, d_h)  # on padding the state went through as it was
        d_h = torch.zeros_like(passed) if chunk and t and t % chunk == 0 else passed
    return {
        "x": d_a @ w_xh.T,
        "h_0": d_h,
        "w_xh": torch.einsum("bti,btj->ij", x, d_a),
        "w_hh": torch.einsum("bti,btj->ij", before, d_a),
        "b": d_a.sum((0, 1)),
    }


def _check(x: Tensor, states: Tensor, d_states: Tensor, mask: Tensor | None, chunk: int | None) -> None:
    check_steps(x, mask)
    check_floating(x=x, states=states)
    if states.shape != d_states.shape or states.shape[:2] != x.shape[:2]:
        shapes = f"x {tuple(x.shape)}, states {tuple(states.shape)}, d_states {tuple(d_states.shape)}"
        raise ValueError(f"{shapes}: each step needs a state, and each state a gradient")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk={chunk}; truncate to 1 step or more, or pass None for no truncation")

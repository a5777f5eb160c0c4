"""Long short-term memory, a cell with gates; both directions, and several layers, of any recurrent network."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .recurrent import check_steps, check_widths, rnn

Weights = Sequence[Tensor]  # w_xh, w_hh and b of one network
Network = Callable[..., Tensor]  # (x, h_0, w_xh, w_hh, b, mask) -> states (B, T, C), as ``rnn``


def lstm_cell(
    x: Float[Tensor, "B Cx"],
    h: Float[Tensor, "B C"],
    c: Float[Tensor, "B C"],
    w_x: Float[Tensor, "Cx C4"],
    w_h: Float[Tensor, "C C4"],
    b: Float[Tensor, " C4"],
) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
    """The next state and the next memory: c' = f c + i g, and h' = o tanh(c').

    The C4 = 4 C columns of the weights are the gates i (input), f (forget), g (candidate, by tanh) and o (output), in
    PyTorch's order. Where f is 1 and i is 0, the memory passes as it is, and so does its gradient. Raises ValueError
    where widths do not fit. Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000 for the forget gate. Lab 1,
    extension ``lstm_cell``.
    """
    check_widths(x, h, w_x, w_h, b)
    if w_h.shape[1] != 4 * h.shape[1] or c.shape != h.shape:
        shapes = f"h {tuple(h.shape)}, c {tuple(c.shape)}, w_h {tuple(w_h.shape)}"
        raise ValueError(f"{shapes}: c has the shape of h, and the weights four columns for each channel")
    i, f, g, o = (x @ w_x + h @ w_h + b).chunk(4, dim=-1)  # (B, C) each
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def lstm(
    x: Float[Tensor, "B T Cx"],
    h_0: Float[Tensor, "B C"],
    c_0: Float[Tensor, "B C"],
    w_x: Float[Tensor, "Cx C4"],
    w_h: Float[Tensor, "C C4"],
    b: Float[Tensor, " C4"],
    mask: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T C"], Float[Tensor, "B C"]]:
    """The states after each step, and the memory after the last; padding leaves both as they were, as in ``rnn``."""
    check_steps(x, mask)
    h, c, states = h_0, c_0, []
    for t in range(x.shape[1]):
        h_after, c_after = lstm_cell(x[:, t], h, c, w_x, w_h, b)
        if mask is not None:
            real = mask[:, t, None]
            h_after, c_after = torch.where(real, h_after, h), torch.where(real, c_after, c)
        h, c = h_after, c_after
        states.append(h)
    return torch.stack(states, dim=1), c  # (B, T, C), (B, C)


def bidirectional(
    x: Float[Tensor, "B T Cx"],
    forward: Weights,
    backward: Weights,
    mask: Bool[Tensor, "B T"] | None = None,
    *,
    rnn: Network = rnn,
) -> Float[Tensor, "B T C2"]:
    """Side by side, the states of ``rnn`` with the weights ``forward``, and with ``backward`` as it reads from the end.

    Both start from zeros. Position t gets the forward state after tokens 0 to t, and the backward state after tokens
    T-1 down to t. Source: Schuster and Paliwal 1997. Lab 1, extension ``bidirectional``.
    """
    check_steps(x, mask)
    reversed_mask = None if mask is None else mask.flip(1)  # padding in front leaves the state at zero
    there = rnn(x, zero_state(x, forward), *forward, mask)
    back = rnn(x.flip(1), zero_state(x, backward), *backward, reversed_mask).flip(1)
    return torch.cat((there, back), dim=-1)


def multi_layer(
    x: Float[Tensor, "B T Cx"],
    layers: Sequence[Weights],
    mask: Bool[Tensor, "B T"] | None = None,
    *,
    rnn: Network = rnn,
) -> Float[Tensor, "B T C"]:
    """The states of the last layer: each reads those of the one below, with weights of its own, from zeros.

    Raises ValueError without layers. Lab 1, extension ``multi_layer``.
    """
    if not layers:
        raise ValueError("layers is empty; pass one list of weights or more")
    for weights in layers:
        x = rnn(x, zero_state(x, weights), *weights, mask)
    return x


def zero_state(x: Float[Tensor, "B T Cx"], weights: Weights) -> Float[Tensor, "B C"]:
    """The state before the first token, as wide as w_hh has rows."""
    return x.new_zeros(len(x), len(weights[1]))

"""Before recurrence: an MLP on a window of fixed width, and what its first layer costs."""

import torch
from jaxtyping import Float
from torch import Tensor


def window_mlp(
    x: Float[Tensor, "B T C"],
    w_1: Float[Tensor, "TC A"],
    b_1: Float[Tensor, " A"],
    w_2: Float[Tensor, "A V"],
    b_2: Float[Tensor, " V"],
) -> Float[Tensor, "B V"]:
    """tanh([x_1; ...; x_T] w_1 + b_1) w_2 + b_2: each position has C rows of w_1 to itself.

    So T is fixed when the weights are made, what one position learns no other knows, and that position 2 comes after
    position 1 is nowhere said. Raises ValueError for sequences of another length.
    """
    T, C = x.shape[-2:]
    if w_1.shape[0] != T * C:
        raise ValueError(f"x {tuple(x.shape)} brings {T * C} numbers a sequence, but w_1 {tuple(w_1.shape)} takes "
                         f"{w_1.shape[0]}: an MLP takes sequences of one length only")  # fmt: skip
    return torch.tanh(x.flatten(1) @ w_1 + b_1) @ w_2 + b_2  # (B, T, C) -> (B, T*C)


def first_layer_weights(T: int, C: int, width: int) -> dict[str, int]:
    """Weights that read T tokens of C channels into ``width`` units, biases left out: "mlp" on a window, and "rnn".

    The MLP has T blocks of C x width; a recurrent network one, and width x width for its state, whatever T is.
    """
    return {"mlp": T * C * width, "rnn": C * width + width * width}

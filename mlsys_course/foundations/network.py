"""A network of fully connected layers, forward and backward by hand, in the lecture's z and a."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .problems import BadInput, check_sizes


def forward(
    x: Float[Tensor, "B in"], weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """z = a W + b in each layer, a = relu(z) in each but the last; returns the lists of z and of each layer's input a.

    Rows are examples, W is (in, out). ``z[-1]`` are the logits and ``a[0]`` is x. Any number of layers from one up.
    Raises BadInput where a weight does not fit. Lecture 000, "Forward propagation". Lab 0, exercise ``forward``.
    """
    if not weights or len(weights) != len(biases):
        raise BadInput(f"{len(weights)} weights and {len(biases)} biases; give one of each for every layer")
    z: list[Tensor] = []
    a = [x]
    for n, (w, b) in enumerate(zip(weights, biases, strict=True)):
        check_sizes(f"weight {n}", w.shape[:1], a[-1].shape[-1:])
        z.append(a[-1] @ w + b)
        if n + 1 < len(weights):
            a.append(z[-1].clamp(min=0))
    return z, a


def backward(
    weights: Sequence[Tensor], z: Sequence[Tensor], a: Sequence[Tensor], grad: Float[Tensor, "B out"]
) -> tuple[list[Tensor], list[Tensor]]:
    """dL/dW and dL/db of every layer, from what ``forward`` returned and ``grad`` = dL/dz of the last layer.

    The slope of relu at 0 is 0. Lecture 000, "Backward propagation". Lab 0, exercise ``backward``.
    """
    of_weights, of_biases = [], []
    for n in reversed(range(len(weights))):
        of_weights.insert(0, a[n].T @ grad)
        of_biases.insert(0, grad.sum(0))
        if n:
            grad = (grad @ weights[n].T) * (z[n - 1] > 0)
    return of_weights, of_biases


def path_shares(
    weights: Sequence[Tensor], z: Sequence[Tensor], a: Sequence[Tensor], grad: Tensor, i: int, j: int
) -> Float[Tensor, "k m"]:
    """What each path adds to dL/dw^1_ij, for one example and three layers: the lecture's bracket, multiplied out.

    A path leaves unit j of the first layer, passes unit k of the second and ends in output m. The sum over k and m is
    entry (i, j) of what ``backward`` returns for the first weight.
    """
    _, w2, w3 = weights
    slope1, slope2 = (float(z[0][0, j]) > 0), (z[1][0] > 0).to(grad.dtype)
    shares = torch.zeros(w3.shape, dtype=grad.dtype, device=grad.device)
    for k in range(w3.shape[0]):
        for m in range(w3.shape[1]):  # dL/dz3  dz3/da2   da2/dz2     dz2/da1   da1/dz1  dz1/dw1
            shares[k, m] = grad[0, m] * w3[k, m] * slope2[k] * w2[j, k] * slope1 * a[0][0, i]
    return shares

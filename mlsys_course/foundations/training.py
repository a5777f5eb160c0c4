"""Gradient descent on the network: small random batches, a step for each."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .cross_entropy import cross_entropy
from .network import backward, forward
from .problems import BadInput


def initial(
    widths: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu"
) -> tuple[list[Tensor], list[Tensor]]:
    """Weights of standard deviation sqrt(2 / inputs), which keep relu's outputs in size (He et al. 2015), and zeros."""
    weights = [
        (torch.randn(n, m, generator=generator) * math.sqrt(2 / n)).to(device) for n, m in itertools.pairwise(widths)
    ]
    return weights, [torch.zeros(m, device=device) for m in widths[1:]]


def momentum_step(
    parameters: Sequence[Tensor], gradients: Sequence[Tensor], velocities: Sequence[Tensor], lr: float, momentum: float
) -> tuple[list[Tensor], list[Tensor]]:
    """v = momentum * v + gradient, then parameter - lr * v, as PyTorch's SGD; new parameters and new velocities.

    A momentum of 0 is plain gradient descent. Polyak 1964. Lab 0, extension ``momentum_step``.
    """
    moved = [momentum * v + g for v, g in zip(velocities, gradients, strict=True)]
    return [p - lr * v for p, v in zip(parameters, moved, strict=True)], moved


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The numbers 0 .. count - 1 in random order, ``size`` at a time; the last batch may be smaller."""
    yield from torch.randperm(count, generator=generator).split(size)


def train(
    x: Tensor,
    labels: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    generator: torch.Generator,
    *,
    epochs: int,
    lr: float,
    momentum: float = 0.0,
    batch: int = 64,
) -> tuple[list[Tensor], list[Tensor], list[float]]:
    """Weights and biases after ``epochs`` passes over the examples, and the loss of every step."""
    if not len(x):
        raise BadInput("x has no rows; training needs at least one example")
    layers = len(weights)
    parameters = [*weights, *biases]
    velocities, losses = [torch.zeros_like(p) for p in parameters], []
    for _ in range(epochs):
        for rows in batches(len(x), batch, generator):
            rows = rows.to(x.device)
            z, a = forward(x[rows], parameters[:layers], parameters[layers:])
            loss, grad = cross_entropy(z[-1], labels[rows])
            of_weights, of_biases = backward(parameters[:layers], z, a, grad)
            gradients = [*of_weights, *of_biases]
            parameters, velocities = momentum_step(parameters, gradients, velocities, lr, momentum)
            losses.append(float(loss))
    return parameters[:layers], parameters[layers:], losses

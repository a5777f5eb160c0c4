"""Training a translator: batches of one length, teacher forcing, clipped gradients."""

import random
from collections.abc import Sequence

import torch

from ..substrate.data import END, PADDING, START, padded
from .conditional import sequence_loss, teacher_forcing
from .long_range import clip_by_norm
from .translator import Translator

Numbers = Sequence[int]


def train(
    model: Translator,
    pairs: Sequence[tuple[Numbers, Numbers]],
    steps: int,
    batch: int = 24,
    learning_rate: float = 0.01,
    max_norm: float = 1.0,
    seed: int = 0,
) -> list[float]:
    """Change the model's weights by ``steps`` of Adam on ``pairs`` (source, target) of words' numbers; the losses.

    A batch's sources have one length, so that no step is spent on padding; a length comes as often as it has pairs.
    The learning rate rises for 20 steps and then falls to 0. Raises ValueError without pairs, or for fewer than 1 step.
    """
    if not pairs or steps < 1 or batch < 1:
        raise ValueError(f"{len(pairs)} pairs, steps={steps}, batch={batch}: each must be 1 or more")
    draw, device = random.Random(seed), model.bias.device
    by_length: dict[int, list[tuple[Numbers, Numbers]]] = {}
    for pair in pairs:
        by_length.setdefault(len(pair[0]), []).append(pair)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    losses = []
    for step in range(steps):
        alike = by_length[len(draw.choice(pairs)[0])]
        sources, targets = zip(*draw.sample(alike, min(batch, len(alike))), strict=True)
        inputs, labels = teacher_forcing(padded(targets, device), START, END, PADDING)
        loss = sequence_loss(model(padded(sources, device), inputs)[0], labels, PADDING)
        model.zero_grad()
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        clipped, _ = clip_by_norm(gradients, max_norm)
        for name, p in model.named_parameters():
            p.grad = clipped.get(name)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min((step + 1) / 20, 1 - step / steps)
        optimizer.step()
        losses.append(loss.item())
    return losses

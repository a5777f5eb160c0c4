"""Lab 1's references that are put together of the component's parts in the exercises' own shape. Sealed."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mlsys_course import sequence as component

Weights = Sequence[Tensor]
SCORES = {
    "dot": component.dot_product_score,
    "multiplicative": component.multiplicative_score,
    "reduced": component.reduced_rank_score,
    "additive": component.additive_score,
}


def rnn(x: Tensor, h_0: Tensor, w_xh: Tensor, w_hh: Tensor, b: Tensor, mask: Tensor | None = None, *, cell) -> Tensor:
    """The component's, whose cell has a default."""
    return component.rnn(x, h_0, w_xh, w_hh, b, mask, cell)


def teacher_forced_loss(decode: Callable, target: Tensor, start: int, end: int, padding: int) -> Tensor:
    """What the decoder reads, what it says, and how surprised it is by the labels."""
    inputs, labels = component.teacher_forcing(target, start, end, padding)
    return component.sequence_loss(decode(inputs), labels, padding)


def scores(kind: str, s: Tensor, h: Tensor, *weights: Tensor) -> Tensor:
    """The four scores by name."""
    if kind not in SCORES:
        raise ValueError(f"kind={kind!r}; choose one of {', '.join(SCORES)}")
    return SCORES[kind](s, h, *weights)


def attend(scores: Tensor, h: Tensor, s: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The distribution, and [a; s]."""
    weights = component.attention_distribution(scores, mask)
    return weights, torch.cat([weights @ h, s], dim=-1)


def seq2seq(
    source: Tensor, mask: Tensor, inputs: Tensor, weights: Mapping, *, rnn: Callable, score: Callable, attend: Callable
) -> tuple[Tensor, Tensor]:
    """Encoder, decoder, attention, logits."""
    x, y = weights["source_embedding"][source], weights["target_embedding"][inputs]
    h = rnn(x, x.new_zeros(len(x), len(weights["encoder"][2])), *weights["encoder"], mask)
    s = rnn(y, h[:, -1], *weights["decoder"])
    attention, joined = attend(score(s, h), h, s, mask)
    return joined @ weights["output"] + weights["output_bias"], attention


def zeros(x: Tensor, weights: Weights) -> Tensor:
    """A state before the first token."""
    return x.new_zeros(len(x), len(weights[2]))


def bidirectional(x: Tensor, forward: Weights, backward: Weights, mask: Tensor | None = None, *, rnn) -> Tensor:
    """The component's around one ``rnn`` with two sets of weights."""
    there, back = (lambda x, mask, w=w: rnn(x, zeros(x, w), *w, mask) for w in (forward, backward))
    return component.bidirectional(x, there, back, mask)


def multi_layer(x: Tensor, layers: Sequence[Weights], mask: Tensor | None = None, *, rnn) -> Tensor:
    """The component's around one ``rnn``."""
    return component.multi_layer(x, [lambda x, mask, w=w: rnn(x, zeros(x, w), *w, mask) for w in layers], mask)


def input_feeding(
    y: Tensor, s_0: Tensor, h: Tensor, mask: Tensor | None, w_xh: Tensor, w_hh: Tensor, b: Tensor, *,
    cell: Callable, score: Callable, attend: Callable,
) -> Tensor:  # fmt: skip
    """Step by step, each told what the last one looked at."""
    s, a, joined = s_0, torch.zeros_like(h[:, 0]), []
    for t in range(y.shape[1]):
        s = cell(torch.cat([y[:, t], a], dim=-1), s, w_xh, w_hh, b)
        _, both = attend(score(s[:, None], h), h, s[:, None], mask)
        a = both[:, 0, : h.shape[-1]]
        joined.append(both)
    return torch.cat(joined, dim=1)

"""Lab 1's misconceptions about the extensions around recurrent networks. Sealed, as exercises.py."""

from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception
from mlsys_course import sequence as component

from . import references

Tensor = torch.Tensor
Candidate = Callable[..., Any]


def lstm_like(
    order: tuple[int, int, int, int] = (0, 1, 2, 3),
    candidate_bend: Candidate = torch.tanh,
    memory: Candidate = lambda i, f, g, c: f * c + i * g,
    out: Candidate = lambda o, c, before: o * torch.tanh(c),
    gate: Candidate = torch.sigmoid,
) -> Candidate:
    """A wrong ``lstm_cell``: gates in another order, another bend, another memory, another output."""

    def candidate(x, h, c, w_x, w_h, b) -> tuple[Tensor, Tensor]:
        gates = (x @ w_x + h @ w_h + b).chunk(4, dim=-1)
        i, f, g, o = (gates[n] for n in order)
        after = memory(gate(i), gate(f), candidate_bend(g), c)
        return out(gate(o), after, c), after

    return candidate


def memory_first(x, h, c, w_x, w_h, b) -> tuple[Tensor, Tensor]:
    h, c = component.lstm_cell(x, h, c, w_x, w_h, b)
    return c, h


LSTM_CELL = [
    Misconception("gates in the order i f o g", lstm_like((0, 1, 3, 2)), "In which order do the four gates stand?"),
    Misconception(
        "input and forget exchanged",
        lstm_like((1, 0, 2, 3)),
        "Which of the first two gates multiplies the old memory?",
    ),
    Misconception(
        "candidate by sigmoid",
        lstm_like(candidate_bend=torch.sigmoid),
        "Three of the four are gates, between 0 and 1. May what is written be negative?",
    ),
    Misconception(
        "memory goes out as it is", lstm_like(out=lambda o, c, before: o * c), "What bends the memory on its way out?"
    ),
    Misconception(
        "old memory goes out",
        lstm_like(out=lambda o, c, before: o * torch.tanh(before)),
        "h' shows a memory: that before this step, or that after it?",
    ),
    Misconception(
        "nothing forgotten", lstm_like(memory=lambda i, f, g, c: c + i * g), "What does the forget gate multiply?"
    ),
    Misconception(
        "forgets what it writes",
        lstm_like(memory=lambda i, f, g, c: f * c + (1 - f) * g),
        "One gate for both is another cell (a GRU has it). Which gate decides on what is written here?",
    ),
    Misconception("memory first", memory_first, "In which order are the two results?"),
    Misconception(
        "exponentials overflow",
        lstm_like(gate=lambda z: z.exp() / (1 + z.exp())),
        "How large is exp(100) in float32, and what is infinity divided by infinity? The docstring's form has neither.",
    ),
]


def reversed_tokens(x: Tensor, mask: Tensor | None) -> Tensor:
    """Each sequence's tokens back to front, right padding where it was."""
    T = x.shape[1]
    n = torch.full((len(x), 1), T) if mask is None else mask.sum(1, keepdim=True)
    t = torch.arange(T)
    return x.gather(1, torch.where(t < n, n - 1 - t, t)[..., None].expand_as(x))


def ways_like(
    into: Candidate = reversed_tokens,
    back: Candidate = reversed_tokens,
    axis: int = -1,
    same: bool = False,
    masked: bool = True,
) -> Candidate:
    """A wrong ``bidirectional``: how it turns around, and how it joins."""

    def candidate(x, forward, backward, mask=None, *, rnn) -> Tensor:
        second = forward if same else backward
        there = rnn(x, references.zeros(x, forward), *forward, mask)
        states = back(rnn(into(x, mask), references.zeros(x, second), *second, mask if masked else None), mask)
        return torch.cat([there, states] if axis == -1 else [states, there], dim=-1)

    return candidate


def keep(x: Tensor, mask: Tensor | None) -> Tensor:
    return x


def flip(x: Tensor, mask: Tensor | None) -> Tensor:
    return x.flip(1)


BIDIRECTIONAL = [
    Misconception("not turned back", ways_like(back=keep), "At which position does the state that read token t stand?"),
    Misconception("both from the left", ways_like(into=keep, back=keep), "What has the second half of state 0 read?"),
    Misconception("one set of weights", ways_like(same=True), "Whose weights does the second direction use?"),
    Misconception("backward half first", ways_like(axis=0), "Which of the two directions comes first?"),
    Misconception(
        "padding turned with the tokens, the mask not",
        ways_like(into=flip, back=flip),
        "When a short sequence is turned around, where is its padding, and what does the mask say there?",
    ),
    Misconception(
        "padding read on the way back",
        ways_like(into=flip, back=flip, masked=False),
        "Which call knows nothing of padding? On the way back a short sequence's padding comes first.",
    ),
]


def layers_like(
    reads: Candidate = lambda x, below: below,
    weights: Candidate = lambda layers, n: layers[n],
    start: Candidate = lambda zero, last: zero,
    masked: Candidate = lambda mask, n: mask,
) -> Candidate:
    """A wrong ``multi_layer``: what a layer reads, whose weights, which start, which mask."""

    def candidate(x, layers, mask=None, *, rnn) -> Tensor:
        states, last = x, None
        for n in range(len(layers)):
            w = weights(layers, n)
            zero = references.zeros(x, w)
            h_0 = zero if last is None or last.shape != zero.shape else start(zero, last)
            states = rnn(reads(x, states) if len(w[0]) == x.shape[-1] else states, h_0, *w, masked(mask, n))
            last = states[:, -1]
        return states

    return candidate


MULTI_LAYER = [
    Misconception("every layer reads x", layers_like(reads=lambda x, below: x), "What does the second layer read?"),
    Misconception(
        "one layer's weights",
        layers_like(weights=lambda layers, n: layers[0] if layers[0][0].shape == layers[n][0].shape else layers[n]),
        "Each layer has weights of its own. Which do yours use?",
    ),
    Misconception(
        "starts where the layer below ended",
        layers_like(start=lambda zero, last: last),
        "Which state does every layer have before its first step?",
    ),
    Misconception(
        "mask for the first layer only",
        layers_like(masked=lambda mask, n: mask if n == 0 else None),
        "Does the second layer read padding?",
    ),
]


def clip_like(factor: Candidate) -> Candidate:
    """A wrong ``clip_by_norm``: ``factor`` of (norm, max_norm)."""

    def candidate(gradients, max_norm) -> tuple[dict[str, Tensor], float]:
        norm = sum(float(g.double().square().sum()) for g in gradients.values()) ** 0.5
        return {name: g * factor(norm, max_norm) for name, g in gradients.items()}, norm

    return candidate


def each_alone(gradients, max_norm) -> tuple[dict[str, Tensor], float]:
    norm = component.clip_by_norm(gradients, max_norm)[1]
    return {name: component.clip_by_norm({"": g}, max_norm)[0][""] for name, g in gradients.items()}, norm


def by_value(gradients, max_norm) -> tuple[dict[str, Tensor], float]:
    norm = component.clip_by_norm(gradients, max_norm)[1]
    return {name: g.clamp(-max_norm, max_norm) for name, g in gradients.items()}, norm


def norm_after(gradients, max_norm) -> tuple[dict[str, Tensor], float]:
    clipped, norm = component.clip_by_norm(gradients, max_norm)
    return clipped, min(norm, max_norm)


def in_own_dtype(gradients, max_norm) -> tuple[dict[str, Tensor], float]:
    norm = float(sum(g.square().sum() for g in gradients.values())) ** 0.5
    factor = min(1.0, max_norm / norm) if norm else 1.0
    return {name: g * factor for name, g in gradients.items()}, norm


def never_divides_by_zero(factor: Candidate) -> Candidate:
    return lambda norm, most: factor(norm, most) if norm else 1.0


CLIP_BY_NORM = [
    Misconception("each gradient alone", each_alone, "One norm for all of them, or one for each?"),
    Misconception("by value", by_value, "Entries are cut off in yours. Does the step keep its direction?"),
    Misconception(
        "small ones are grown",
        clip_like(never_divides_by_zero(lambda norm, most: most / norm)),
        "What should happen to gradients that are small enough?",
    ),
    Misconception(
        "divided by the square",
        clip_like(never_divides_by_zero(lambda norm, most: min(1.0, most / norm**2))),
        "Take the norm of what you return: is it max_norm?",
    ),
    Misconception(
        "summed in the gradients' dtype",
        in_own_dtype,
        "The largest float16 is 65504. What is the sum of your squares there, and in which dtype should it be taken?",
    ),
    Misconception("the norm afterwards", norm_after, "Which norm is asked for: that before clipping, or after?"),
    Misconception(
        "divides by a norm of zero",
        clip_like(lambda norm, most: min(1.0, most / norm)),
        "All gradients may be zero. What do you divide by then?",
    ),
]

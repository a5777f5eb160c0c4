"""Lab 1's misconceptions about cells and unrolled networks. Sealed, as exercises.py."""

from collections.abc import Callable
from typing import Any

import torch

from autograder.exercise import Misconception
from mlsys_course import sequence as component

from . import references

Tensor = torch.Tensor
Candidate = Callable[..., Any]


def cell_like(bend: Candidate = torch.tanh, inside: Candidate | None = None) -> Candidate:
    """A wrong ``rnn_cell``: another bend, or another sum inside it."""

    def candidate(x: Tensor, h: Tensor, w_xh: Tensor, w_hh: Tensor, b: Tensor) -> Tensor:
        return bend((inside or whole_sum)(x, h, w_xh, w_hh, b))

    return candidate


def whole_sum(x: Tensor, h: Tensor, w_xh: Tensor, w_hh: Tensor, b: Tensor) -> Tensor:
    return x @ w_xh + h @ w_hh + b


def tanh_by_exponentials(z: Tensor) -> Tensor:
    return (z.exp() - (-z).exp()) / (z.exp() + (-z).exp())


def tanh_by_one_exponential(z: Tensor) -> Tensor:
    return ((2 * z).exp() - 1) / ((2 * z).exp() + 1)


RNN_CELL = [
    Misconception(
        "sigmoid", cell_like(torch.sigmoid), "Which function bends the sum here, and between which values does it lie?"
    ),
    Misconception("no bend", cell_like(lambda z: z), "The sum is right. What is done to it before it is the state?"),
    Misconception("ReLU", cell_like(torch.relu), "May a state be negative here? See the equation."),
    Misconception(
        "bias missing",
        cell_like(inside=lambda x, h, w_xh, w_hh, b: x @ w_xh + h @ w_hh),
        "Of the three summands one is missing. Which one is the same for every x and h?",
    ),
    Misconception(
        "no memory",
        cell_like(inside=lambda x, h, w_xh, w_hh, b: x @ w_xh + b),
        "Change h: does your result change?",
    ),
    Misconception(
        "state times the transpose",
        cell_like(inside=lambda x, h, w_xh, w_hh, b: x @ w_xh + h @ w_hh.T + b),
        "Rows are tokens. On which side of w_hh does h stand, and which of its axes is summed over?",
    ),
    Misconception(
        "bent before the sum",
        lambda x, h, w_xh, w_hh, b: torch.tanh(x @ w_xh + b) + torch.tanh(h @ w_hh),
        "A state lies between -1 and 1. Is the sum inside the bend, or outside?",
    ),
    Misconception(
        "exponentials overflow",
        cell_like(tanh_by_exponentials),
        "How large is exp(100) in float32, and what is infinity divided by infinity? Is there a function for it?",
    ),
    Misconception(
        "one exponential overflows",
        cell_like(tanh_by_one_exponential),
        "Far below zero yours is right. How large is exp(2z) in float32 for z = 50, and is there a function for it?",
    ),
]


def rnn_like(
    start: Candidate = lambda h_0: h_0,
    steps: Candidate = range,
    carry: Candidate = lambda h, before, real: torch.where(real, h, before),
    say: Candidate = lambda h, before, real: torch.where(real, h, before),
    before: Candidate = lambda h, h_0: h,
    seen: Candidate = lambda mask: mask,
) -> Candidate:
    """A wrong ``rnn``: where it starts, the order of its steps, what is carried on, and what is said, at padding."""

    def candidate(x, h_0, w_xh, w_hh, b, mask=None, *, cell) -> Tensor:
        if x.shape[1] == 0:
            raise ValueError("no token")
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else seen(mask)
        h, states = start(h_0), {}
        for t in steps(x.shape[1]):
            after = cell(x[:, t], before(h, h_0), w_xh, w_hh, b)
            states[t] = say(after, h, real[:, t, None])
            h = carry(after, h, real[:, t, None])
        return torch.stack([states[t] for t in range(x.shape[1])], dim=1)

    return candidate


def empty_is_nothing(x, h_0, w_xh, w_hh, b, mask=None, *, cell) -> Tensor:
    if x.shape[1] == 0:
        return h_0[:, None][:, :0]
    return references.rnn(x, h_0, w_xh, w_hh, b, mask, cell=cell)


def too_early(x, h_0, w_xh, w_hh, b, mask=None, *, cell) -> Tensor:
    states = references.rnn(x, h_0, w_xh, w_hh, b, mask, cell=cell)
    return torch.cat([h_0[:, None], states[:, :-1]], dim=1)


def last_only(x, h_0, w_xh, w_hh, b, mask=None, *, cell) -> Tensor:
    return references.rnn(x, h_0, w_xh, w_hh, b, mask, cell=cell)[:, -1]


def own_cell(x, h_0, w_xh, w_hh, b, mask=None, *, cell) -> Tensor:
    return references.rnn(x, h_0, w_xh, w_hh, b, mask, cell=component.rnn_cell)


def zeroed_tokens(x, h_0, w_xh, w_hh, b, mask=None, *, cell) -> Tensor:
    seen = x if mask is None else x * mask[..., None]
    return references.rnn(seen, h_0, w_xh, w_hh, b, cell=cell)


def written_in_place(x, h_0, w_xh, w_hh, b, mask=None, *, cell) -> Tensor:
    if x.shape[1] == 0:
        raise ValueError("no token")
    states = x.new_zeros(*x.shape[:2], len(b))
    for t in range(x.shape[1]):
        before = h_0 if t == 0 else states[:, t - 1]
        after = cell(x[:, t], before, w_xh, w_hh, b)
        states[:, t] = after if mask is None else torch.where(mask[:, t, None], after, before)
    return states


RNN = [
    Misconception(
        "starts from zeros", rnn_like(start=torch.zeros_like), "Before the first token there is a state. Which one?"
    ),
    Misconception(
        "every step starts anew",
        rnn_like(before=lambda h, h_0: h_0),
        "Swap the first two tokens: does your third state change? Which state does a step start from?",
    ),
    Misconception(
        "from right to left",
        rnn_like(steps=lambda T: reversed(range(T))),
        "Your steps run from the last token to the first. What may state t know of?",
    ),
    Misconception("last state only", last_only, "The exercise asks for a state after every step. Which shape is that?"),
    Misconception(
        "states before their tokens",
        too_early,
        "states[:, t] comes after token t. Is what you return first the state after the first token?",
    ),
    Misconception(
        "a cell of its own",
        own_cell,
        "Which cell do your steps call? It is a parameter, so that another one can be passed.",
    ),
    Misconception(
        "padding is read",
        rnn_like(carry=lambda h, before, real: h, say=lambda h, before, real: h),
        "With and without the mask your states are the same. What should a step on padding do to a state?",
    ),
    Misconception(
        "padding zeroed, not skipped",
        zeroed_tokens,
        "A step on zeros moves a state too: the old state and the bias are still there. What should that step do?",
    ),
    Misconception(
        "zeros at padding",
        rnn_like(
            carry=lambda h, before, real: torch.where(real, h, 0), say=lambda h, before, real: torch.where(real, h, 0)
        ),
        "At padding your state becomes zero. What should `states[:, -1]` hold for a short sequence?",
    ),
    Misconception(
        "zeros said at padding",
        rnn_like(say=lambda h, before, real: torch.where(real, h, 0)),
        "You carry the right state over padding. What does the result show there?",
    ),
    Misconception(
        "back to the start at padding",
        lambda x, h_0, w_xh, w_hh, b, mask=None, *, cell: rnn_like(
            carry=lambda h, before, real: torch.where(real, h, h_0),
            say=lambda h, before, real: torch.where(real, h, h_0),
        )(x, h_0, w_xh, w_hh, b, mask, cell=cell),
        "After padding your state is h_0 again. Which state did the sequence have before that step?",
    ),
    Misconception("mask inverted", rnn_like(seen=lambda mask: ~mask), "Read again what True means in the mask."),
    Misconception(
        "gradient cut between steps",
        rnn_like(before=lambda h, h_0: h.detach()),
        "The states are right, the gradients are not. What does a step get that has lost its history?",
    ),
    Misconception(
        "written into a tensor that autograd still needs",
        written_in_place,
        "The states are right, and backward fails: each step writes into the tensor that the steps before it read. "
        "Where else can the states be collected until all are there?",
    ),
    Misconception(
        "an empty sequence passes",
        empty_is_nothing,
        "What is `states[:, -1]` of a sequence without tokens? The docstring says what to do about it.",
    ),
]

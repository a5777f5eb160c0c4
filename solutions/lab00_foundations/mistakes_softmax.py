"""Lab 0, sealed: misconceptions about softmax, its logarithm and its gradient."""

import torch

from autograder.exercise import Misconception
from mlsys_course import foundations as component


def wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def unshifted(x, dim=-1):
    e = wide(x).exp()
    return (e / e.sum(dim, keepdim=True)).to(x.dtype)


def axis_lost(x, dim=-1):
    e = wide(x).exp()
    return (e / e.sum(dim)).to(x.dtype)


def shifted_by_all(x, dim=-1):
    """The maximum of the whole tensor, not of each row."""
    if not x.numel():
        return x.clone()
    e = (wide(x) - wide(x).max()).exp()
    return (e / e.sum(dim, keepdim=True)).to(x.dtype)


def over_everything(x, dim=-1):
    return component.softmax(x.reshape(-1), 0).reshape(x.shape)


def last_axis(x, dim=-1):
    return component.softmax(x, -1)


def nan_row(x, dim=-1):
    if not x.numel():
        return x.clone()
    e = (wide(x) - wide(x).amax(dim, keepdim=True)).exp()
    return (e / e.sum(dim, keepdim=True)).to(x.dtype)


def uniform_row(x, dim=-1):
    found = component.softmax(x, dim)
    empty = (x == -torch.inf).all(dim, keepdim=True)
    return found.masked_fill(empty, 1 / max(1, x.shape[dim]))


def always_float32(x, dim=-1):
    return component.softmax(x.float(), dim)


def clamped(x, dim=-1):
    found = unshifted(x.clamp(-80, 80), dim).masked_fill(x == -torch.inf, 0.0)
    return found if x.numel() else x.clone()


def needs_an_entry(x, dim=-1):
    x.max(dim)  # raises where there is nothing along dim
    return component.softmax(x, dim)


def not_normalized(x, dim=-1):
    return (component.softmax(x, dim) / component.softmax(x, dim).amax(dim, keepdim=True)) if x.numel() else x.clone()


SOFTMAX = [
    Misconception("nothing subtracted", unshifted, "exp(1000) does not fit in a float. What may be subtracted first?"),
    Misconception(
        "an axis lost", axis_lost, "sum(dim) takes the axis away; which argument of sum keeps it, with size 1?"
    ),
    Misconception(
        "one maximum for all rows", shifted_by_all, "A row far below the others: which maximum is subtracted from it?"
    ),
    Misconception("over everything", over_everything, "Along which axis must the result add up to 1? Add it up."),
    Misconception("always the last axis", last_axis, "What does `dim` do in your function?"),
    Misconception("NaN where all is -inf", nan_row, "What is -inf minus -inf, and what does the docstring ask for?"),
    Misconception(
        "equal shares where all is -inf", uniform_row, "If nothing may be chosen, what is the probability of each?"
    ),
    Misconception("always float32", always_float32, "Which dtype comes in, and which goes out? Look at float64 too."),
    Misconception(
        "clamped", clamped, "Scores of 900 and 1000 are not equally likely. What does your limit make of them?"
    ),
    Misconception(
        "needs an entry", needs_an_entry, "The maximum of nothing is an error. What is the result for no scores?"
    ),
    Misconception("divided by the largest", not_normalized, "By what is exp(x) divided: its largest, or its sum?"),
]


def log_of_softmax(x, dim=-1):
    return component.softmax(wide(x), dim).log().to(x.dtype)


def with_epsilon(x, dim=-1):
    return (component.softmax(wide(x), dim) + 1e-9).log().to(x.dtype)


def unshifted_log(x, dim=-1):
    return (wide(x) - wide(x).exp().sum(dim, keepdim=True).log()).to(x.dtype)


def maximum_forgotten(x, dim=-1):
    if not x.numel():
        return x.clone()
    top = wide(x).amax(dim, keepdim=True)
    top = top.masked_fill(top == -torch.inf, 0.0)
    total = (wide(x) - top).exp().sum(dim, keepdim=True)
    return (wide(x) - total.masked_fill(total == 0, 1.0).log()).to(x.dtype)


def nan_log(x, dim=-1):
    if not x.numel():
        return x.clone()
    shifted = wide(x) - wide(x).amax(dim, keepdim=True)
    return (shifted - shifted.exp().sum(dim, keepdim=True).log()).to(x.dtype)


def base_two(x, dim=-1):
    return component.log_softmax(x, dim) / 0.6931471805599453


def negated(x, dim=-1):
    return -component.log_softmax(x, dim)


def log_last_axis(x, dim=-1):
    return component.log_softmax(x, -1)


def log_float32(x, dim=-1):
    return component.log_softmax(x.float(), dim)


def log_needs_an_entry(x, dim=-1):
    x.max(dim)
    return component.log_softmax(x, dim)


LOG_SOFTMAX = [
    Misconception(
        "log of softmax",
        log_of_softmax,
        "exp(-300) is 0 in float32, and its logarithm is lost. Write log(softmax(x)) out and simplify first.",
    ),
    Misconception("an epsilon inside", with_epsilon, "Your logarithms end near -20.7. Which number makes them?"),
    Misconception(
        "nothing subtracted", unshifted_log, "log(sum(exp(x))) overflows inside. What may be taken out of it?"
    ),
    Misconception(
        "maximum not given back", maximum_forgotten, "The maximum taken out of the sum: from what must it go as well?"
    ),
    Misconception("NaN where all is -inf", nan_log, "What is -inf minus -inf, and what does the docstring ask for?"),
    Misconception("base two", base_two, "Which base does the logarithm have?"),
    Misconception("negated", negated, "Is the logarithm of a probability positive or negative?"),
    Misconception("always the last axis", log_last_axis, "What does `dim` do in your function?"),
    Misconception("always float32", log_float32, "Which dtype comes in, and which goes out? Look at float64 too."),
    Misconception(
        "needs an entry", log_needs_an_entry, "The maximum of nothing is an error. What is the result for no scores?"
    ),
]


def diagonal_only(y, grad, dim=-1):
    return y * (1 - y) * grad


def not_weighted(y, grad, dim=-1):
    return y * (grad - grad.mean(dim, keepdim=True))


def without_y(y, grad, dim=-1):
    return grad - (y * grad).sum(dim, keepdim=True)


def gradient_last_axis(y, grad, dim=-1):
    return y * (grad - (y * grad).sum(-1, keepdim=True))


def plus(y, grad, dim=-1):
    return y * (grad + (y * grad).sum(dim, keepdim=True))


SOFTMAX_GRADIENT = [
    Misconception(
        "the diagonal only", diagonal_only, "Raise one score: every probability of the row moves, not only its own."
    ),
    Misconception("a plain mean", not_weighted, "Which weights has the mean that is subtracted from grad?"),
    Misconception("y missing", without_y, "A score with probability near 0 moves hardly anything. Does yours?"),
    Misconception("always the last axis", gradient_last_axis, "Along which axis does the sum run when dim is 0?"),
    Misconception("sign", plus, "If grad is the same everywhere, nothing can be gained: what is the gradient then?"),
]

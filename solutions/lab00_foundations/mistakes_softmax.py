"""Lab 0, sealed: misconceptions about softmax and its logarithm."""

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


def without_nan(function):
    """The same with NaN made 0, which hides where it comes from."""
    return lambda x, dim=-1: function(x, dim).nan_to_num(nan=0.0)


def summed_over_everything(x, dim=-1):
    if not x.numel():
        return x.clone()
    e = (wide(x) - wide(x).amax(dim, keepdim=True)).exp()
    return (e / e.sum()).to(x.dtype)


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


def shifted_as_given(x, dim):
    """exp(x - max) and its logarithm in x's own dtype, 16 bits too."""
    top = x.amax(dim, keepdim=True) if x.numel() else x
    away = x - top.masked_fill(top == -torch.inf, 0.0)
    return away.exp(), away


def in_16_bits(x, dim=-1):
    e, _ = shifted_as_given(x, dim)
    total = e.sum(dim, keepdim=True)
    return e / total.masked_fill(total == 0, 1.0)


def log_in_16_bits(x, dim=-1):
    e, away = shifted_as_given(x, dim)
    total = e.sum(dim, keepdim=True)
    return away - total.masked_fill(total == 0, 1.0).log()


def clamped(x, dim=-1):
    found = unshifted(x.clamp(-80, 80), dim).masked_fill(x == -torch.inf, 0.0)
    return found if x.numel() else x.clone()


def needs_an_entry(x, dim=-1):
    x.max(dim)  # raises where there is nothing along dim
    return component.softmax(x, dim)


def not_normalized(x, dim=-1):
    return (component.softmax(x, dim) / component.softmax(x, dim).amax(dim, keepdim=True)) if x.numel() else x.clone()


OVERFLOWS = "exp(1000) does not fit in a float. What may be subtracted first?"
FAR_BELOW = "A row far below the others: what is the maximum of that row, and what do you subtract from it?"
NARROW = "A sum of 16-bit numbers is rounded to 2 or 3 digits. In which dtype should it be computed?"
SUM_OF_ALL = "Along which axis must the result add up to 1? Add it up."
SOFTMAX = [
    Misconception("nothing subtracted", unshifted, OVERFLOWS),
    Misconception("nothing subtracted, NaN made 0", without_nan(unshifted), OVERFLOWS),
    Misconception(
        "an axis lost", axis_lost, "sum(dim) takes the axis away; which argument of sum keeps it, with size 1?"
    ),
    Misconception("one maximum for all rows", shifted_by_all, FAR_BELOW),
    Misconception("one maximum, NaN made 0", without_nan(shifted_by_all), FAR_BELOW),
    Misconception("over everything", over_everything, SUM_OF_ALL),
    Misconception("a sum of everything", summed_over_everything, SUM_OF_ALL),
    Misconception("always the last axis", last_axis, "What does `dim` do in your function?"),
    Misconception("NaN where all is -inf", nan_row, "What is -inf minus -inf, and what does the docstring ask for?"),
    Misconception(
        "equal shares where all is -inf", uniform_row, "If nothing may be chosen, what is the probability of each?"
    ),
    Misconception("always float32", always_float32, "Which dtype comes in, and which goes out? Look at float64 too."),
    Misconception("in 16 bits", in_16_bits, NARROW),
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


def log_shifted_by_all(x, dim=-1):
    if not x.numel():
        return x.clone()
    shifted = wide(x) - wide(x).max()
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
        "exp(-1000) is 0 in float64 too, and its logarithm is lost. Write log(softmax(x)) out and simplify first.",
    ),
    Misconception("an epsilon inside", with_epsilon, "Your logarithms end near -20.7. Which number makes them?"),
    Misconception(
        "nothing subtracted", unshifted_log, "log(sum(exp(x))) overflows inside. What may be taken out of it?"
    ),
    Misconception(
        "maximum not given back", maximum_forgotten, "The maximum taken out of the sum: from what must it go as well?"
    ),
    Misconception("NaN where all is -inf", nan_log, "What is -inf minus -inf, and what does the docstring ask for?"),
    Misconception("one maximum for all rows", log_shifted_by_all, FAR_BELOW),
    Misconception("base two", base_two, "Which base does the logarithm have?"),
    Misconception("negated", negated, "Is the logarithm of a probability positive or negative?"),
    Misconception("always the last axis", log_last_axis, "What does `dim` do in your function?"),
    Misconception("in 16 bits", log_in_16_bits, NARROW),
    Misconception("always float32", log_float32, "Which dtype comes in, and which goes out? Look at float64 too."),
    Misconception(
        "needs an entry", log_needs_an_entry, "The maximum of nothing is an error. What is the result for no scores?"
    ),
]

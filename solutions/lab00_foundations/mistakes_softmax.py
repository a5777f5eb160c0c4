"""Lab 0, sealed: misconceptions about softmax and its logarithm."""

import math

import torch

from autograder.exercise import Misconception
from autograder.mutated import mutated, wrong
from mlsys_course import foundations as component

# Edits of what softmax and log_softmax share.
TOP, TOTAL = "top.masked_fill(top == -torch.inf, 0.0)", "total.masked_fill(total == 0, 1.0)"
UNGUARDED = (TOP, "top", TOTAL, "total")
UNSHIFTED = (f" - {TOP}", "", TOTAL, "total")
OF_ALL = (*UNGUARDED, "wide.amax(dim, keepdim=True)", "wide.max()", "not x.shape[dim]", "not x.numel()")
LAST_AXIS = ("_shifted(x, dim)", "_shifted(x, -1)")
AS_GIVEN = ("x.to(torch.promote_types(x.dtype, torch.float32))", "x")
NEEDS_AN_ENTRY = ("not x.shape[dim]", "x.max(dim) is None")  # which raises where there is nothing along dim


unshifted, shifted_by_all = mutated(component.softmax, *UNSHIFTED), mutated(component.softmax, *OF_ALL)


def wide(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_nan(function):
    """The same with NaN made 0, which hides where it comes from."""
    return lambda x, dim=-1: function(x, dim).nan_to_num(nan=0.0)


def uniform_row(x, dim=-1):
    found = component.softmax(x, dim)
    empty = (x == -torch.inf).all(dim, keepdim=True)
    return found.masked_fill(empty, 1 / max(1, x.shape[dim]))


def clamped(x, dim=-1):
    found = unshifted(x.clamp(-80, 80), dim).masked_fill(x == -torch.inf, 0.0)
    return found if x.numel() else x.clone()


def not_normalized(x, dim=-1):
    return (component.softmax(x, dim) / component.softmax(x, dim).amax(dim, keepdim=True)) if x.numel() else x.clone()


OVERFLOWS = "exp(1000) does not fit in a float. What may be subtracted first?"
FAR_BELOW = "A row far below the others: what is the maximum of that row, and what do you subtract from it?"
NARROW = "A sum of 16-bit numbers is rounded to 2 or 3 digits. In which dtype should it be computed?"
SUM_OF_ALL = "Along which axis must the result add up to 1? Add it up."
mistake = wrong(component.softmax)
SOFTMAX = [
    Misconception("nothing subtracted", unshifted, OVERFLOWS),
    Misconception("nothing subtracted, NaN made 0", without_nan(unshifted), OVERFLOWS),
    mistake("an axis lost", "sum(dim) takes the axis away; which argument of sum keeps it, with size 1?",
        *UNSHIFTED, "exponentials.sum(dim, keepdim=True)", "exponentials.sum(dim)", "wide.sum(dim, keepdim=True)",
        "wide.sum(dim)"),
    Misconception("one maximum for all rows", shifted_by_all, FAR_BELOW),
    Misconception("one maximum, NaN made 0", without_nan(shifted_by_all), FAR_BELOW),
    Misconception("over everything", lambda x, dim=-1: component.softmax(x.reshape(-1), 0).reshape(x.shape),
        SUM_OF_ALL),
    mistake("a sum of everything", SUM_OF_ALL, *UNGUARDED, "exponentials.sum(dim, keepdim=True)", "exponentials.sum()"),
    mistake("always the last axis", "What does `dim` do in your function?", *LAST_AXIS),
    mistake("NaN where all is -inf", "What is -inf minus -inf, and what does the docstring ask for?", *UNGUARDED),
    Misconception("equal shares where all is -inf", uniform_row,
        "If nothing may be chosen, what is the probability of each?"),
    Misconception("always float32", lambda x, dim=-1: component.softmax(x.float(), dim),
        "Which dtype comes in, and which goes out? Look at float64 too."),
    mistake("in 16 bits", NARROW, *AS_GIVEN),
    Misconception("clamped", clamped,
        "Scores of 900 and 1000 are not equally likely. What does your limit make of them?"),
    mistake("needs an entry", "The maximum of nothing is an error. What is the result for no scores?", *NEEDS_AN_ENTRY),
    Misconception("divided by the largest", not_normalized, "By what is exp(x) divided: its largest, or its sum?"),
]  # fmt: skip

mistake = wrong(component.log_softmax)
LOG_SOFTMAX = [
    Misconception("log of softmax", lambda x, dim=-1: component.softmax(wide(x), dim).log().to(x.dtype),
        "exp(-1000) is 0 in float64 too, and its logarithm is lost. Write log(softmax(x)) out and simplify first."),
    Misconception("an epsilon inside", lambda x, dim=-1: (component.softmax(wide(x), dim) + 1e-9).log().to(x.dtype),
        "Your logarithms end near -20.7. Which number makes them?"),
    mistake("nothing subtracted", "log(sum(exp(x))) overflows inside. What may be taken out of it?", *UNSHIFTED),
    mistake("maximum not given back", "The maximum taken out of the sum: from what must it go as well?",
        f"{TOTAL}, shifted", f"{TOTAL}, wide"),
    mistake("NaN where all is -inf", "What is -inf minus -inf, and what does the docstring ask for?", *UNGUARDED),
    mistake("one maximum for all rows", FAR_BELOW, *OF_ALL),
    mistake("base two", "Which base does the logarithm have?",
        "(shifted - total.log())", "((shifted - total.log()) / math.log(2))", math=math),
    mistake("negated", "Is the logarithm of a probability positive or negative?",
        "(shifted - total.log())", "(total.log() - shifted)"),
    mistake("always the last axis", "What does `dim` do in your function?", *LAST_AXIS),
    mistake("in 16 bits", NARROW, *AS_GIVEN),
    Misconception("always float32", lambda x, dim=-1: component.log_softmax(x.float(), dim),
        "Which dtype comes in, and which goes out? Look at float64 too."),
    mistake("needs an entry", "The maximum of nothing is an error. What is the result for no scores?", *NEEDS_AN_ENTRY),
]  # fmt: skip

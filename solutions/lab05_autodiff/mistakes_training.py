"""Lab 5, sealed: misconceptions about the weight update and about checking gradients."""

import functools
import math

import torch

import mlsys_course.substrate.graph as G
from autograder.exercise import Misconception
from mlsys_course.autodiff import check_gradient
from mlsys_course.autodiff.optimizers import number_to


def adamw(weight, grad, m, v, t, lr, beta1, beta2, epsilon, weight_decay, mistake=""):
    """The update with a place for each mistake."""
    if mistake == "logarithm of zero":
        math.log(beta1), math.log(beta2)
    if mistake == "decay in the gradient":
        grad = grad + weight * weight_decay
    m = m * beta1 + grad * (1 - beta1)
    v = v * beta2 + (grad if mistake == "not squared" else grad * grad) * (1 - beta2)
    unbiased_m, unbiased_v = (
        m / (1 - number_to(beta1, t)) if beta1 else m,
        v / (1 - number_to(beta2, t)) if beta2 else v,
    )
    if mistake == "no correction":
        unbiased_m, unbiased_v = m, v
    if mistake == "steps from 0":
        unbiased_m, unbiased_v = m / (1 - number_to(beta1 or 1e-9, t + 1)), v / (1 - number_to(beta2 or 1e-9, t + 1))
    inside = mistake == "epsilon inside"
    root = G.sqrt(unbiased_v + epsilon) if inside else G.sqrt(unbiased_v) + epsilon
    kept = weight if mistake == "decay in the gradient" else weight * (1 - lr * weight_decay)
    if mistake == "decay without the rate":
        kept = weight * (1 - weight_decay)
    after = kept - unbiased_m / root * lr
    if mistake == "decay of the new weight":
        after = (weight - unbiased_m / root * lr) * (1 - lr * weight_decay)
    return [after, unbiased_m, unbiased_v] if mistake == "remembers corrected moments" else [after, m, v]


def mistaken(name: str, hint: str) -> Misconception:
    return Misconception(name, functools.partial(adamw, mistake=name), hint)


def forward_differences(f, x, claimed):
    numerical = torch.zeros_like(x)
    for k in range(x.numel()):
        step = 6e-6 * max(1.0, abs(float(x.flatten()[k])))
        moved = x.clone()
        moved.view(-1)[k] += step
        numerical.view(-1)[k] = (f(moved) - f(x)) / step
    return numerical, check_gradient(f, x, claimed)[1]


def without_the_two(f, x, claimed):
    numerical, agrees = check_gradient(f, x, claimed)
    return numerical * 2, agrees


def absolute_tolerance(f, x, claimed):
    numerical, _ = check_gradient(f, x, claimed)
    same = claimed.shape == x.shape and bool(((claimed - numerical).abs() <= 1e-5).all())
    return numerical, same


def in_the_mean(f, x, claimed):
    numerical, agrees = check_gradient(f, x, claimed)
    if claimed.shape != x.shape:
        return numerical, agrees
    return numerical, bool((claimed - numerical).mean().abs() <= 1e-3 * numerical.abs().max())


def broadcasts(f, x, claimed):
    numerical, agrees = check_gradient(f, x, claimed)
    if claimed.shape == (1, *x.shape):
        return numerical, check_gradient(f, x, claimed[0])[1]
    return numerical, agrees


def not_greater(f, x, claimed):
    numerical, agrees = check_gradient(f, x, claimed)
    if claimed.shape != x.shape:
        return numerical, agrees
    return numerical, not bool(((claimed - numerical).abs() > 1e-5 * numerical.abs().max()).any())


ADAMW = [
    mistaken("no correction", "After one step with gradient g, m is (1 - beta1) g. Is that what you divide?"),
    mistaken("steps from 0", "What is t at the first step, and what is 1 - beta1 ** t then?"),
    mistaken("epsilon inside", "Is epsilon added before the root is taken, or after?"),
    mistaken("not squared", "v is the running mean of what? It must never be negative."),
    mistaken("decay in the gradient", "In AdamW the decay does not pass through the moments. Where does it act?"),
    mistaken("decay without the rate", "By how much does a weight shrink in one step when lr is tiny?"),
    mistaken("decay of the new weight", "Which weight shrinks: the one before the step, or the one after?"),
    mistaken(
        "logarithm of zero",
        "A beta may be 0, and 0 has no logarithm. What is 0 to the power of t, and what is left to correct?",
    ),
    mistaken("remembers corrected moments", "The next step starts from m and v. From which ones?"),
]
CHECK = [
    Misconception(
        "forward differences",
        forward_differences,
        "How does the error of (f(x + h) - f(x)) / h shrink with h? Look both ways.",
    ),
    Misconception("without the two", without_the_two, "How far apart are x + h and x - h?"),
    Misconception(
        "absolute tolerance", absolute_tolerance, "The gradient itself may be 1e-9. What does off by 1e-5 mean then?"
    ),
    Misconception(
        "in the mean", in_the_mean, "One entry may be wrong where all others are right. Does your measure see it?"
    ),
    Misconception("broadcasts", broadcasts, "A claimed gradient of another shape may still broadcast. Does it agree?"),
    Misconception("NaN passes", not_greater, "How does NaN compare with your tolerance?"),
]

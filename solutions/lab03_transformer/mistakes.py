"""Lab 3's misconceptions about norms, feed-forward networks and blocks. Sealed, as exercises.py, which reads them."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from autograder.exercise import Misconception
from mlsys_course import transformer as component

Tensor = torch.Tensor
Candidate = Callable[..., Any]

PRECISION = "In 16 bits a square overflows or a mean loses its digits. In which precision are mean and variance taken?"
MEAN_SQUARE = "In float16 the square of 300 is infinite. In which precision is the mean of squares taken?"
DIGITS = "float64 comes in with 16 digits. How many are left after `.float()`, and which dtypes need it at all?"
RESULT_DTYPE = "Computing in float32 is right for half precision; which dtype should the result have?"
DETACHED = "The outputs are right and the gradient is not: do mean and scale depend on x in your backward pass too?"


def precise(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def normalized(scale_of: Candidate, center: Candidate = lambda x: x.mean(-1, keepdim=True)) -> Candidate:
    """A wrong ``layer_norm`` from a rule for what deviations are multiplied by: (deviations, x, epsilon) -> scale."""

    def candidate(x: Tensor, gain: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
        wide = precise(x)
        deviations = wide - center(wide)
        return (deviations * scale_of(deviations, wide, epsilon) * gain + bias).to(x.dtype)

    return candidate


def inverse_root(square: Tensor, epsilon: float) -> Tensor:
    return torch.rsqrt(square + epsilon)


def mean_square(x: Tensor) -> Tensor:
    return x.square().mean(-1, keepdim=True)


def unbiased(deviations: Tensor, x: Tensor, epsilon: float) -> Tensor:
    return inverse_root(deviations.square().sum(-1, keepdim=True) / max(1, x.shape[-1] - 1), epsilon)


def from_squares(deviations: Tensor, x: Tensor, epsilon: float) -> Tensor:
    return inverse_root((mean_square(x) - x.mean(-1, keepdim=True) ** 2).clamp_min(0), epsilon)


def over_tokens(x: Tensor, gain: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    wide, axis = precise(x), -2 if x.ndim > 1 else 0
    deviations = wide - wide.mean(axis, keepdim=True)
    return (deviations * inverse_root(deviations.square().mean(axis, keepdim=True), epsilon) * gain + bias).to(x.dtype)


def over_everything(x: Tensor, gain: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    deviations = precise(x) - precise(x).mean()
    return (deviations * inverse_root(deviations.square().mean(), epsilon) * gain + bias).to(x.dtype)


def in_low_precision(x: Tensor, gain: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    deviations = x - x.mean(-1, keepdim=True)
    return deviations * inverse_root(mean_square(deviations), epsilon) * gain + bias


def in_float32(norm: Candidate) -> Candidate:
    return lambda x, *rest: norm(precise(x), *(precise(r) if isinstance(r, Tensor) else r for r in rest))


def always_float32(function: Candidate) -> Candidate:
    """Right for all but float64."""

    def candidate(x: Tensor, *rest: Any, **options: Any) -> Tensor:
        return function(x.float(), *(r.float() if isinstance(r, Tensor) else r for r in rest), **options).to(x.dtype)

    return candidate


def detached_norm(x: Tensor, gain: Tensor, bias: Tensor, epsilon: float = 1e-5) -> Tensor:
    wide = precise(x)
    fixed = wide.detach()
    mean = fixed.mean(-1, keepdim=True)
    return ((wide - mean) * inverse_root(mean_square(fixed - mean), epsilon) * gain + bias).to(x.dtype)


LAYER_NORM = [
    Misconception(
        "divided by C - 1",
        normalized(unbiased),
        "Your numbers are a little too small everywhere. By what does `torch.var` divide unless told otherwise?",
    ),
    Misconception(
        "epsilon outside the root",
        normalized(lambda d, x, e: 1 / (mean_square(d).sqrt() + e)),
        "Where does epsilon stand in the equation: is it added to the variance or to its root?",
    ),
    Misconception(
        "divided by the variance",
        normalized(lambda d, x, e: 1 / (mean_square(d) + e)),
        "After the norm a token should have standard deviation 1. What do you divide by?",
    ),
    Misconception(
        "mean not taken off",
        normalized(lambda d, x, e: inverse_root(mean_square(d - d.mean(-1, keepdim=True)), e), torch.zeros_like),
        "What is the mean of your result, before gain and bias?",
    ),
    Misconception("over tokens", over_tokens, "A norm brings each *token* to one scale: over which axis is its mean?"),
    Misconception(
        "over everything", over_everything, "Change one token: does your result change for the others? Should it?"
    ),
    Misconception(
        "gain and bias left out",
        lambda x, gain, bias, epsilon=1e-5: component.layer_norm(x, gain * 0 + 1, bias * 0, epsilon),
        "The result can still be stretched and shifted, channel by channel. Which arguments have you not used?",
    ),
    Misconception(
        "variance from squares",
        normalized(from_squares),
        "The mean of squares minus the square of the mean: two large numbers, and float32 has seven digits.",
    ),
    Misconception("statistics in half precision", in_low_precision, PRECISION),
    Misconception("result in float32", in_float32(component.layer_norm), RESULT_DTYPE),
    Misconception("always in float32", always_float32(component.layer_norm), DIGITS),
    Misconception("statistics detached", detached_norm, DETACHED),
]


def rms_like(scale_of: Candidate) -> Candidate:
    """A wrong ``rms_norm`` from a rule (x, epsilon) -> what x is multiplied by."""

    def candidate(x: Tensor, gain: Tensor, epsilon: float = 1e-6) -> Tensor:
        wide = precise(x)
        return (wide * scale_of(wide, epsilon) * gain).to(x.dtype)

    return candidate


RMS_NORM = [
    Misconception(
        "epsilon outside the root",
        rms_like(lambda x, e: 1 / (mean_square(x).sqrt() + e)),
        "This is one lecture's formula. Where does LLaMA's, and this lab's, have epsilon?",
    ),
    Misconception(
        "mean taken off",
        lambda x, gain, epsilon=1e-6: component.layer_norm(x, gain, torch.zeros_like(gain), epsilon),
        "What is left of LayerNorm when the mean stays where it is?",
    ),
    Misconception(
        "sum for mean",
        rms_like(lambda x, e: inverse_root(x.square().sum(-1, keepdim=True), e)),
        "Take a token of all ones. What should come out, and what comes out of yours?",
    ),
    Misconception(
        "divided by the mean square",
        rms_like(lambda x, e: 1 / (mean_square(x) + e)),
        "Double x: a norm's result stays. Does yours? What is the R in RMS?",
    ),
    Misconception(
        "over everything",
        rms_like(lambda x, e: inverse_root(x.square().mean(), e)),
        "Change one token: does your result change for the others? Should it?",
    ),
    Misconception(
        "gain left out",
        lambda x, gain, epsilon=1e-6: component.rms_norm(x, gain * 0 + 1, epsilon),
        "Each channel can still be stretched. Which argument have you not used?",
    ),
    Misconception(
        "squares in half precision",
        lambda x, gain, epsilon=1e-6: x * inverse_root(mean_square(x), epsilon) * gain,
        MEAN_SQUARE,
    ),
    Misconception("result in float32", in_float32(component.rms_norm), RESULT_DTYPE),
    Misconception("always in float32", always_float32(component.rms_norm), DIGITS),
    Misconception("statistics detached", rms_like(lambda x, e: inverse_root(mean_square(x.detach()), e)), DETACHED),
]


def network(act: Candidate = component.activate, first=True, second=True) -> Candidate:
    """A wrong ``feed_forward`` with its own non-linearity (x, name), or without a bias."""

    def candidate(x: Tensor, w_1: Tensor, b_1: Tensor, w_2: Tensor, b_2: Tensor, activation: str = "relu") -> Tensor:
        hidden = act(x @ w_1 + b_1 * first, activation)
        return hidden @ w_2 + b_2 * second

    return candidate


def instead(replaced: str, by: Candidate) -> Candidate:
    """The right non-linearities but for one."""
    return lambda x, name: by(x) if name == replaced else component.activate(x, name)


def half_tanh(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * x))


def bent_twice(x: Tensor, w_1: Tensor, b_1: Tensor, w_2: Tensor, b_2: Tensor, activation: str = "relu") -> Tensor:
    return component.activate(component.feed_forward(x, w_1, b_1, w_2, b_2, activation), activation)


def bias_before(x: Tensor, w_1: Tensor, b_1: Tensor, w_2: Tensor, b_2: Tensor, activation: str = "relu") -> Tensor:
    return component.activate(x @ w_1, activation) @ w_2 + b_1 @ w_2 + b_2


def ffn_in_float32(*tensors: Tensor, activation: str = "relu") -> Tensor:
    return component.feed_forward(*map(precise, tensors), activation)


FEED_FORWARD = [
    Misconception(
        "no non-linearity",
        network(lambda x, name: x),
        "Without a bend between them two matrices are one. Where does yours bend?",
    ),
    Misconception("bent at the end too", bent_twice, "Can your result be negative? It should be able to."),
    Misconception("first bias missing", network(first=False), "Which of the two biases have you not used?"),
    Misconception("second bias missing", network(second=False), "Which of the two biases have you not used?"),
    Misconception(
        "bias after the bend",
        bias_before,
        "Is the first bias added before or after the non-linearity? See the equation.",
    ),
    Misconception(
        "always ReLU",
        network(lambda x, name: F.relu(x)),
        "The result is the same for every `activation`. Where does yours look at it?",
    ),
    Misconception(
        "tanh for erf",
        network(instead("gelu", lambda x: F.gelu(x, approximate="tanh"))),
        "Close, to three digits: this is the older approximation. Which function is Phi, exactly?",
    ),
    Misconception(
        "erf for tanh",
        network(instead("gelu_tanh", F.gelu)),
        'Close, to three digits: "gelu_tanh" asks for the approximation, as GPT-2 was trained with it.',
    ),
    Misconception(
        "cube left out",
        network(instead("gelu_tanh", half_tanh)),
        "What stands beside x inside the tanh?",
    ),
    Misconception(
        "sigmoid for Phi",
        network(instead("gelu", lambda x: x * torch.sigmoid(1.702 * x))),
        "A sigmoid is a rough stand-in for Phi. The lab asks for the distribution function itself.",
    ),
    Misconception("result in float32", ffn_in_float32, RESULT_DTYPE),
    Misconception("always in float32", always_float32(component.feed_forward), DIGITS),
]


def gated(gate: Candidate = F.silu, combine: Candidate = torch.mul, swap: bool = False) -> Candidate:
    """A wrong ``swiglu``."""

    def candidate(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
        first, second = (w_up, w_gate) if swap else (w_gate, w_up)
        return combine(gate(x @ first), x @ second) @ w_down

    return candidate


SWIGLU = [
    Misconception(
        "gate and up swapped", gated(swap=True), "Two matrices lead up; which one's result goes through SiLU?"
    ),
    Misconception(
        "sigmoid for SiLU",
        gated(torch.sigmoid),
        "This is the older GLU: a gate between 0 and 1. What does SiLU have besides the sigmoid?",
    ),
    Misconception("ReLU for SiLU", gated(F.relu), "Which non-linearity is the S in SwiGLU?"),
    Misconception("GELU for SiLU", gated(F.gelu), "Which non-linearity is the S in SwiGLU?"),
    Misconception("added", gated(combine=torch.add), "What does a gate do with what goes through it?"),
    Misconception(
        "both bent",
        gated(combine=lambda a, b: a * F.silu(b)),
        "Only the gate's side is bent. What stands on the other side of the product?",
    ),
    Misconception(
        "no gate", lambda x, w_gate, w_up, w_down: F.silu(x @ w_up) @ w_down, "Which matrix have you not used?"
    ),
    Misconception(
        "exponential overflows",
        gated(lambda x: x / (1 + torch.exp(-x))),
        "The value is right. But how large is exp(100) in float32, and what does backward make of it?",
    ),
    Misconception(
        "result in float32",
        lambda *tensors: component.swiglu(*map(precise, tensors)),
        RESULT_DTYPE,
    ),
    Misconception("always in float32", always_float32(component.swiglu), DIGITS),
]


def wrapped(pre: Candidate | None = None, post: Candidate | None = None) -> Candidate:
    """A wrong ``block`` from what one sublayer does: (x, sublayer, norm) -> x."""
    right = {"pre": lambda x, f, n: x + f(n(x)), "post": lambda x, f, n: n(x + f(x))}

    def candidate(x: Tensor, sublayers: Any, norms: Any, norm_position: str) -> Tensor:
        step = {"pre": pre, "post": post}[norm_position] or right[norm_position]
        for sublayer, norm in zip(sublayers, norms, strict=True):
            x = step(x, sublayer, norm)
        return x

    return candidate


def swapped(x: Tensor, sublayers: Any, norms: Any, norm_position: str) -> Tensor:
    return component.block(x, sublayers, norms, "post" if norm_position == "pre" else "pre")


def side_by_side(x: Tensor, sublayers: Any, norms: Any, norm_position: str) -> Tensor:
    if norm_position == "pre":
        return x + sum(f(n(x)) for f, n in zip(sublayers, norms, strict=True))
    y = x + sum(f(x) for f in sublayers)
    for norm in norms:
        y = norm(y)
    return y


RESIDUAL = "When a sublayer returns zeros, what should become of x? What becomes of it in yours?"

BLOCK = [
    Misconception("no residual", wrapped(lambda x, f, n: f(n(x)), lambda x, f, n: n(f(x))), RESIDUAL),
    Misconception(
        "residual around the norm",
        wrapped(pre=lambda x, f, n: n(x) + f(n(x))),
        "Pre-norm leaves a path on which x is never normalized. In yours, what is added to what the sublayer returns?",
    ),
    Misconception(
        "norm inside the sum",
        wrapped(post=lambda x, f, n: x + n(f(x))),
        "Post-norm: is the sublayer's result normalized, or the sum?",
    ),
    Misconception("pre and post swapped", swapped, "Which of the two normalizes what goes *into* a sublayer?"),
    Misconception(
        "one norm for all",
        lambda x, sublayers, norms, position: component.block(x, sublayers, [norms[0] for _ in norms], position),
        "Each sublayer has a norm of its own. Which ones are called in yours?",
    ),
    Misconception(
        "sublayers side by side",
        side_by_side,
        "What does the second sublayer see: the block's input, or what the first has made of it?",
    ),
    Misconception(
        "last to first",
        lambda x, sublayers, norms, position: component.block(x, sublayers[::-1], norms[::-1], position),
        "In which order do the sublayers act?",
    ),
]

"""Lab 3's misconceptions about norms, feed-forward networks and blocks. Sealed, as exercises.py, which reads them."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from autograder.exercise import Misconception
from autograder.mutated import wrong
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


def in_float32(norm: Candidate) -> Candidate:
    return lambda x, *rest: norm(precise(x), *map(precise, rest))


def always_float32(function: Candidate) -> Candidate:
    """Right for all but float64; of a function with one result or with several."""

    def candidate(x: Tensor, *rest: Any, **options: Any) -> Any:
        found = function(x.float(), *(r.float() if isinstance(r, Tensor) else r for r in rest), **options)
        return found.to(x.dtype) if isinstance(found, Tensor) else tuple(each.to(x.dtype) for each in found)

    return candidate


HALF = ("precise = x.to(torch.promote_types(x.dtype, torch.float32))", "precise = x")

mistake = wrong(component.layer_norm)
LAYER_NORM = [
    mistake("divided by C - 1",
        "Your numbers are a little too small everywhere. By what does `torch.var` divide unless told otherwise?",
        ".square().mean(-1, keepdim=True)", ".square().sum(-1, keepdim=True) / max(1, x.shape[-1] - 1)"),
    mistake("epsilon outside the root",
        "Where does epsilon stand in the equation: is it added to the variance or to its root?",
        "torch.rsqrt(variance + epsilon)", "1 / (variance.sqrt() + epsilon)"),
    mistake("divided by the variance",
        "After the norm a token should have standard deviation 1. What do you divide by?",
        "torch.rsqrt(", "torch.reciprocal("),
    mistake("mean not taken off", "What is the mean of your result, before gain and bias?",
        "(centred * ", "(precise * "),
    mistake("over tokens", "A norm brings each *token* to one scale: over which axis is its mean?",
        "precise.mean(-1,", "precise.mean(-2 if x.ndim > 1 else 0,", "square().mean(-1,",
        "square().mean(-2 if x.ndim > 1 else 0,"),
    mistake("over everything", "Change one token: does your result change for the others? Should it?",
        "precise.mean(-1, keepdim=True)", "precise.mean()", "square().mean(-1, keepdim=True)", "square().mean()"),
    mistake("gain and bias left out",
        "The result can still be stretched and shifted, channel by channel. Which arguments have you not used?",
        " * gain + bias)", ")"),
    mistake("variance from squares",
        "The mean of squares minus the square of the mean: two large numbers, and float32 has seven digits.",
        "centred.square().mean(-1, keepdim=True)",
        "(precise.square().mean(-1, keepdim=True) - precise.mean(-1, keepdim=True) ** 2).clamp_min(0)"),
    mistake("statistics in half precision", PRECISION, *HALF),
    Misconception("result in float32", in_float32(component.layer_norm), RESULT_DTYPE),
    Misconception("always in float32", always_float32(component.layer_norm), DIGITS),
    mistake("statistics detached", DETACHED,
        "precise.mean(-1, keepdim=True)", "precise.mean(-1, keepdim=True).detach()", "rsqrt(variance",
        "rsqrt(variance.detach()"),
]  # fmt: skip


mistake = wrong(component.rms_norm)
RMS_NORM = [
    mistake("epsilon outside the root",
        "This is one lecture's formula. Where does LLaMA's, and this lab's, have epsilon?",
        "torch.rsqrt(precise.square().mean(-1, keepdim=True) + epsilon)",
        "1 / (precise.square().mean(-1, keepdim=True).sqrt() + epsilon)"),
    Misconception("mean taken off",
        lambda x, gain, epsilon=1e-6: component.layer_norm(x, gain, torch.zeros_like(gain), epsilon),
        "What is left of LayerNorm when the mean stays where it is?"),
    mistake("sum for mean", "Take a token of all ones. What should come out, and what comes out of yours?",
        ".mean(", ".sum("),
    mistake("divided by the mean square", "Double x: a norm's result stays. Does yours? What is the R in RMS?",
        "torch.rsqrt(", "torch.reciprocal("),
    mistake("over everything", "Change one token: does your result change for the others? Should it?",
        ".mean(-1, keepdim=True)", ".mean()"),
    mistake("gain left out", "Each channel can still be stretched. Which argument have you not used?", " * gain)", ")"),
    mistake("squares in half precision", MEAN_SQUARE, *HALF),
    Misconception("result in float32", in_float32(component.rms_norm), RESULT_DTYPE),
    Misconception("always in float32", always_float32(component.rms_norm), DIGITS),
    mistake("statistics detached", DETACHED, "precise.square()", "precise.detach().square()"),
]  # fmt: skip


def instead(activation: str, by: Candidate) -> dict[str, Candidate]:
    """The right non-linearities but for one."""
    return {**component.ACTIVATIONS, activation: by}


mistake = wrong(component.feed_forward)
FEED_FORWARD = [
    mistake("no non-linearity", "Without a bend between them two matrices are one. Where does yours bend?",
        "activate(x @ w_1 + b_1, activation)", "(x @ w_1 + b_1)"),
    mistake("bent at the end too", "Can your result be negative? It should be able to.",
        "activate(x @ w_1 + b_1, activation) @ w_2 + b_2",
        "activate(activate(x @ w_1 + b_1, activation) @ w_2 + b_2, activation)"),
    mistake("first bias missing", "Which of the two biases have you not used?", "w_1 + b_1,", "w_1,"),
    mistake("second bias missing", "Which of the two biases have you not used?", "w_2 + b_2", "w_2"),
    mistake("bias after the bend", "Is the first bias added before or after the non-linearity? See the equation.",
        "activate(x @ w_1 + b_1, activation)", "(activate(x @ w_1, activation) + b_1)"),
    mistake("always ReLU", "The result is the same for every `activation`. Where does yours look at it?",
        "b_1, activation)", 'b_1, "relu")'),
    mistake("tanh for erf", "Close, to three digits: this is the older approximation. Which function is Phi, exactly?",
        ACTIVATIONS=instead("gelu", component.ACTIVATIONS["gelu_tanh"])),
    mistake("erf for tanh",
        'Close, to three digits: "gelu_tanh" asks for the approximation, as GPT-2 was trained with it.',
        ACTIVATIONS=instead("gelu_tanh", F.gelu)),
    mistake("cube left out", "What stands beside x inside the tanh?",
        ACTIVATIONS=instead("gelu_tanh", lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * x)))),
    mistake("sigmoid for Phi",
        "A sigmoid is a rough stand-in for Phi. The lab asks for the distribution function itself.",
        ACTIVATIONS=instead("gelu", lambda x: x * torch.sigmoid(1.702 * x))),
    Misconception("result in float32",
        lambda *tensors, activation="relu": component.feed_forward(*map(precise, tensors), activation),
        RESULT_DTYPE),
    Misconception("always in float32", always_float32(component.feed_forward), DIGITS),
]  # fmt: skip


mistake = wrong(component.swiglu)
SWIGLU = [
    mistake("gate and up swapped", "Two matrices lead up; which one's result goes through SiLU?",
        "F.silu(x @ w_gate) * (x @ w_up)", "F.silu(x @ w_up) * (x @ w_gate)"),
    mistake("sigmoid for SiLU",
        "This is the older GLU: a gate between 0 and 1. What does SiLU have besides the sigmoid?",
        "F.silu(", "F.sigmoid("),
    mistake("ReLU for SiLU", "Which non-linearity is the S in SwiGLU?", "F.silu(", "F.relu("),
    mistake("GELU for SiLU", "Which non-linearity is the S in SwiGLU?", "F.silu(", "F.gelu("),
    mistake("added", "What does a gate do with what goes through it?", " * (x @", " + (x @"),
    mistake("both bent", "Only the gate's side is bent. What stands on the other side of the product?",
        "* (x @ w_up)", "* F.silu(x @ w_up)"),
    mistake("no gate", "Which matrix have you not used?", "(x @ w_gate) * (x @ w_up)", "(x @ w_up)"),
    mistake("exponential overflows",
        "The value is right. But how large is exp(100) in float32, and what does backward make of it?",
        "F.silu(x @ w_gate)", "(h := x @ w_gate) / (1 + (-h).exp())"),
    mistake("infinity over infinity",
        "Infinity divided by infinity is NaN. Which of the two ways to write a sigmoid comes to it at large gates?",
        "F.silu(x @ w_gate)", "(h := x @ w_gate) * (h.exp() / (1 + h.exp()))"),
    Misconception("result in float32", lambda *tensors: component.swiglu(*map(precise, tensors)), RESULT_DTYPE),
    Misconception("always in float32", always_float32(component.swiglu), DIGITS),
]  # fmt: skip


def side_by_side(x: Tensor, sublayers: Any, norms: Any, norm_position: str) -> Tensor:
    if norm_position == "pre":
        return x + sum(f(n(x)) for f, n in zip(sublayers, norms, strict=True))
    y = x + sum(f(x) for f in sublayers)
    for norm in norms:
        y = norm(y)
    return y


RESIDUAL = "When a sublayer returns zeros, what should become of x? What becomes of it in yours?"

mistake = wrong(component.block)
BLOCK = [
    mistake("no residual", RESIDUAL,
        "x + sublayer(norm(x))", "sublayer(norm(x))", "norm(x + sublayer(x))", "norm(sublayer(x))"),
    mistake("residual around the norm",
        "Pre-norm leaves a path on which x is never normalized. In yours, what is added to what the sublayer returns?",
        "x + sublayer(norm(x))", "norm(x) + sublayer(norm(x))"),
    mistake("norm inside the sum", "Post-norm: is the sublayer's result normalized, or the sum?",
        "norm(x + sublayer(x))", "x + norm(sublayer(x))"),
    mistake("pre and post swapped", "Which of the two normalizes what goes *into* a sublayer?",
        'norm_position == "pre"', 'norm_position == "post"'),
    mistake("always pre", 'Your result is the same with "pre" and with "post". Where is the norm with "post"?',
        'norm_position == "pre"', 'norm_position != ""'),
    mistake("always post", 'Your result is the same with "pre" and with "post". Where is the norm with "pre"?',
        'norm_position == "pre"', 'norm_position == ""'),
    mistake("one norm for all", "Each sublayer has a norm of its own. Which ones are called in yours?",
        "zip(sublayers, norms, ", "zip(sublayers, [norms[0] for _ in norms], "),
    Misconception("sublayers side by side", side_by_side,
        "What does the second sublayer see: the block's input, or what the first has made of it?"),
    mistake("last to first", "In which order do the sublayers act?",
        "zip(sublayers, norms, ", "zip(sublayers[::-1], norms[::-1], "),
]  # fmt: skip

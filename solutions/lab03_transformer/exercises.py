"""Lab 3's specification: references, points, variants. Sealed; students never receive this file."""

import math
from typing import Any

import torch

from autograder.draw import Draw
from autograder.exercise import Candidate, Choice, Item, Part, Question, exercises_of
from mlsys_course import transformer as component

from . import cases, cases_extensions, cases_models, mistakes, mistakes_models, references

DECODER = (
    "the component's Decoder knows its blocks; a student's takes any, so that a wrong block costs once, and is one "
    "class to write, whose parameters are named without the component's Embedding, Stack and Head"
)
Tensor = torch.Tensor
NORMS = ("layer_norm", "rms_norm", "group_norm", "native_layer_norm", "instance_norm", "batch_norm")
BENDS = ("gelu", "silu", "glu", "mish", "hardswish")
FORBIDDEN = (
    *(f"torch.nn.functional.{name}" for name in (*NORMS, *BENDS)),
    *(f"torch.{name}" for name in (*NORMS, "_fused_rms_norm")),
    *(f"torch.nn.{name}" for name in ("LayerNorm", "RMSNorm", "GroupNorm", "GELU", "SiLU", "GLU")),
    *(f"torch.ops.aten.{name}" for name in (*NORMS, *BENDS)),
    "torch.nn.Transformer",
    "torch.nn.TransformerEncoderLayer",
    "torch.nn.TransformerDecoderLayer",
    "torch._transformer_encoder_layer_fwd",
)
# An option of feed_forward is called "gelu" too, and the search of the text would take that string for a call. What is
# called a method it leaves to the guard at run time, which sees every road.
NETWORKS = (*(name for name in FORBIDDEN if not name.endswith(".gelu")), "torch.Tensor.gelu")
BASIC = ("elementwise", "reductions", "indexing", "creation", "products")
LEARNED = {"allowed": (*BASIC, "autograd")}  # the driver asks for gradients
AUTOGRAD = ("torch.autograd.grad", "torch.autograd.backward", "torch.Tensor.backward", "torch.func.vjp")


def variants(draw: Draw) -> dict[str, Any]:
    """A depth to reckon with, and the four answers in a drawn order."""
    layers = draw.choice([12, 24, 40, 60])
    answers = [math.sqrt(1 + 2 * layers), 1 + 2 * layers, math.sqrt(1 + layers), 1.0]
    order = draw.shuffled(range(4))
    letters = "abcd"
    options = {f"option_{letter}": f"{answers[i]:.3g}" for letter, i in zip(letters, order, strict=True)}
    secret = {"warmth": draw.number(1.5, 2.5), "leak": draw.number(0.2, 0.4), "epsilon": draw.number(0.1, 0.3)}
    return {"layers": layers, **options, "growth_answer": letters[order.index(0)], **secret}


def warmer(warmth: float) -> Candidate:
    """An ``attend`` whose scores are that much larger than lab 2's: what nobody has without calling the parameter."""
    return lambda x, source, w_q, *rest, **more: component.attend(x, source, warmth * w_q, *rest, **more)


def leaky(leak: float) -> Candidate:
    """A ``feed_forward`` that lets a part of what is negative through."""

    def feed_forward(x: Tensor, w_1: Tensor, b_1: Tensor, w_2: Tensor, b_2: Tensor) -> Tensor:
        return component.feed_forward(x, w_1, b_1, w_2, b_2) + leak * (x @ w_1 + b_1).clamp(max=0) @ w_2

    return feed_forward


def with_epsilon(epsilon: float) -> Candidate:
    """A ``layer_norm`` of another epsilon."""
    return lambda x, gain, bias: component.layer_norm(x, gain, bias, epsilon)


def attend_elements(x: Tensor, source: Tensor, w_q: Tensor, w_k: Tensor, w_v: Tensor, w_o: Tensor, n_heads: int,
                    mask=None) -> int:  # fmt: skip
    """What a call makes: scores for each head, and the projections."""
    rows, columns = x.shape[-2], source.shape[-2]
    return x.shape[0] * (n_heads * rows * columns + 2 * (rows + columns) * (w_q.shape[-1] + w_o.shape[-1]))


def network_elements(x: Tensor, w_1: Tensor, b_1: Tensor, w_2: Tensor, b_2: Tensor) -> int:
    return math.prod(x.shape[:-1]) * (w_1.shape[-1] + w_2.shape[-1])


def exercises(v: dict[str, Any]) -> list[Item]:
    """The lab's items in the notebook's order: 100 points, and 14 of extensions."""
    norm = {"values": 4, "epsilon": 2, "stability": 2, "gradient": 2, "precision": 2}
    rms = {"values": 3, "epsilon": 2, "gradient": 2, "precision": 1}
    ffn = {"relu": 3, "gelu": 4, "gradient": 2, "precision": 1}
    gate = {"values": 4, "stability": 1, "gradient": 2, "precision": 1}
    wrap = {"pre": 4, "post": 4, "gradient": 2, "edges": 2}
    cross = {"values": 5, "masks": 4, "gradient": 3, "precision": 2}
    stacks = {"values": 3, "padding": 3, "gradient": 1, "edges": 2, "device": 1}
    model = {"blocks": 4, "positions": 4, "together": 2, "norm": 2, "head": 3, "gradient": 2, "device": 1}
    counts, backward = {"attention": 2, "feed_forward": 2, "norms": 2}, {"x": 6, "gain and bias": 2}
    parts = {
        "attend": Part(warmer(v["warmth"]), attend_elements, secret=True),
        "feed_forward": Part(leaky(v["leak"]), network_elements, secret=True),
        "layer_norm": Part(with_epsilon(v["epsilon"]), lambda x, gain, bias: x.numel(), secret=True),
    }
    rubric = [
        (2.0, "says that an output is a weighted mean of values, linear in them while the weights stand still, so that "
              "several such layers fold into one; and that the softmax's weights (and the norms) are not linear in x"),
        (1.5, "reads the left figure: averages of averages make all tokens alike; residuals prevent it"),
        (1.5, "reads the right figure: the losses without networks, and with as many parameters in attention instead"),
    ]  # fmt: skip
    m, mm, c, cm = mistakes, mistakes_models, cases, cases_models
    exercise, extra = exercises_of(component, forbidden=FORBIDDEN), {"kind": "extension"}
    return [
        exercise("layer_norm", norm, c.layer_norm_cases, m.LAYER_NORM, **LEARNED),
        exercise("rms_norm", rms, c.rms_norm_cases, m.RMS_NORM, **LEARNED),
        exercise("feed_forward", ffn, c.feed_forward_cases, m.FEED_FORWARD, **{**LEARNED, "forbidden": NETWORKS}),
        exercise("swiglu", gate, c.swiglu_cases, m.SWIGLU, **LEARNED),
        exercise("block", wrap, c.block_cases, m.BLOCK),
        Choice("growth_choice", 3, ["a", "b", "c", "d"], v["growth_answer"]),
        exercise("Decoder", model, cm.decoder_cases, mm.DECODER, reference=references.Decoder, differs=DECODER),
        Question("averages", rubric),
        exercise("decoder_block", cross, cm.decoder_block_cases, mm.DECODER_BLOCK, parts=parts),
        exercise("encoder_decoder", stacks, cm.encoder_decoder_cases, mm.ENCODER_DECODER),
        exercise("block_parameters", counts, cases_extensions.block_parameters_cases, mm.BLOCK_PARAMETERS, **extra),
        exercise("layer_norm_backward", backward, cases_extensions.layer_norm_backward_cases, mm.LAYER_NORM_BACKWARD,
                 **{**extra, "forbidden": (*FORBIDDEN, *AUTOGRAD), "allowed": BASIC}),
    ]  # fmt: skip

"""Lab 12, sealed: what the term draws, exercises and points. Cases and misconceptions stand beside."""

from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Item, Part, Question, exercises_of
from mlsys_course import kernels
from mlsys_course.parameter_server import quantize

from . import (
    cases_attention,
    cases_precision,
    cases_products,
    mistakes_attention,
    mistakes_precision,
    mistakes_products,
)
from .extensions import extensions


def variants(draw: Draw) -> dict[str, Any]:
    """A fast memory and a product, for the choice."""
    side, n = draw.choice([16, 32, 64]), draw.choice([1024, 2048, 4096])
    answers = [2 * n**3 // side + n**2, 3 * n**2, n**3 // side + n**2, 2 * n**3 // side**2 + n**2]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": f"{answers[i]:,}" for letter, i in zip("abcd", order, strict=True)}
    return {"side": side, "room": f"{3 * side * side:,}", "n": n, **options, "traffic_answer": "abcd"[order.index(0)]}


def exercises(v: dict) -> list[Item]:
    """Lab 12's items."""
    exercise = exercises_of(kernels)
    products = {"values": 5, "edges": 3, "batch": 2, "traffic": 6}
    columns = {"values": 3, "stride and padding": 2, "gradient": 2, "errors": 1}
    convolution = {"values": 4, "stride and padding": 3, "traffic": 4, "errors": 1}
    rounding = {"nearest": 4, "subnormals": 3, "beyond": 3, "by chance": 4}
    blocks = {"codes": 4, "scales": 3, "packing": 2, "errors": 1}
    pieces = {"values": 4, "no keys": 2, "precision": 2}
    forward = {"values": 4, "masks": 4, "traffic": 4, "skipping": 2}
    backward = {"values": 4, "masks": 3, "traffic": 3}
    unfold = {"forbidden": ("torch.nn.functional.unfold", "torch.nn.Unfold")}
    part = {"parts": {"quantize": Part(quantize, lambda x, levels, u: x.numel())}}
    rubric = [
        (2, "quotes from the figure where the sum in few bits stops, or how far off it ends, and what float32 gives"),
        (2, "explains it: once an addend is below half the gap between neighbours of the sum, rounding takes it away"),
        (
            2,
            "says what rounding by chance repairs (the mean), and what it leaves (the spread)",
        ),
    ]
    p, a, f = mistakes_products, mistakes_attention, mistakes_precision
    return [
        exercise("tiled_matmul", products, cases_products.matmul_cases, p.MATMUL),
        Choice("traffic_choice", 2, options=list("abcd"), answer=v["traffic_answer"]),
        exercise("im2col", columns, cases_products.im2col_cases, p.IM2COL, **unfold),
        exercise("conv2d", convolution, cases_products.conv2d_cases, p.CONV2D),
        exercise("round_to", rounding, cases_precision.rounding_cases, f.ROUNDING),
        Question("why_float32", rubric),
        exercise("quantize_mxfp4", blocks, cases_precision.block_cases, f.BLOCKS, **part),
        exercise("online_softmax", pieces, cases_precision.softmax_cases, f.SOFTMAX),
        exercise("flash_attention", forward, cases_attention.forward_cases, a.FORWARD),
        exercise("flash_attention_backward", backward, cases_attention.backward_cases, a.BACKWARD),
        *extensions(),
    ]

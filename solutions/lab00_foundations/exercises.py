"""Lab 0, sealed: exercises, points, and what each forbids. Cases and misconceptions stand beside."""

from typing import Any

from autograder.draw import Draw
from autograder.exercise import Choice, Item, Part, Question, exercises_of
from mlsys_course import foundations

from . import cases_network, cases_softmax, cases_tokens, drivers
from . import mistakes_blocks as blocks
from . import mistakes_extensions as extra
from . import mistakes_loss as loss
from . import mistakes_network as network
from . import mistakes_pipeline as stages
from . import mistakes_softmax as scores
from . import mistakes_tokens as tokens

SOFTMAXES = (
    "torch.softmax",
    "torch.log_softmax",
    "torch.nn.functional.softmin",
    "torch.logsumexp",
    "torch.logaddexp",
    "torch.nn.functional.cross_entropy",
    "torch.nn.functional.nll_loss",
)
KERNELS = "matmul mm bmm mv dot einsum tensordot inner addmm addmv baddbmm linalg.multi_dot linalg_multi_dot"
PRODUCTS = (
    "torch.Tensor.__rmatmul__",
    "torch.nn.functional.linear",
    *(f"torch.{name}" for name in KERNELS.split()),
)
AUTOGRAD = (
    "torch.Tensor.backward",
    "torch.Tensor.requires_grad_",
    "torch.autograd.grad",
    "torch.autograd.backward",
    "torch.autograd.functional.vjp",
    "torch.autograd.functional.jacobian",
    "torch.func.vjp",
    "torch.func.grad",
    "torch.func.jacrev",
)
LOSSES = ("torch.nn.functional.cross_entropy", "torch.nn.functional.nll_loss")
BASIC = ("elementwise", "reductions", "indexing", "creation")
WITH_PRODUCTS = (*BASIC, "products")
exercise = exercises_of(foundations)
LOG_SOFTMAX = {"log_softmax": Part(foundations.log_softmax, lambda x, dim=-1: x.numel())}


def variants(draw: Draw) -> dict[str, Any]:
    """A product in blocks, and four counts of what moves; the order of the answers is drawn."""
    b = draw.choice([16, 32, 64])
    n = b * draw.choice([8, 20, 40])  # not b: two of the answers would be the same
    answers = [2 * n**3 // b, 2 * n**3 // b**2, 2 * n**3, 2 * n**2]
    order = draw.shuffled(range(4))
    options = {f"option_{letter}": f"{answers[i]:,}" for letter, i in zip("abcd", order, strict=True)}
    return {"n": n, "b": b, **options, "block_answer": "abcd"[order.index(0)]}


def from_ids_to_loss() -> list[Item]:
    """Parts 1 to 3."""
    of_tokens, of_scores = cases_tokens, cases_softmax
    looked_up = {"values": 3, "padding": 2, "edges": 2, "device": 1}
    stable = {"values": 4, "stability": 4, "edges": 2, "dtypes": 2}
    embeddings = ("torch.nn.functional.embedding", "torch.embedding")
    ids = exercise(
        "one_hot",
        {"values": 3, "edges": 2, "device": 1},
        of_tokens.one_hot,
        tokens.ONE_HOT,
        forbidden=("torch.nn.functional.one_hot",),
        allowed=BASIC,
    )
    logarithm = exercise(
        "log_softmax",
        {"values": 3, "stability": 3, "edges": 2},
        of_scores.log_softmax,
        scores.LOG_SOFTMAX,
        forbidden=SOFTMAXES,
        allowed=BASIC,
        tolerance={"float32": 3e-4},  # x - (max + log sum) has the rounding of scores of size 1000
    )
    loss_ = exercise(
        "cross_entropy",
        {"loss": 5, "gradient": 5, "edges": 3, "device": 1},
        of_scores.cross_entropy,
        loss.CROSS_ENTROPY,
        forbidden=LOSSES + AUTOGRAD,
        allowed=(*WITH_PRODUCTS, "one-hot"),
        parts=LOG_SOFTMAX,
    )
    return [
        ids,
        exercise(
            "look_up",
            looked_up,
            of_tokens.look_up,
            tokens.LOOK_UP,
            forbidden=embeddings,
            allowed=WITH_PRODUCTS,
        ),
        exercise(
            "softmax",
            stable,
            of_scores.softmax,
            scores.SOFTMAX,
            forbidden=SOFTMAXES,
            allowed=BASIC,
        ),
        logarithm,
        loss_,
    ]


def from_blocks_to_answers(v: dict) -> list[Item]:
    """Parts 4 to 7."""
    tiled = {"values": 3, "ragged": 4, "device": 1, "tiles": 2, "precision": 2, "edges": 2}
    up, down = (
        {"three layers": 4, "other depths": 2, "dtypes": 2},
        {"one layer": 4, "weights": 6, "biases": 3, "slope": 3},
    )
    of = cases_network
    rubric = [
        (2, "quotes from the figure how much compute, memory and NVLink of one card grew between two years"),
        (2, "says what follows for training: computing gets shorter, sending gradients less so, and its share grows"),
        (1, "names a mistake in comparing quoted figures, such as a box for a card or a sum of both directions"),
    ]
    return [
        exercise(
            "block_matmul",
            tiled,
            of.block_matmul,
            blocks.BLOCK_MATMUL,
            forbidden=PRODUCTS,
            parts={"product_of_tiles": Part(drivers.multiplied, lambda x, y: x.numel() * y.shape[-1])},
            allowed=BASIC,
        ),
        Choice("block_choice", 3, options=list("abcd"), answer=v["block_answer"]),
        exercise("forward", up, of.forward, network.FORWARD),
        exercise(
            "backward",
            down,
            of.backward,
            network.BACKWARD,
            forbidden=AUTOGRAD,
            allowed=WITH_PRODUCTS,
        ),
        exercise("pipeline", {"stages": 3, "several": 3}, cases_tokens.pipeline, stages.PIPELINE),
        Question("why_distributed", rubric),
    ]


def extensions() -> list[Item]:
    """For who wants more."""
    of_scores = cases_softmax
    slope = {"values": 4, "axes": 2}
    smooth = exercise(
        "smooth_cross_entropy",
        {"loss": 3, "gradient": 2, "device": 1},
        of_scores.smooth_cross_entropy,
        loss.SMOOTH,
        kind="extension",
        forbidden=LOSSES + AUTOGRAD,
        allowed=(*WITH_PRODUCTS, "one-hot"),
        parts=LOG_SOFTMAX,
    )
    gradient = exercise(
        "softmax_gradient",
        slope,
        of_scores.softmax_gradient,
        extra.SOFTMAX_GRADIENT,
        kind="extension",
        forbidden=AUTOGRAD,
        allowed=WITH_PRODUCTS,
    )
    momentum = exercise(
        "momentum_step",
        {"step": 4, "limits": 2},
        cases_network.momentum_step,
        extra.MOMENTUM,
        kind="extension",
    )
    return [gradient, smooth, momentum]


def exercises(v: dict) -> list[Item]:
    """Lab 0's items."""
    return [*from_ids_to_loss(), *from_blocks_to_answers(v), *extensions()]

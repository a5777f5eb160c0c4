"""Every operator twice: as a graph, and as PyTorch has it. Inputs by what they must be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

import mlsys_course.substrate.graph as G
from mlsys_course.substrate.graph import Node


@dataclass(frozen=True)
class Twice:
    """``inputs`` says of each input what it is: "any", "positive", "apart" (no two entries alike), "ids" or "bool"."""

    ours: Callable[..., Node]
    theirs: Callable[..., torch.Tensor]
    inputs: Sequence[str] = ("any",)


UNARY = {
    "negate": Twice(lambda x: -x, torch.neg),
    "exp": Twice(G.exp, torch.exp),
    "log": Twice(G.log, torch.log, ["positive"]),
    "sin": Twice(G.sin, torch.sin),
    "cos": Twice(G.cos, torch.cos),
    "tanh": Twice(G.tanh, torch.tanh),
    "sqrt": Twice(G.sqrt, torch.sqrt, ["positive"]),
    "sigmoid": Twice(G.sigmoid, torch.sigmoid),
    "relu": Twice(G.relu, torch.relu),
    "silu": Twice(G.silu, F.silu),
    "gelu": Twice(G.gelu, F.gelu),
    "shift": Twice(lambda x: 2 - (x + 0.5), lambda x: 2 - (x + 0.5)),
    "scale": Twice(lambda x: (3 * x) / 0.7, lambda x: (3 * x) / 0.7),
    "reciprocal": Twice(lambda x: 2 / x, lambda x: 2 / x, ["positive"]),
    "square": Twice(lambda x: x**2, lambda x: x**2),
    "cube": Twice(lambda x: x**3, lambda x: x**3),
    "power": Twice(lambda x: x**-1.5, lambda x: x**-1.5, ["positive"]),
    "power 0": Twice(lambda x: x * x**0, lambda x: x * x**0),
    "where": Twice(lambda x: G.where(x > 0.2, x * x, 3.0), lambda x: torch.where(x > 0.2, x * x, 3.0)),
    "less": Twice(lambda x: G.where(x < 0, -x, x), torch.abs, ["apart"]),
    "at most, at least": Twice(
        lambda x: G.where(x <= 0.3, x * x, G.where(x >= 1, G.exp(x), x)),
        lambda x: torch.where(x <= 0.3, x * x, torch.where(x >= 1, torch.exp(x), x)),
    ),
    "fill": Twice(lambda x: x * G.fill(x, 2.0), lambda x: x * 2.0),
}
BINARY = {
    "add": Twice(lambda x, y: x + y, torch.add, ["any", "any"]),
    "subtract": Twice(lambda x, y: x - y, torch.sub, ["any", "any"]),
    "multiply": Twice(lambda x, y: x * y, torch.mul, ["any", "any"]),
    "divide": Twice(lambda x, y: x / y, torch.div, ["any", "positive"]),
    "where of two": Twice(lambda x, y: G.where(x > y, x, y), torch.maximum, ["any", "any"]),
    "fan-out": Twice(lambda x, y: x * y + G.exp(x) * x, lambda x, y: x * y + x.exp() * x, ["any", "any"]),
}


def reductions(axes: Sequence[int] | None, keepdims: bool) -> dict[str, Twice]:
    """Along ``axes``; an empty axis has a sum and no largest entry."""
    dims = tuple(axes) if axes is not None else None
    return {
        "sum": Twice(lambda x: G.sum(x, axes, keepdims), lambda x: _torch(torch.sum, x, dims, keepdims)),
        "mean": Twice(lambda x: G.mean(x, axes, keepdims), lambda x: _torch(torch.mean, x, dims, keepdims)),
        "max": Twice(lambda x: G.max(x, axes, keepdims), lambda x: _torch(torch.amax, x, dims, keepdims), ["apart"]),
    }


def _torch(function, x, dims, keepdims):
    """PyTorch reads no axes as all; ours as none."""
    dims = tuple(range(x.ndim)) if dims is None else dims
    return function(x, dims, keepdim=keepdims) if dims else x


def shapes(shape: Sequence[int]) -> dict[str, Twice]:
    """Changes of shape that (at least two axes of) ``shape`` allows."""
    n = len(shape)
    order = [*range(1, n), 0]
    stretched = (3, *(5 if size == 1 else size for size in shape))
    return {
        "transpose": Twice(G.transpose, lambda x: x.transpose(-1, -2)),
        "order": Twice(lambda x: G.transpose(x, order), lambda x: x.permute(order)),
        "reshape": Twice(
            lambda x: G.reshape(x, (-1,)) if 0 not in shape else x, lambda x: x.flatten() if 0 not in shape else x
        ),
        "broadcast": Twice(lambda x: G.broadcast_to(x, stretched), lambda x: x.expand(stretched)),
        "slice": Twice(lambda x: x[1:, ..., ::2], lambda x: x[1:, ..., ::2]),
        "concatenate": Twice(
            lambda x: G.concatenate([x, G.sin(x), x], axis=-1), lambda x: torch.cat([x, x.sin(), x], dim=-1)
        ),
    }


MATRICES = Twice(lambda a, b: a @ b, torch.matmul, ["any", "any"])
NETWORK = {
    "softmax": Twice(G.softmax, lambda x: x.softmax(-1)),
    "softmax, first axis": Twice(lambda x: G.softmax(x, 0), lambda x: x.softmax(0)),
    "log_softmax": Twice(G.log_softmax, lambda x: x.log_softmax(-1)),
    "log_softmax, first axis": Twice(lambda x: G.log_softmax(x, 0), lambda x: x.log_softmax(0)),
}
NORMS = {
    "layer_norm": Twice(
        lambda x, a, b: G.layer_norm(x, a, b, 1e-3),
        lambda x, a, b: F.layer_norm(x, x.shape[-1:], a, b, 1e-3),
        ["any", "any", "any"],
    ),
    "rms_norm": Twice(
        lambda x, a: G.rms_norm(x, a, 1e-3), lambda x, a: F.rms_norm(x, x.shape[-1:], a, 1e-3), ["any", "any"]
    ),
}
EMBEDDING = Twice(G.embedding, lambda table, ids: F.embedding(ids, table), ["any", "ids"])
CROSS_ENTROPY = Twice(
    G.cross_entropy,
    lambda logits, ids: F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids.reshape(-1)),
    ["any", "ids"],
)


def fixed() -> dict[str, tuple[Twice, list[tuple[int, ...]]]]:
    """Every operator with small shapes, for what needs no drawing: differences, forward mode, higher orders."""
    found: dict[str, tuple[Twice, list[tuple[int, ...]]]] = {name: (op, [(2, 3)]) for name, op in UNARY.items()}
    found |= {name: (op, [(2, 3), (3,)]) for name, op in BINARY.items()}
    found |= {f"{name} kept": (op, [(2, 3)]) for name, op in reductions([1], True).items()}
    found |= {f"{name} of all": (op, [(2, 3)]) for name, op in reductions(None, False).items()}
    found |= {name: (op, [(2, 1, 3)]) for name, op in shapes((2, 1, 3)).items()}
    found |= {name: (op, [(2, 3)]) for name, op in NETWORK.items()}
    return found | {
        "matmul": (MATRICES, [(2, 3), (3, 2)]),
        "matmul, one right side": (MATRICES, [(2, 2, 3), (3, 2)]),
        "matmul, broadcast": (MATRICES, [(2, 1, 2, 3), (2, 3, 2)]),
        "layer_norm": (NORMS["layer_norm"], [(2, 3), (3,), (3,)]),
        "rms_norm": (NORMS["rms_norm"], [(2, 3), (3,)]),
        "embedding": (EMBEDDING, [(4, 2), (2, 3)]),
        "cross_entropy": (CROSS_ENTROPY, [(2, 3, 4), (2, 3)]),
    }


def draw_input(kind: str, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator):
    """A tensor of the kind."""
    if kind == "ids":
        return torch.randint(3, shape, generator=generator)
    if kind == "apart":
        count = int(torch.Size(shape).numel())
        return ((torch.randperm(count, generator=generator) - count / 2 + 0.3) / 4).reshape(shape).to(dtype)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return (x.abs() + 0.5 if kind == "positive" else x).to(dtype)

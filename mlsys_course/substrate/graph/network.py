"""What networks are made of besides: look-ups, softmax, norms, and the loss of a classifier."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .arithmetic import floating
from .node import Kind, Node, Operator
from .shapes import axes_of

WHOLE = (torch.int64, torch.int32)


def whole(kind: Kind, what: str) -> None:
    """Raise ValueError unless ``kind`` is of whole numbers."""
    if kind.dtype not in WHOLE:
        raise ValueError(f"{what} must be int64 or int32, not {kind.dtype}")


@dataclass(frozen=True)
class Embedding(Operator):
    """Row ids[...] of a table (V, C), for each id."""

    def infer(self, *inputs: Kind) -> Kind:
        table, ids = inputs
        whole(ids, "ids")
        if len(table.shape) != 2:
            raise ValueError("the table must have two axes, rows and columns")
        return Kind((*ids.shape, table.shape[1]), table.dtype)

    def compute(self, table: Tensor, ids: Tensor) -> Tensor:
        return F.embedding(ids, table)


@dataclass(frozen=True)
class ScatterRows(Operator):
    """Embedding's way back: each row of x (..., C) added to row ids[...] of a table of zeros (rows, C)."""

    rows: int

    def infer(self, *inputs: Kind) -> Kind:
        x, ids = inputs
        whole(ids, "ids")
        if x.shape[:-1] != ids.shape:
            raise ValueError("one row for each id is needed")
        return Kind((self.rows, x.shape[-1]), x.dtype)

    def compute(self, x: Tensor, ids: Tensor) -> Tensor:
        table = x.new_zeros(self.rows, x.shape[-1])
        return table.index_add_(0, ids.flatten(), x.reshape(ids.numel(), x.shape[-1]))


@dataclass(frozen=True)
class OneHot(Operator):
    """1 at each id's place among ``classes``, 0 elsewhere."""

    classes: int
    dtype: torch.dtype

    def infer(self, *inputs: Kind) -> Kind:
        whole(inputs[0], "ids")
        return Kind((*inputs[0].shape, self.classes), self.dtype)

    def compute(self, ids: Tensor) -> Tensor:
        zeros = torch.zeros(*ids.shape, self.classes, dtype=self.dtype, device=ids.device)
        return zeros.scatter_(-1, ids.long()[..., None], 1)


@dataclass(frozen=True)
class Softmax(Operator):
    """Along ``axis``, which counts from 0."""

    axis: int

    def infer(self, *inputs: Kind) -> Kind:
        return Kind(inputs[0].shape, floating(*inputs))

    def compute(self, x: Tensor) -> Tensor:
        return torch.softmax(x, self.axis)


class LogSoftmax(Softmax):
    def compute(self, x: Tensor) -> Tensor:
        return torch.log_softmax(x, self.axis)


@dataclass(frozen=True)
class Norm(Operator):
    """Over the last axis, whose shape scale and shift have."""

    epsilon: float

    def infer(self, *inputs: Kind) -> Kind:
        width = inputs[0].shape[-1:]
        if not width or any(kind.shape != width for kind in inputs[1:]):
            raise ValueError(f"scale and shift must have the shape of the last axis, {width}")
        return Kind(inputs[0].shape, floating(*inputs))


class LayerNorm(Norm):
    """(x - mean) / sqrt(variance + epsilon) * scale + shift."""

    def compute(self, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], scale, shift, self.epsilon)


class RMSNorm(Norm):
    """x / sqrt(mean(x^2) + epsilon) * scale; epsilon inside the root, as LLaMA has it."""

    def compute(self, x: Tensor, scale: Tensor) -> Tensor:
        return F.rms_norm(x, x.shape[-1:], scale, self.epsilon)


@dataclass(frozen=True)
class CrossEntropy(Operator):
    """The mean over all targets of -log softmax(logits)[target], of logits (..., V) and targets (...)."""

    def infer(self, *inputs: Kind) -> Kind:
        logits, targets = inputs
        whole(targets, "targets")
        if logits.shape[:-1] != targets.shape or not logits.shape:
            raise ValueError("logits need one axis more than targets, the classes; the others must be equal")
        return Kind((), floating(logits))

    def compute(self, logits: Tensor, targets: Tensor) -> Tensor:
        return -torch.log_softmax(logits, -1).gather(-1, targets.long()[..., None]).mean()


def embedding(table: Node, ids: Node) -> Node:
    """Rows of a table (V, C) by number."""
    return Embedding()(table, ids)


def scatter_rows(x: Node, ids: Node, rows: int) -> Node:
    return ScatterRows(rows)(x, ids)


def one_hot(ids: Node, classes: int, dtype: torch.dtype = torch.float32) -> Node:
    return OneHot(classes, dtype)(ids)


def softmax(x: Node, axis: int = -1) -> Node:
    return Softmax(axes_of(x, axis)[0])(x)


def log_softmax(x: Node, axis: int = -1) -> Node:
    return LogSoftmax(axes_of(x, axis)[0])(x)


def layer_norm(x: Node, scale: Node, shift: Node, epsilon: float = 1e-5) -> Node:
    return LayerNorm(epsilon)(x, scale, shift)


def rms_norm(x: Node, scale: Node, epsilon: float = 1e-5) -> Node:
    return RMSNorm(epsilon)(x, scale)


def cross_entropy(logits: Node, targets: Node) -> Node:
    return CrossEntropy()(logits, targets)

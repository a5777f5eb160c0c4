"""Weight updates as nodes, so that forward, backward and update are one graph: the master equation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..substrate.graph import Node, cast, exp, sqrt, variable
from .evaluator import Evaluator, FeedError
from .gradient import gradient
from .order import topological_order
from .rules import Rule, adjoints


class Optimizer(Protocol):
    """``slots`` is how many tensors of a weight's shape it remembers for each weight, zeros at first."""

    @property
    def slots(self) -> int: ...

    def update(self, weight: Node, grad: Node, state: Sequence[Node], t: Node) -> tuple[Node, list[Node]]:
        """The next weight and state. ``t`` counts steps, 1 at the first, without dimensions."""
        ...


@dataclass(frozen=True)
class SGD:
    """w - lr g; with ``momentum`` v = momentum v + g, and w - lr v; ``weight_decay`` times w is added to g before."""

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0

    @property
    def slots(self) -> int:
        return int(self.momentum != 0)

    def update(self, weight: Node, grad: Node, state: Sequence[Node], t: Node) -> tuple[Node, list[Node]]:
        grad = grad + weight * self.weight_decay if self.weight_decay else grad
        if not state:
            return weight - grad * self.lr, []
        velocity = state[0] * self.momentum + grad
        return weight - velocity * self.lr, [velocity]


def adamw_step(
    weight: Node,
    grad: Node,
    m: Node,
    v: Node,
    t: Node,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> list[Node]:
    """The next weight and moments, [weight, m, v], of one shape and dtype; ``t`` counts steps, 1 at the first.

    Adam with epsilon outside the root (Kingma and Ba), and decay that does not pass through the moments (Loshchilov and
    Hutter). Lab 5, exercise ``adamw_step``.
    """
    m = m * beta1 + grad * (1 - beta1)
    v = v * beta2 + grad * grad * (1 - beta2)
    unbiased_m, unbiased_v = m / (1 - number_to(beta1, t)), v / (1 - number_to(beta2, t))
    kept = weight * (1 - lr * weight_decay) if weight_decay else weight
    return [kept - unbiased_m / (sqrt(unbiased_v) + epsilon) * lr, m, v]


def number_to(base: float, t: Node) -> Node:
    """base ** t for a number and a node, in t's dtype."""
    return exp(t * float(torch.tensor(base, dtype=torch.float64).log()))


@dataclass(frozen=True)
class AdamW:
    """``adamw_step``, or another ``step`` of its parameters; without ``weight_decay`` it is Adam."""

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    slots: int = 2
    step: Callable[..., Sequence[Node]] = adamw_step

    def update(self, weight: Node, grad: Node, state: Sequence[Node], t: Node) -> tuple[Node, list[Node]]:
        after, *moments = self.step(weight, grad, *state, t, self.lr, *self.betas, self.epsilon, self.weight_decay)
        return after, moments


class TrainingStep:
    """One graph for loss, gradients and update, with the weights and the optimizer's memory that it is run on.

    theta(t+1) = f(theta(t), grad L(theta(t), D(t))): call it with D(t), get L, and ``weights`` are theta(t+1).
    The update of a weight of 16 bits, and what the optimizer remembers of it, is in float32; the weight is rounded.
    ``order``, ``gradient``, ``rule`` and ``evaluator`` may be one's own, as lab 5 has them.
    """

    def __init__(
        self,
        loss: Node,
        weights: Mapping[Node, Tensor],
        optimizer: Optimizer,
        *,
        order: Callable[..., Sequence[Node]] = topological_order,
        gradient: Callable[..., Sequence[Node]] = gradient,
        rule: Rule = adjoints,
        evaluator: Callable[..., Callable[[Mapping[Node, Tensor]], Sequence[Tensor]]] = Evaluator,
    ):
        wide = {weight: torch.promote_types(weight.dtype, torch.float32) for weight in weights}
        t = variable("t", (), torch.float64 if torch.float64 in wide.values() else torch.float32)
        self.state: dict[Node, Tensor] = dict(weights)
        outputs = [loss]
        targets = []
        for weight, grad in zip(weights, gradient(loss, list(weights), order([loss]), rule), strict=True):
            dtype = wide[weight]
            slots = [variable(f"{weight.label}.{n}", weight.shape, dtype) for n in range(optimizer.slots)]
            self.state |= {slot: torch.zeros_like(weights[weight], dtype=dtype) for slot in slots}
            after, remembered = optimizer.update(cast(weight, dtype), cast(grad, dtype), slots, cast(t, dtype))
            outputs += [cast(after, weight.dtype), *remembered]
            targets += [weight, *slots]
        self.state[t] = torch.ones((), dtype=t.dtype, device=next(iter(weights.values())).device)
        self.weights, self.targets = list(weights), [*targets, t]
        outputs.append(t + 1)
        needed = order(outputs)
        self.read = {node for node in needed if node in self.state}
        self.evaluator = evaluator(outputs, needed)

    def __call__(self, feeds: Mapping[Node, Tensor]) -> Tensor:
        """The loss before the step; weights and memory are those after it, unless it raises."""
        if both := [node.label for node in feeds if node in self.state]:
            raise FeedError(f"{both[0]} is the training step's own; feed data only")
        state = {node: value for node, value in self.state.items() if node in self.read}
        loss, *after = self.evaluator({**state, **feeds})
        self.state.update(zip(self.targets, after, strict=True))
        return loss

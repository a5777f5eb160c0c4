"""How lab 11's exercises are called. While grading each rank is a process of its own; what it sends is counted between
the processes, and what it holds is read from outside. In your notebook ranks are threads.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from mlsys_course.desk.check import Tree, driver, kept, raised
from mlsys_course.desk.check.seen import unforeseen


@driver
def partition(candidate, case):
    """Pieces by rank, or what is raised (``wrong``)."""
    sizes = list(case["sizes"])
    if case.get("wrong"):
        return {"raised": raised(candidate, sizes, case["world_size"])}
    found = candidate(sizes, case["world_size"])
    pieces = [[[int(number) for number in piece] for piece in rank] for rank in found]
    return {"ranks": pieces, "the list given": kept(sizes == case["sizes"])}


# ---- optimizers, as torch.optim's, whose first use takes seconds -----------------------------------------------------


class Velocities:
    """Gradient descent with several velocities for each entry, each with its own damping. A tensor without a gradient
    stays, and so do its velocities. Source: Lucas et al. 2019, "Aggregated momentum"."""

    def __init__(self, tensors: Sequence[torch.Tensor], lr: float = 0.1, count: int = 1, decay: float = 0.0):
        self.tensors, self.lr, self.decay = list(tensors), lr, decay
        self.damping = [1 - 0.1 * 0.9**k for k in range(count)]  # of none it is plain descent
        self.memory = [torch.zeros(count, *x.shape, dtype=x.dtype) for x in self.tensors]

    def step(self) -> None:
        with torch.no_grad():
            for x, velocities in zip(self.tensors, self.memory, strict=True):
                if x.grad is not None:
                    for velocity, damping in zip(velocities, self.damping, strict=True):
                        velocity.mul_(damping).add_(x.grad)
                    for direction in velocities if self.damping else [x.grad]:
                        x.sub_(direction, alpha=self.lr / max(1, len(self.damping)))
                    x.mul_(1 - self.lr * self.decay)


class Normalized(Velocities):
    """Steps by the gradient over the root of its squares' running mean, as AdamW does."""

    def step(self) -> None:
        with torch.no_grad():
            for x, squares in zip(self.tensors, self.memory, strict=True):
                if x.grad is not None:
                    squares[0].mul_(0.9).add_(x.grad**2, alpha=0.1)
                    x.mul_(1 - self.lr * self.decay).sub_(self.lr * x.grad / (squares[0].sqrt() + 1e-3))


def maker(case: Mapping[str, Tree]) -> Callable[[Sequence[torch.Tensor]], Velocities]:
    """``make_optimizer`` of a case."""
    kind = Normalized if case["normalized"] else Velocities
    return lambda tensors: kind(tensors, case["lr"], case.get("velocities", 1), case.get("decay", 0.0))


def left(parameters: Sequence[torch.Tensor]) -> str:
    """Which parameters still have a gradient, in words."""
    numbers = [str(k) for k, p in enumerate(parameters) if p.grad is not None]
    return f"of parameters {', '.join(numbers)}" if numbers else "none"


def shown(parameters: Sequence[torch.Tensor], some: bool) -> list[torch.Tensor]:
    """Copies; of large ones ends and sums."""
    flat = [p.detach().reshape(-1) for p in parameters]
    if not some:
        return [p.detach().clone() for p in parameters]
    return [torch.cat([x[:3], x[-3:], x.sum(dtype=torch.float64).view(1).to(x.dtype) / len(x)]) for x in flat]


@driver(ranks=True)
def zero1_step(candidate, case, comm):
    """Parameters after each step. With ``again`` another model takes its steps in turn. With ``fill`` tensors are made
    here, each filled with a number: the size of large ones is all that matters."""
    models = [case, *([case["again"]] if "again" in case else [])]
    parameters, states, steps = [], [None for _ in models], []
    for model in models:
        shapes = model.get("shapes", [])
        start = [torch.full(shape, 0.5) for shape in shapes] if shapes else [x.clone() for x in model["start"]]
        parameters.append([torch.nn.Parameter(x) for x in start])
    for n in range(case["steps"]):
        for k, (model, own) in enumerate(zip(models, parameters, strict=True)):
            gradients = case["own"][k][n] if "own" in case else [case["fill"]] * len(own)
            for p, g in zip(own, gradients, strict=True):
                p.grad = torch.full_like(p, g) if isinstance(g, float) else None if g is None else g.clone()
            given = list(own)
            states[k] = candidate(given, maker(model), comm, states[k])
            found: dict[str, Tree] = {"parameters": shown(own, "fill" in case), "gradients that are left": left(own)}
            steps.append({**found, "the list given": kept(_same([given], [own]))})
    return {f"step {n + 1}": step for n, step in enumerate(steps)}


@driver(ranks=True)
def mixed_zero1_step(candidate, case, comm):
    """How far parameters have moved in all steps, by which of them, and of which dtype they are."""
    parameters = [torch.nn.Parameter(x.clone()) for x in case["start"]]
    state, where = None, []
    for n in range(case["steps"]):
        for p, g in zip(parameters, case["own"], strict=True):
            p.grad = None if g is None else g * (1 + n % 2)
        state = candidate(parameters, maker(case), comm, state)
        where.append([p.detach().float() - x.float() for p, x in zip(parameters, case["start"], strict=True)])
    dtypes = " ".join(str(p.dtype) for p in parameters)
    moved = {f"after {n + 1} steps": where[n] for n in (0, case["steps"] // 2, case["steps"] - 1)}
    return {**moved, "dtypes": dtypes, "gradients that are left": left(parameters)}


def network(weights: Sequence[torch.Tensor], uses: Sequence[int], x: torch.Tensor) -> torch.Tensor:
    """Layers in a row, in the order ``uses``; its mean is the loss."""
    for k in uses:
        x = torch.tanh(x @ weights[k])
    return x.square().mean()


@driver(ranks=True)
def zero2_step(candidate, case, comm):
    """Weights after each step. Without examples there is no backward; ``uses`` may be a rank's own."""
    weights = [torch.nn.Parameter(w) for w in case["start"]]
    buckets, state, found = [[weights[k] for k in bucket] for bucket in case["buckets"]], None, {}
    before = [list(bucket) for bucket in buckets]
    for n, x in enumerate(case["own"], 1):

        def backward(x: torch.Tensor = x) -> None:
            if len(x):
                network(weights, case["uses"], x).backward()

        state = candidate(buckets, backward, maker(case), comm, state)
        found[f"step {n}"] = {
            "weights": shown(weights, "large" in case),
            "gradients that are left": left(weights),
            "the lists given": kept(_same(buckets, before)),
        }
    return found


def _same(buckets: Sequence[Sequence[Any]], before: Sequence[Sequence[Any]]) -> bool:
    return [[id(p) for p in bucket] for bucket in buckets] == [[id(p) for p in bucket] for bucket in before]


def layer(x: torch.Tensor, parameters: Sequence[torch.Tensor]) -> torch.Tensor:
    """A linear layer, with a bias where there are two parameters, and tanh. Of three the last is not used."""
    weight, *bias = parameters
    return torch.tanh(x @ weight + bias[0] if bias else x @ weight)


@driver(ranks=True)
def zero3_layer(candidate, case, comm):
    """Layers in a row, in the order ``uses``: the output, and gradients of x and of the shards. What is frozen has no
    gradient."""
    if case.get("wrong"):
        return {"raised": raised(candidate, layer, case["shards"][0], case["shapes"], case["x"], comm)}
    frozen = case.get("frozen", [])
    shards = [shard.detach().requires_grad_(k not in frozen) for k, shard in enumerate(case["shards"])]
    x = case["x"].detach().requires_grad_("x" not in frozen)
    with torch.set_grad_enabled(not case.get("no_grad", False)):
        y = x
        for k in case["uses"]:
            y = candidate(layer, shards[k], case["shapes"], y, comm)
    found: dict[str, Tree] = {"output": y.detach(), "has a graph": "yes" if y.requires_grad else "no"}
    if y.requires_grad:
        y.square().sum().backward()
        known = {"x": x, **{f"shard {k}": shard for k, shard in enumerate(shards)}}
        found["gradients"] = {name: one.grad for name, one in known.items() if one.grad is not None}
    return found


@driver
def prefetch_order(candidate, case):
    """The events, or what is raised (``wrong``)."""
    if case.get("wrong"):
        return {"raised": raised(candidate, case["n_layers"], case["most"])}
    limit = {} if case["most"] is None else {"most": case["most"]}
    return {"events": [f"{kind} {int(layer)}" for kind, layer in candidate(case["n_layers"], **limit)]}


@driver(ranks=True)
def clip_sharded(candidate, case, comm):
    """Clipped gradients and the norm, or what is raised (``wrong``)."""
    whole = [bool(one) for one in case["whole"]]
    if case.get("wrong"):
        return {"raised": raised(candidate, case["gradients"], whole, case["max_norm"], comm)}
    gradients = list(case["gradients"])
    clipped, norm = candidate(gradients, whole, case["max_norm"], comm)
    same = len(gradients) == len(case["gradients"]) and whole == [bool(one) for one in case["whole"]]
    return {"clipped": list(clipped), "norm": float(norm), "the lists given": kept(same)}


@driver
def zero_traffic(candidate, case):
    """Entries of each call in ``calls``, or what is raised (``wrong``)."""
    found = [raised(candidate, *one) if case.get("wrong") else float(candidate(*one)) for one in case["calls"]]
    return {"raised" if case.get("wrong") else "entries": found}


def saved(k: int, key: int, n: int, old_size: int, length: int, dtype: str) -> torch.Tensor:
    """What rank k of ``old_size`` has saved of n numbers; grading answers with other numbers."""
    return shard_of(unforeseen((n,), key), k, old_size, length, dtype)


def shard_of(whole: torch.Tensor, k: int, old_size: int, length: int, dtype: str) -> torch.Tensor:
    """Part k of ``old_size``, padded with zeros; of another length or dtype where a file is another model's."""
    size = -(-len(whole) // old_size)
    part = whole[k * size : (k + 1) * size]
    return torch.cat([part, part.new_zeros(length)])[:length].to(getattr(torch, dtype))


@driver(parts={"saved": saved})
def reshard(candidate, case, saved):
    """The shard of each rank in ``ranks``, or what is raised (``wrong``). ``read`` asks the one who has the files."""
    length = case.get("length", -(-case["n"] // case["old_size"]))

    def read(k: int) -> torch.Tensor:
        if not 0 <= int(k) < case["old_size"]:
            raise IndexError(f"there is no rank {k} among {case['old_size']}")
        return saved(int(k), case["key"], case["n"], case["old_size"], length, case["saved_dtype"])

    arguments = read, case["n"], case["old_size"], case["new_size"]
    dtype = {"dtype": getattr(torch, case["dtype"])} if "dtype" in case else {}
    if case.get("wrong"):
        return {"raised": [raised(candidate, *arguments, rank, **dtype) for rank in case["ranks"]]}
    return {f"rank {rank}": candidate(*arguments, rank, **dtype) for rank in case["ranks"]}

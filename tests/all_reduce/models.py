"""Random models with tied, frozen and unused parameters, and training in one process: what DataParallel must equal."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Layers in a row; some are used twice, frozen, or not at all, or only where the first feature is positive."""

    shift: Tensor

    def __init__(self, kinds: tuple[str, ...], width: int):
        super().__init__()
        self.kinds = kinds
        self.layers = nn.ModuleList(nn.Linear(width, width, dtype=torch.float64) for _ in kinds)
        self.register_buffer("shift", torch.randn(width, dtype=torch.float64))
        for layer, kind in zip(self.layers, kinds, strict=True):
            if kind == "frozen":
                layer.requires_grad_(False)
            if kind == "tied":
                layer.weight = self.layers[0].weight

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.shift
        for layer, kind in zip(self.layers, self.kinds, strict=True):
            if kind == "sometimes" and len(x):  # a rank whose part has no such example does not reach it
                take = x[:, :1] > 0.5
                x = torch.where(take, layer(x), x) if take.any() else x
            elif kind != "unused":
                x = torch.tanh(layer(x))
        return x


@dataclass(frozen=True)
class Training:
    """A model, its data by step, and how the batch is cut."""

    kinds: tuple[str, ...]
    width: int
    parts: tuple[tuple[int, ...], ...]  # for each step, examples by rank
    micro: int = 1  # backward passes a step
    seed: int = 0

    def model(self, seed: int = 0) -> Net:
        model, generator = Net(self.kinds, self.width), torch.Generator().manual_seed(1000 * seed + self.seed)
        with torch.no_grad():  # ranks are threads here, which share PyTorch's own generator
            for x in (*model.parameters(), *model.buffers()):
                x.copy_(torch.randn(x.shape, generator=generator, dtype=x.dtype))
        return model

    def batches(self) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        return [torch.randn(sum(p), self.width, dtype=torch.float64, generator=generator) for p in self.parts]


class Normalized:
    """Decays weights and steps by gradients over their running size, as AdamW does; leaves alone what has no gradient.

    The memory makes averaging weights something else than averaging gradients. The first use of torch.optim takes
    seconds, in every process.
    """

    def __init__(self, model: nn.Module):
        self.memory = {p: torch.zeros_like(p) for p in model.parameters() if p.requires_grad}

    def zero_grad(self) -> None:
        for p in self.memory:
            p.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for p, memory in self.memory.items():
            if p.grad is not None:
                memory.mul_(0.9).add_(0.1 * p.grad**2)
                p.mul_(0.99).sub_(0.05 * p.grad / (memory.sqrt() + 1e-3))


def loss_of(out: Tensor) -> Tensor:
    return (out**3 - out).pow(2).sum(1).mean()


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: x.detach().clone() for name, x in model.state_dict().items()}


def one_process(training: Training) -> list[dict[str, Tensor]]:
    """States after each step on whole batches, with plain PyTorch."""
    model = training.model()
    optimizer, found = Normalized(model), []
    for batch in training.batches():
        optimizer.zero_grad()
        loss_of(model(batch)).backward()
        optimizer.step()
        found.append(copy.deepcopy(state(model)))
    return found

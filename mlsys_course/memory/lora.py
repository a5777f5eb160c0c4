"""Low-rank adaptation: train a small addition to each weight, and leave the weight alone."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LoRALinear(nn.Module):
    """A linear layer that stays as it is, plus a trained low-rank term: y = base(x) + (alpha / r) x A^T B^T.

    ``a`` is A's first value, (r, in_features), which is copied; B (out_features, r) begins at 0, so nothing changes
    before training. Both are parameters, ``a`` and ``b``, of A's dtype; the term is computed in it, and the sum rounded
    to the dtype of ``base(x)``. ``base``, kept under that name, is frozen: its parameters require no gradient.
    Source: Hu et al. 2021, "LoRA: low-rank adaptation of large language models", section 4.1.
    Lab 10, exercise ``LoRALinear``.

    Raises:
        TypeError: ``base`` is no ``nn.Linear``.
        ValueError: ``a`` does not have ``base.in_features`` columns.
    """

    def __init__(self, base: nn.Linear, a: Float[Tensor, "r I"], alpha: float):
        super().__init__()
        if not isinstance(base, nn.Linear):
            raise TypeError(f"base is {type(base).__name__}, which is no nn.Linear; adapters are for linear layers")
        if a.ndim != 2 or a.shape[1] != base.in_features:
            raise ValueError(f"a has shape {tuple(a.shape)}; it must be (rank, {base.in_features})")
        self.base = base.requires_grad_(False)
        self.a = nn.Parameter(a.detach().clone())
        self.b = nn.Parameter(a.new_zeros(base.out_features, len(a)))
        self.scale = alpha / len(a)
        self._unmerged: Tensor | None = None

    @property
    def merged(self) -> bool:
        """Whether the term is in the base's weight now."""
        return self._unmerged is not None

    def forward(self, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        """While merged, the base's product alone."""
        y = self.base(x)
        if self.merged:
            return y
        term = (x.to(self.a.dtype) @ self.a.T) @ self.b.T
        return (y + self.scale * term).to(y.dtype)

    @torch.no_grad()
    def merge(self) -> None:
        """Adds the term to the base's weight, in A's dtype, and rounds once. Raises RuntimeError where it is merged."""
        if self.merged:
            raise RuntimeError("this adapter is merged already; unmerge() first")
        self._unmerged = self.base.weight.clone()
        self.base.weight.copy_(self.base.weight + self.scale * (self.b @ self.a))

    @torch.no_grad()
    def unmerge(self) -> None:
        """The base's weight as it was, bit for bit. Raises RuntimeError where it is not merged."""
        if self._unmerged is None:
            raise RuntimeError("this adapter is not merged; merge() first")
        self.base.weight.copy_(self._unmerged)
        self._unmerged = None


def add_lora(
    model: nn.Module,
    rank: int,
    alpha: float,
    chosen: Callable[[str], bool] = lambda name: True,
    generator: torch.Generator | None = None,
    layer: Callable[..., nn.Module] = LoRALinear,
) -> list[nn.Parameter]:
    """Freezes a model and puts an adapter around every linear layer whose name is ``chosen``; returns what is trained.

    A is uniform within 1 / sqrt(in_features), in float32, as ``nn.Linear``'s own weights are.

    Raises:
        ValueError: no linear layer is chosen.
    """
    model.requires_grad_(False)
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear) and chosen(name)]
    if not found:
        raise ValueError("no linear layer of the model is chosen, so nothing would be trained")
    trained: list[nn.Parameter] = []
    for name, module in found:
        bound = 1 / math.sqrt(module.in_features)
        a = (2 * torch.rand(rank, module.in_features, generator=generator) - 1) * bound
        adapter = layer(module, a.to(module.weight.device), alpha)
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, adapter)
        trained += [parameter for parameter in adapter.parameters() if parameter.requires_grad]
    return trained

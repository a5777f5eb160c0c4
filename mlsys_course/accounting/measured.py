"""The same terms read from the machine: a live model, what autograd keeps, and the peak of a step."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from ..attention import merge_heads, repeat_kv, split_heads
from ..substrate.memory_meter import MemoryMeter
from ..substrate.model_config import ModelConfig
from ..transformer import Decoder
from ..transformer.attention_layer import Attention
from .recipe import Recipe, check_plain

PROBABILITY = 0.1  # of dropout; its size changes no byte
DTYPES = {"float32": torch.float32, "autocast": torch.float32, "bfloat16": torch.bfloat16}
KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]  # PyTorch has others, which keep other things


class TrainedAttention(Attention):
    """Lab 3's attention layer with the insides that a recipe asks for."""

    def __init__(self, config: ModelConfig, recipe: Recipe, hidden: Tensor):
        super().__init__(config)
        self.recipe, self.hidden = recipe, hidden

    def forward(self, x: Float[Tensor, "B T C"], mask: Any = None, **others: Any) -> Float[Tensor, "B T C"]:
        config = self.config
        q = split_heads(self.query(x), config.n_heads)
        k, v = split_heads(self.key(x), config.n_kv_heads), split_heads(self.value(x), config.n_kv_heads)
        q, k = self.turned(q, k)
        core = self.fused if self.recipe.attention == "fused" else self.eager
        if self.recipe.checkpointing == "selective":
            y = checkpoint(core, q, k, v, use_reentrant=False)
        else:
            y = core(q, k, v)
        return self.output(merge_heads(y))

    @property
    def probability(self) -> float:
        return PROBABILITY if self.recipe.dropout else 0.0

    def fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        grouped = k.shape[1] < q.shape[1]
        with sdpa_kernel(KERNELS):
            return F.scaled_dot_product_attention(
                q, k, v, dropout_p=self.probability, is_causal=True, enable_gqa=grouped
            )

    def eager(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        k, v = repeat_kv(k, q.shape[1]), repeat_kv(v, q.shape[1])
        scores = (q @ k.transpose(-2, -1)).float() * q.shape[-1] ** -0.5
        del q, k
        T = scores.shape[-1]
        weights = scores.masked_fill(self.hidden[:T, :T], -math.inf).softmax(-1)
        del scores
        weights = weights.to(v.dtype)
        return F.dropout(weights, self.probability, self.recipe.dropout) @ v


class Dropped(nn.Module):
    """Dropout after a module."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return F.dropout(self.inner(*args, **kwargs), PROBABILITY)


class Checkpointed(nn.Module):
    """A block of which only the input is kept."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return checkpoint(self.inner, x, *args, use_reentrant=False, **kwargs)


def live_decoder(config: ModelConfig, recipe: Recipe, time: int) -> Decoder:
    """A model of that configuration on the recipe's device, to train on sequences of up to ``time`` tokens.

    "mixed" precision is none of PyTorch's own: raises ValueError for it.
    """
    check_plain(config)
    if recipe.precision not in DTYPES:
        raise ValueError(f"precision={recipe.precision!r} has no live model; choose one of {', '.join(DTYPES)}")
    shape = replace(config, fast=True)
    with torch.device(recipe.device), default_dtype(DTYPES[recipe.precision]):
        model = Decoder(shape)
        hidden = torch.ones(time, time, dtype=torch.bool).triu(1) if recipe.attention == "eager" else torch.empty(0)
        for block in model.stack.blocks:
            block.attention = TrainedAttention(shape, recipe, hidden)
    if recipe.dropout:
        model.embedding = Dropped(model.embedding)  # pyright: ignore[reportAttributeAccessIssue]
        for block in model.stack.blocks:
            for name in ("attention", "feed_forward"):
                setattr(block, name, Dropped(block.get_submodule(name)))
    if recipe.checkpointing == "full":
        model.stack.blocks = nn.ModuleList(Checkpointed(block) for block in model.stack.blocks)
    return model


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Parameters are made in ``dtype``, so that there is never a copy in another."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def loss_of(model: Decoder, tokens: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """The mean cross-entropy, from float32 logits."""
    with torch.autocast(recipe.device, torch.bfloat16, enabled=recipe.precision == "autocast"):
        logits = model(tokens).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def optimizer_of(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW as the recipe has it; unless ``fused`` as PyTorch chooses, on a card all tensors in one call."""
    return torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True if recipe.optimizer == "adamw_fused" else None)


def saved_bytes(model: nn.Module, loss: Callable[[], Tensor], inputs: tuple[Tensor, ...] = ()) -> int:
    """Bytes of the storages that autograd keeps for ``loss()``; parameters, masks, inputs and single numbers apart.

    The hook gives autograd nothing to keep: a tensor would hold the node that holds it, and never be freed.
    """
    known = {tensor.untyped_storage()._cdata for tensor in (*model.parameters(), *masks(model), *inputs)}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in known and tensor.ndim:
            kept[storage._cdata] = storage

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda nothing: nothing):
        loss()
    return sum(storage.nbytes() for storage in kept.values())


def masks(model: nn.Module) -> list[Tensor]:
    """What eager attention hides; all layers share one."""
    return [layer.hidden for layer in model.modules() if isinstance(layer, TrainedAttention)]


def training_step(
    model: Decoder, optimizer: torch.optim.Optimizer, tokens: Tensor, targets: Tensor, recipe: Recipe
) -> None:
    """One step, as ``training_memory`` counts it."""
    optimizer.zero_grad(set_to_none=True)
    loss_of(model, tokens, targets, recipe).backward()
    optimizer.step()


def example(config: ModelConfig, batch: int, time: int, device: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random tokens and targets."""
    generator = torch.Generator().manual_seed(seed)
    both = torch.randint(config.vocabulary, (2, batch, time), generator=generator).to(device)
    return both[0].clone(), both[1].clone()


def lasting_bytes(model: nn.Module, optimizer: torch.optim.Optimizer, inputs: tuple[Tensor, ...]) -> int:
    """What a step finds: weights, the optimizer's states and the inputs."""
    states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    storages = [tensor.untyped_storage() for tensor in (*model.parameters(), *masks(model), *states, *inputs)]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())


def measured_peak(config: ModelConfig, batch: int, time: int, recipe: Recipe) -> int:
    """Bytes at the peak of the second step: on a card the allocator's own count, on the CPU that of the tensors made.

    The first step makes the optimizer's states.
    """
    model, inputs = live_decoder(config, recipe, time), example(config, batch, time, recipe.device)
    optimizer = optimizer_of(model, recipe)
    training_step(model, optimizer, *inputs, recipe)
    optimizer.zero_grad(set_to_none=True)
    if recipe.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        training_step(model, optimizer, *inputs, recipe)
        return torch.cuda.max_memory_allocated()
    before = lasting_bytes(model, optimizer, inputs)
    with MemoryMeter() as meter:
        training_step(model, optimizer, *inputs, recipe)
    return before + meter.peak

"""A training step's peak as one technique after the other joins: lab 7's counts, and what lab 10's parts change."""

import gc
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..substrate.memory_meter import MemoryMeter
from ..substrate.model_config import ModelConfig
from .memory import activation_memory, training_memory
from .parameters import parameter_table
from .recipe import Recipe
from .table import Table

CONVENTION = (
    "At the highest point of a step: the loss, the first block that backward comes to, or the update. Left out: what "
    "flows between operators, and the gradients of what lies behind the highest point."
)


@dataclass(frozen=True)
class Rung:
    """Which techniques a step uses: the loss in chunks of so many tokens (0: all logits at once), a checkpoint for each
    block, 16-bit weights with float32 masters, so many micro-batches, adapters of that ``rank`` (0: all is trained).
    """

    chunk: int = 0
    checkpoints: bool = False
    half: bool = False
    micro_batches: int = 1
    rank: int = 0


def rung_memory(config: ModelConfig, batch: int, time: int, rung: Rung, device: str = "cpu") -> Table:
    """Bytes at the peak of an AdamW step of a SwiGLU decoder, by what they are.

    Where lab 7 knows the step, its own count.
    """
    whole = Recipe("bfloat16" if rung.half else "float32", "fused", False, device=device)
    recipe = replace(whole, checkpointing="full" if rung.checkpoints else "none")
    if rung in (Rung(), Rung(checkpoints=True)):
        return training_memory(config, batch, time, recipe)
    width, parameters = recipe.weight_width, parameter_table(config).total
    trained = _adapters(config, rung.rank) if rung.rank else parameters
    weights = parameters * width + trained * 4 * bool(rung.rank)
    lasting = {
        "weights": weights,
        "master_weights": 4 * trained * rung.half,
        "moments": 8 * trained,
        "inputs": 16 * batch * time,
    }
    rows, largest = batch // rung.micro_batches, config.padded_vocabulary * config.d_model * (not rung.rank)
    gradients = trained * (4 if rung.rank else width)
    earlier = gradients if rung.micro_batches > 1 else 0
    # AdamW's square roots: on a card PyTorch takes all parameters at once, on the CPU one after the other, with a copy.
    roots = 4 * trained if device == "cuda" else 8 * largest
    peaks = [
        {"gradients": earlier, **_at_the_loss(config, rows, time, rung, recipe)},
        _in_backward(config, rows, time, rung, whole, gradients, earlier),
        {"gradients": gradients, "float32 gradients": 4 * trained * rung.half, "temporaries": roots},
    ]
    highest = max(peaks, key=lambda terms: sum(terms.values()))
    return Table("bytes", {name: size for name, size in (lasting | highest).items() if size}, CONVENTION)


def _adapters(config: ModelConfig, rank: int) -> int:
    """Numbers of adapters of that rank around every linear layer of the blocks."""
    C, kv = config.d_model, config.n_kv_heads * config.head_dim
    pairs = 2 * (C + config.n_heads * config.head_dim) + 2 * (C + kv) + (2 + config.gated) * (C + config.d_ffn)
    return config.n_layers * rank * pairs


def _kept(config: ModelConfig, rows: int, time: int, recipe: Recipe, *without: str) -> int:
    terms = activation_memory(config, rows, time, recipe).terms
    return sum(size for name, size in terms.items() if name not in ("loss", *without))


def _at_the_loss(config: ModelConfig, rows: int, time: int, rung: Rung, recipe: Recipe) -> dict[str, int]:
    """When the loss has its largest tensors, all activations are there."""
    V, C, width = config.padded_vocabulary, config.d_model, recipe.weight_width
    kept, tokens = _kept(config, rows, time, recipe), rows * time
    if not rung.chunk:
        return {"activations": kept, "logits": 3 * 4 * tokens * V}
    # A chunk's logits are there in float32 and, where weights have 16 bits, once more; the last chunk's until then too.
    # One kernel on a card writes gradients over logits of 16 bits.
    logits, fused = min(rung.chunk, tokens) * V, recipe.device == "cuda" and width == 2
    one = 2 * logits if fused else 4 * logits if width == 4 else 6 * logits
    most = max(2 * one, one + V * C * width)
    return {"activations": kept, "gradients of the head": tokens * C * width + 4 * V * C, "chunk": most}


def _in_backward(
    config: ModelConfig, rows: int, time: int, rung: Rung, whole: Recipe, gradients: int, earlier: int
) -> dict[str, int]:
    """With checkpoints: one block's insides, the inputs of those before it, and gradients of those behind it."""
    if not rung.checkpoints:
        return {}
    tokens, width, layers = rows * time, whole.weight_width, config.n_layers
    one = _kept(config, rows, time, whole, "head") // layers
    head = config.padded_vocabulary * config.d_model * width
    flows = tokens * (config.d_model + 2 * config.d_ffn) * width
    per_block = gradients // layers if rung.rank else (gradients - 2 * head) // layers

    def at(block: int) -> dict[str, int]:
        found = head + (layers - 1 - block) * per_block
        inputs = (block + 1) * tokens * config.d_model * width
        return {"gradients": earlier or found, "layer inputs": inputs, "one block again": one, "temporaries": flows}

    return max((at(0), at(layers - 1)), key=lambda terms: sum(terms.values()))


def measured_step(step: Callable[[], None], lasting: Iterable[Tensor], device: str = "cpu") -> int:
    """Bytes at the peak of ``step()``; ``lasting`` is what was there before: weights, states, inputs.

    What else is there on a card, from other steps or as a library's own workspace, is not the step's.
    """
    storages = [tensor.untyped_storage() for tensor in lasting]
    held = sum({storage._cdata: storage.nbytes() for storage in storages}.values())
    if device == "cuda":
        gc.collect()  # else what others left falls away during the step
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before + held
    with MemoryMeter() as meter:
        step()
    return meter.peak + held

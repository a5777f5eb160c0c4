"""Lab 10's parts beside PyTorch's and peft's: checkpointing, loss scaling, LoRA, and the ladder's prediction.

    python -m benchmarks.memory                  # CPU
    python -m benchmarks.memory --device cuda    # larger, in bfloat16 where the row says so
    python -m benchmarks.memory lora --rounds 3  # one table

Each row is a step, forward and backward, in the same process as its peer; rounds alternate, and the best of them
counts. Ratios are to the peer, the first row. Memory is what a step holds beyond what was there before it: on the CPU
the tensors that it makes, on a card what PyTorch's allocator hands out.
"""

import argparse
import copy
import functools
import gc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor, nn

from benchmarks.attention import peak, seconds
from mlsys_course import memory
from mlsys_course.accounting.ladder import Parts, rung_step
from mlsys_course.accounting.rungs import Rung, measured_step, rung_memory
from mlsys_course.memory import LoRALinear, MixedPrecisionStep, checkpoint, even_segments, optimal_checkpoints
from mlsys_course.substrate.memory_meter import MemoryMeter
from mlsys_course.substrate.model_config import ModelConfig
from mlsys_course.transformer import Decoder

SHAPES = {"cpu": (ModelConfig(512, 128, 128, 8, 4, 4, 32, 384, fast=True), 4),
          "cuda": (ModelConfig(50304, 1024, 768, 12, 12, 12, 64, 2048, fast=True), 16)}  # fmt: skip


def batch_of(device: str) -> tuple[ModelConfig, Tensor, Tensor]:
    """The shape, tokens and targets."""
    shape, B = SHAPES[device]
    both = torch.randint(shape.vocabulary, (2, B, shape.context), device=device)
    return shape, both[0].clone(), both[1].clone()


def compared(runs: dict[str, Callable[[], None]], device: str, rounds: int) -> dict[str, tuple[float, int]]:
    """(best seconds, peak bytes) of each."""
    for run in runs.values():
        run()
    best = {name: float("inf") for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            best[name] = min(best[name], seconds(run, device))
    return {name: (best[name], peak(run, device)) for name, run in runs.items()}


def table(title: str, found: dict[str, tuple[float, int]], notes: dict[str, str] | None = None) -> None:
    """Prints Markdown; the first row is the peer."""
    (peer_time, peer_bytes), notes = next(iter(found.values())), notes or {}
    print(f"\n**{title}**\n\n| | ms | ratio | MiB | ratio | |\n|---|---|---|---|---|---|")
    for name, (time, size) in found.items():
        ratios = f"{time / peer_time:.2f}", f"{size / max(peer_bytes, 1):.2f}"
        print(f"| {name} | {1e3 * time:.1f} | {ratios[0]} | {size / 2**20:.1f} | {ratios[1]} | {notes.get(name, '')} |")


def theirs(function: Callable[..., Any], *args: Any) -> Any:
    return torch.utils.checkpoint.checkpoint(function, *args, use_reentrant=False)


def through_blocks(model: Decoder, tokens: Tensor, segments: list[tuple[int, int]], call: Callable[..., Any]) -> None:
    """Forward and backward of a decoder whose segments are called by ``call``."""
    blocks, starts, n = list(model.stack.blocks), dict(segments), 0
    y = model.embedding(tokens)
    while n < len(blocks):
        stop = starts.get(n, n + 1)
        layers = [functools.partial(block, causal=True) for block in blocks[n:stop]]
        chain = functools.partial(functools.reduce, lambda y, layer: layer(y), layers)
        y = call(chain, y) if n in starts else chain(y)
        n = stop
    y.float().square().mean().backward()


def checkpointing(device: str, rounds: int) -> None:
    """Per block and in sqrt(n) segments against ``torch.utils.checkpoint``; and the best within the same memory."""
    shape, tokens, _ = batch_of(device)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = Decoder(shape).to(device, dtype)
    n = shape.n_layers
    with torch.no_grad():
        x = model.embedding(tokens)
    own = peak(lambda: through_blocks(model, tokens, [], checkpoint), device) // n
    with MemoryMeter() as meter:
        kept = model.stack.blocks[0](x.requires_grad_(), causal=True)
        own = meter.now or own
    del kept
    for name, segments in {
        "each block": even_segments(n, n),
        "sqrt(n) segments": even_segments(n, round(n**0.5)),
    }.items():
        limit = memory.peak_of([x.nbytes] * n, [own] * n, segments)
        best = optimal_checkpoints([x.nbytes] * n, [own] * n, [1.0] * n, limit)
        runs = {
            "torch.utils.checkpoint": functools.partial(through_blocks, model, tokens, segments, theirs),
            "ours, the same segments": functools.partial(through_blocks, model, tokens, segments, checkpoint),
            "ours, optimal at that peak": functools.partial(through_blocks, model, tokens, best, checkpoint),
            "no checkpoint": functools.partial(through_blocks, model, tokens, [], checkpoint),
        }
        table(f"Checkpointing, {name}, {device}", compared(runs, device, rounds))


def scaling(device: str, rounds: int) -> None:
    """float16 with our scaler and masters against ``torch.amp``; losses of the same batches beside."""
    shape, tokens, targets = batch_of(device)
    torch.manual_seed(0)
    start = Decoder(shape).to(device)
    ours, amp = copy.deepcopy(start).half(), start
    scaler, adamw = memory.DynamicLossScaler(2.0**12), functools.partial(torch.optim.AdamW, lr=1e-3)
    step, optimizer = MixedPrecisionStep(ours.parameters(), adamw, scaler, max_norm=1.0), adamw(amp.parameters())
    grad_scaler, losses = torch.amp.GradScaler(device, init_scale=2.0**12), {"ours": [], "amp": []}

    def run_ours() -> None:
        loss = F.cross_entropy(ours(tokens).float().flatten(0, 1), targets.flatten())
        scaler.scale(loss).backward()
        step.step()
        losses["ours"].append(loss.item())

    def run_amp() -> None:
        with torch.autocast(device, torch.float16):
            loss = F.cross_entropy(amp(tokens).float().flatten(0, 1), targets.flatten())
        grad_scaler.scale(loss).backward()
        grad_scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(amp.parameters(), 1.0)
        grad_scaler.step(optimizer)
        grad_scaler.update()
        optimizer.zero_grad()
        losses["amp"].append(loss.item())

    found = compared({"torch.amp": run_amp, "ours": run_ours}, device, rounds)
    notes = {"torch.amp": f"loss {losses['amp'][-1]:.4f}", "ours": f"loss {losses['ours'][-1]:.4f}"}
    apart = max(abs(a - b) for a, b in zip(losses["ours"], losses["amp"], strict=True))
    table(f"float16 with a dynamic scale, {device}; losses at most {apart:.4f} apart", found, notes)


def lora(device: str, rounds: int) -> None:
    """Adapters around every linear layer of a stack, against ``peft``."""
    import peft

    width, layers, rank = (512, 6, 8) if device == "cpu" else (4096, 6, 16)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    base = nn.Sequential(*[nn.Linear(width, width) for _ in range(layers)]).to(device, dtype)
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=r"\d+", lora_dropout=0.0)
    peers: Any = peft.get_peft_model(copy.deepcopy(base), config, autocast_adapter_dtype=False)
    ours, x = nn.Sequential(), torch.randn(16 * width // 8, width, device=device, dtype=dtype)
    with torch.no_grad():
        for layer, other in zip(base, peers.base_model.model, strict=True):
            other.lora_B["default"].weight.normal_(std=0.02)
            adapter = LoRALinear(copy.deepcopy(layer), other.lora_A["default"].weight, 2.0 * rank)  # pyright: ignore
            adapter.b.copy_(other.lora_B["default"].weight)
            ours.append(adapter)
        apart = float((ours(x) - peers(x)).abs().max())

    def run(model: nn.Module) -> None:
        model(x).square().mean().backward()

    notes = {}
    for name, model in {"peft": peers, "ours": ours}.items():
        notes[name] = f"{sum(p.nbytes for p in model.parameters() if p.requires_grad):,} bytes trained"
    found = compared({"peft": lambda: run(peers), "ours": lambda: run(ours)}, device, rounds)
    table(f"LoRA of rank {rank}, {layers} x {width}, {device}; outputs at most {apart:.1e} apart", found, notes)


def ladder(device: str, rounds: int) -> None:
    """Predicted and measured peaks of each rung; a card's for GPT-2's shape."""
    shape, tokens, targets = batch_of(device)
    parts = Parts(Decoder, memory.accumulate, MixedPrecisionStep, memory.chunked_cross_entropy, checkpoint, LoRALinear)
    chunk = 64 if device == "cpu" else 2048
    rungs = [Rung(), Rung(chunk), Rung(chunk, True), Rung(chunk, True, True), Rung(chunk, True, True, 4),
             Rung(chunk, True, True, 4, 8)]  # fmt: skip
    print(f"\n**The ladder, {device}**\n\n| rung | predicted MiB | measured | error | ms |\n|---|---|---|---|---|")
    for rung in rungs:
        step, lasting = rung_step(shape, rung, tokens, targets, parts)
        measured = measured_step(step, lasting, device)
        predicted = rung_memory(shape, len(tokens), shape.context, rung, device).total
        time = min(seconds(step, device) for _ in range(rounds))
        error = f"{predicted / measured - 1:+.1%}"
        print(f"| {rung} | {predicted / 2**20:.1f} | {measured / 2**20:.1f} | {error} | {1e3 * time:.1f} |")
        del step, lasting
        gc.collect()


def loss(device: str, rounds: int) -> None:
    """A step of GPT-2 124M whose hidden states are compiled; its loss from whole logits, by Liger's kernel and ours."""
    shape, B = (replace(SHAPES["cuda"][0], context=1024), 32) if device == "cuda" else SHAPES["cpu"]
    tokens, targets = torch.randint(shape.vocabulary, (2, B, shape.context), device=device)
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = Decoder(shape).to(device, dtype)
    hidden_states = torch.compile(lambda: model.hidden(tokens).flatten(0, 1))
    weight, targets = model.head.vocabulary.weight, targets.flatten()
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "whole logits": lambda hidden: F.cross_entropy(F.linear(hidden, weight).float(), targets)
    }
    if device == "cuda":
        from liger_kernel.ops.fused_linear_cross_entropy import LigerFusedLinearCrossEntropyFunction as Liger

        ways = {"Liger": lambda hidden: Liger.apply(hidden, weight, targets)[0]} | ways
    for chunk in (512, 2048, 4096):
        ways[f"ours, {chunk} at a time"] = lambda hidden, n=chunk: memory.ChunkedCrossEntropy.apply(
            hidden, weight, targets, n
        )

    def step(way: Callable[[Tensor], Tensor]) -> None:
        model.zero_grad(set_to_none=True)
        way(hidden_states()).backward()

    notes = {name: f"loss {way(hidden_states().detach()).item():.4f}" for name, way in ways.items()}
    found = compared({name: functools.partial(step, way) for name, way in ways.items()}, device, rounds)
    table(f"Cross-entropy of {B} x {shape.context} tokens, {device}", found, notes)


TABLES = {"loss": loss, "checkpointing": checkpointing, "scaling": scaling, "lora": lora, "ladder": ladder}


def main() -> None:
    """Prints the tables that are asked for, all by default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(TABLES), metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for name in given.tables:
        TABLES[name](given.device, given.rounds)


if __name__ == "__main__":
    main()

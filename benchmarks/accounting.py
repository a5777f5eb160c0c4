"""Predicted against measured: the peak memory of training steps, what autograd keeps, and the peers' figures.

    python -m benchmarks.accounting                                # CPU: small models
    python -m benchmarks.accounting --device cuda --json FILE      # a card; --half first or second for one half
    python -m benchmarks.accounting --calculators FILE             # the peers that only calculate, for these rows

A case is two training steps of a live model; the measured peak is the second's: ``max_memory_allocated`` on a card, the
tensors' own bytes on the CPU. The formulas were made with the first half of the cases; the second half was written down
when they were done, and not touched since. PyTorch's MemTracker runs the same steps on tensors without memory.
"""

import argparse
import gc
import json
import math
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.accounting_peers import PEERS
from mlsys_course.accounting import ModelConfig, gpt2, gpt2_large, gpt2_medium, llama2_7b
from mlsys_course.accounting.card import card_memory
from mlsys_course.accounting.measured import example, live_decoder, loss_of, measured_peak, saved_bytes
from mlsys_course.accounting.memory import Recipe, activation_memory, training_memory

MIB = 2**20
Row = dict[str, float]


@dataclass(frozen=True)
class Case:
    """One training step."""

    name: str
    config: ModelConfig
    batch: int
    time: int
    recipe: Recipe

    def __str__(self) -> str:
        r = self.recipe
        words = [self.name, f"B={self.batch} T={self.time}", r.precision, r.attention, r.optimizer]
        words += ["dropout"] * r.dropout + [f"{r.checkpointing} checkpointing"] * (r.checkpointing != "none")
        return ", ".join(words)


def llama_1b() -> ModelConfig:
    """TinyLlama's shape, 1.1 billion parameters with shared heads."""
    return replace(llama2_7b(), d_model=2048, n_layers=22, n_heads=32, n_kv_heads=4, head_dim=64, d_ffn=5632)


def padded(config: ModelConfig) -> ModelConfig:
    return replace(config, vocabulary_multiple=64)


def on_card(half: str) -> list[Case]:
    """The cases of an H200; the second half was written down when the formulas were done, and not touched since."""
    small, medium, large = ("GPT-2 124M", padded(gpt2())), ("GPT-2 355M", padded(gpt2_medium())), (
        "GPT-2 774M", padded(gpt2_large()))  # fmt: skip
    llama, fused = ("LLaMA 1.1B", llama_1b()), "adamw_fused"
    first = [
        Case(*small, 1, 1024, Recipe("autocast", "fused", optimizer=fused)),
        Case(*small, 8, 1024, Recipe("autocast", "eager", optimizer="adamw")),
        Case(*small, 32, 1024, Recipe("autocast", "fused", optimizer=fused)),
        Case(*small, 16, 1024, Recipe("autocast", "eager", dropout=True, optimizer=fused)),
        Case(*medium, 8, 1024, Recipe("bfloat16", "fused", optimizer="adamw")),
        Case(*medium, 4, 1024, Recipe("autocast", "eager", checkpointing="selective", optimizer=fused)),
        Case(*large, 2, 1024, Recipe("autocast", "fused", checkpointing="full", optimizer=fused)),
        Case(*llama, 2, 2048, Recipe("bfloat16", "fused", optimizer=fused)),
    ]
    second = [
        Case(*small, 4, 512, Recipe("bfloat16", "eager", optimizer="adamw")),
        Case(*small, 24, 1024, Recipe("bfloat16", "fused", dropout=True, optimizer=fused)),
        Case(*medium, 16, 1024, Recipe("autocast", "fused", optimizer="adamw")),
        Case(*medium, 12, 768, Recipe("bfloat16", "eager", checkpointing="full", optimizer=fused)),
        Case(*large, 8, 1024, Recipe("autocast", "eager", optimizer=fused)),
        Case(*large, 1, 1024, Recipe("bfloat16", "fused", optimizer="adamw")),
        Case(*llama, 1, 2048, Recipe("autocast", "fused", optimizer="adamw")),
        Case(*llama, 8, 1024, Recipe("autocast", "eager", checkpointing="selective", optimizer=fused)),
        Case(*llama, 16, 2048, Recipe("bfloat16", "fused", checkpointing="full", optimizer=fused)),
    ]
    return first if half == "first" else second


def on_cpu() -> list[Case]:
    """Small models, since nothing but the sizes differs."""
    gpt = replace(gpt2(), vocabulary=2048, context=256, d_model=192, n_layers=4, n_heads=6, n_kv_heads=6, head_dim=32,
                  d_ffn=768)  # fmt: skip
    llama = replace(
        llama2_7b(), vocabulary=2048, d_model=192, n_layers=4, n_heads=6, n_kv_heads=2, head_dim=32, d_ffn=512
    )
    found = []
    for precision in ("float32", "autocast", "bfloat16"):
        for attention, dropout, checkpointing in (
            ("fused", False, "none"), ("eager", True, "none"), ("eager", False, "selective"), ("fused", False, "full"),
        ):  # fmt: skip
            recipe = Recipe(precision, attention, dropout, checkpointing, "adamw", "cpu")
            found += [Case("GPT-2 2.2M", gpt, 4, 256, recipe), Case("LLaMA 2.4M", llama, 4, 256, recipe)]
    return found


def workspace() -> int:
    """Bytes that the matrix library takes for itself when it first multiplies, forward and backward."""
    layer = torch.nn.Linear(64, 64, device="cuda", dtype=torch.bfloat16)
    layer(torch.ones(64, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True)).sum().backward()
    del layer
    return left()


def left() -> int:
    """What is still allocated on the card once everything unreachable is gone; 0 on the CPU."""
    gc.collect()
    if not torch.cuda.is_available():
        return 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return torch.cuda.memory_allocated()


def run(case: Case, extra: int) -> Row:
    """Predicted beside measured; the workspace is alive throughout, and may have grown since it was ``extra`` bytes."""
    alive = left()
    assert alive <= extra + 32 * MIB, f"{alive:,} bytes are alive before the case, of a workspace of {extra:,}"
    extra = alive
    start = time.perf_counter()
    predicted = training_memory(case.config, case.batch, case.time, case.recipe)
    row: Row = {"seconds": time.perf_counter() - start, "predicted": predicted.total + extra, "workspace": extra}
    row["measured"] = measured_peak(case.config, case.batch, case.time, case.recipe)
    if case.recipe.device == "cuda":
        held = card_memory()
        row["asked"] = held["tensors"]
        row |= {f"card {name}": size for name, size in held.items() if name != "tensors"}
    left()
    told = activation_memory(case.config, case.batch, case.time, case.recipe).total
    model = live_decoder(case.config, case.recipe, case.time)
    inputs = example(case.config, case.batch, case.time, case.recipe.device)
    kept = saved_bytes(model, lambda: loss_of(model, *inputs, case.recipe), inputs)
    row["kept"] = told / kept - 1
    row |= {f"term {name}": size for name, size in predicted.grouped().items()}
    print(f"{case}: {row['predicted'] / row['measured'] - 1:+.2%}", end="  ")
    terms = {**predicted.grouped(), **{name: size for name, size in row.items() if name.startswith("card ")}}
    print(", ".join(f"{name} {size / MIB:.0f}" for name, size in terms.items()), "MiB", flush=True)
    return row


def percent(row: Row, name: str) -> str:
    """How far a tool's figure is from the measured peak."""
    told = row.get(name, math.nan)
    return "-" if math.isnan(told) else f"{told / row['measured'] - 1:+.0%}"


def table(rows: dict[str, Row]) -> None:
    """The markdown table of docs/benchmarks.md."""
    print("\n| case | predicted, MiB | measured, MiB | error | of bytes asked for | kept | " + " | ".join(PEERS) + " |")
    print("|---" * (6 + len(PEERS)) + "|")
    for case, row in rows.items():
        predicted, measured, asked = row["predicted"], row["measured"], row.get("asked", row["measured"])
        print(f"| {case} | {predicted / MIB:,.1f} | {measured / MIB:,.1f} | {predicted / measured - 1:+.2%} "
              f"| {predicted / asked - 1:+.3%} | {row['kept']:+.3%} | "
              + " | ".join(percent(row, name) for name in PEERS) + " |")  # fmt: skip
    errors = [abs(row["predicted"] / row["measured"] - 1) for row in rows.values()]
    print(f"\nworst {max(errors):.2%}, mean {sum(errors) / len(errors):.2%}; a prediction takes at most "
          f"{max(row['seconds'] for row in rows.values()):.2f} s")  # fmt: skip


def ask(names: Iterable[str], cases: list[Case], rows: dict[str, Row]) -> None:
    """What the peers say of the same cases, into the rows."""
    for case in cases:
        for name in names:
            rows[str(case)][name] = PEERS[name](case.config, case.batch, case.time, case.recipe)
            left()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--half", choices=("first", "second", "both"), default="both", help="which cases of a card")
    parser.add_argument("--only", default="", help="cases whose name this regular expression finds")
    parser.add_argument("--no-peers", action="store_true", help="without MemTracker")
    parser.add_argument("--json", help="write the rows to this file, and again when the peer has been asked")
    parser.add_argument("--calculators", help="rows of an earlier run to fill in: accelerate, DeepSpeed, llm-analysis")
    arguments = parser.parse_args()
    halves = ("first", "second") if arguments.half == "both" else (arguments.half,)
    if arguments.calculators:
        rows = json.loads(Path(arguments.calculators).read_text())
        cases = [case for case in (*on_card("first"), *on_card("second"), *on_cpu()) if str(case) in rows]
        ask([name for name in PEERS if name != "MemTracker"], cases, rows)
        return table(rows)
    cases = on_cpu() if arguments.device == "cpu" else [case for half in halves for case in on_card(half)]
    cases = [case for case in cases if re.search(arguments.only, str(case))]
    extra = workspace() if arguments.device == "cuda" else 0
    where = torch.cuda.get_device_name() if arguments.device == "cuda" else "CPU"
    print(f"PyTorch {torch.__version__}, {where}; workspace {extra:,}")
    rows = {str(case): run(case, extra) for case in cases}
    table(rows)
    for peers in ([], ["MemTracker"])[: 1 if arguments.no_peers else 2]:
        ask(peers, cases, rows)
        if arguments.json:
            Path(arguments.json).write_text(json.dumps(rows, indent=1))
    if not arguments.no_peers:
        table(rows)


if __name__ == "__main__":
    main()

"""A graph of small operators: compiled and run, beside PyTorch's eager mode and ``torch.compile``; memory as planned.

    python -m benchmarks.compiler                       # CPU, 2,000 operators on 64 numbers
    python -m benchmarks.compiler --operators 500 --size 4096

Times of running are the least of several runs, on one thread. ``torch.compile`` needs a C++ compiler; where it finds
none, or is left out, its rows say so. Memory is what the graph's results take: predicted by ``peak_bytes``, placed by
``plan_buffers``, measured by ``MemoryMeter`` around the program.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import Evaluator, topological_order
from mlsys_course.compiler import (
    RULES,
    arena_bytes,
    eliminate,
    fuse_elementwise,
    jit,
    order_for_memory,
    peak_bytes,
    plan_buffers,
    program,
    rewrite,
    trace,
)
from mlsys_course.substrate.memory_meter import peak_bytes as measured_bytes


def chain_of(library: Any, operators: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of two tensors with so many operators, of which none is common with another."""

    def function(x, y):
        early = x
        for n in range(operators // 4):
            x = library.tanh(x * (1 + n / operators)) + (early if n % 50 == 25 else y)
            x = x - 0.5
            early = x if n % 50 == 0 else early
        return x

    return function


def seconds(run: Callable[..., Any], arguments: Sequence[Tensor], repeats: int = 30) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        run(*arguments)
        best = min(best, time.perf_counter() - start)
    return best


def first_and_best(run: Callable[..., Any], arguments: Sequence[Tensor]) -> tuple[float, float]:
    """Seconds of the first call, which compiles, and of the best later one."""
    start = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - start, seconds(run, arguments)


def times(operators: int, arguments: Sequence[Tensor], peer: bool) -> dict[str, tuple[float, float] | str]:
    """By way of running: seconds of the first call and of later ones."""
    eager, ours = chain_of(torch, operators), chain_of(G, operators)
    inputs, outputs = trace(ours, arguments)
    evaluator = Evaluator(outputs)
    feed = [dict(zip(inputs, arguments, strict=True))]
    rows: dict[str, tuple[float, float] | str] = {
        "eager": first_and_best(eager, arguments),
        "evaluator": first_and_best(evaluator, feed),  # pyright: ignore[reportArgumentType]
        "jit": first_and_best(jit(ours), arguments),
    }
    if not peer:
        return rows | {"torch.compile": "left out; leave out --no-peer to run it"}
    try:
        rows["torch.compile"] = first_and_best(torch.compile(eager, fullgraph=True), arguments)
    except Exception as problem:
        rows["torch.compile"] = f"not here: {type(problem).__name__}; it needs a C++ compiler"
    return rows


def memory(operators: int, arguments: Sequence[Tensor]) -> dict[str, int]:
    """Bytes of results: predicted, placed, measured."""
    inputs, outputs = trace(chain_of(G, operators), arguments)
    better = rewrite(outputs, RULES)
    order, after = eliminate(topological_order(better), better)
    order = order_for_memory(order, after)
    run = program(inputs, order, after)
    return {
        "each of its own": sum(4 * node.shape[0] for node in order if node.inputs),
        "predicted": peak_bytes(order, after),
        "arena": arena_bytes(plan_buffers(order, after)),
        "measured": measured_bytes(run, *arguments),
        "groups": len(fuse_elementwise(order, after)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--operators", type=int, default=2000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--no-peer", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    arguments = [torch.randn(given.size, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    for name, row in times(given.operators, arguments, not given.no_peer).items():
        print(f"{name:14}", row if isinstance(row, str) else f"first {row[0]:8.3f} s   then {1e3 * row[1]:8.3f} ms")
    for name, count in memory(given.operators, arguments).items():
        print(f"{name:16} {count:12,}{' bytes' if name != 'groups' else ''}")


if __name__ == "__main__":
    main()

"""All-reduce and data parallelism beside PyTorch: ``python -m benchmarks.all_reduce ring crossover ddp compiled``.

On the CPU over gloo; with ``--device cuda`` on as many GPUs as ``--ranks`` says, over NCCL. Every table compares in the
same processes, one after the other in turn; times are medians.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.gpt2 import GPT2
from mlsys_course import all_reduce as A
from mlsys_course.all_reduce.collectives import exchange
from mlsys_course.substrate.ranks import Communicator, run

MIB = 1 << 20
ALGORITHMS = ("naive", "tree", "ring", "halving_doubling")


def together(comm: Communicator) -> None:
    """All ranks have come, and their cards have nothing left to do."""
    dist.barrier()
    if comm.device.type == "cuda":
        torch.cuda.synchronize()


def seconds_of(calls: dict[str, Callable[[], Any]], comm: Communicator, repeats: int) -> dict[str, float]:
    """The median seconds of each call, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 2):
        for name, call in calls.items():
            together(comm)
            begun = time.perf_counter()
            call()
            if comm.device.type == "cuda":
                torch.cuda.synchronize()
            if repeat >= 2:  # the first calls connect and warm up
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(found) for name, found in times.items()}


def print_table(title: str, head: list[str], rows: list[list[str]]) -> None:
    print(f"\n{title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


# ---- the ring --------------------------------------------------------------------------------------------------------


def ring_on_a_rank(comm: Communicator, sizes: list[int], segments: list[int | None]) -> list[dict[str, float]]:
    """Seconds by size: of all_reduce, and of our ring with each size of segments."""
    rows = []
    for size in sizes:
        x = torch.zeros(size // 4, device=comm.device)
        calls: dict[str, Callable[[], Any]] = {"torch": lambda x=x: dist.all_reduce(x)}
        for segment in segments:
            name = "ours" if segment is None else f"ours, segments of {segment // MIB or segment / MIB:g} MiB"
            calls[name] = lambda x=x, segment=segment: A.ring_all_reduce_(x, comm, segment)
        rows.append(seconds_of(calls, comm, 9 if size >= 4 * MIB else 25))
    return rows


def ring(device: str, ranks: int) -> None:
    """Our ring beside ``dist.all_reduce``."""
    on_card = device == "cuda"
    sizes = [MIB, 16 * MIB, 256 * MIB, 1024 * MIB] if on_card else SMALL_SIZES
    segments = [None, 16 * MIB, 64 * MIB, 128 * MIB] if on_card else [None, MIB]
    for world_size in [ranks] if on_card else [2, 4]:
        backend = "nccl" if on_card else "gloo"
        found = run(ring_on_a_rank, world_size, backend=backend, args=(sizes, segments), timeout=500).results[0]
        rows = []
        for size, times in zip(sizes, found, strict=True):
            bus = 2 * (world_size - 1) / world_size * size / 1e9
            rows.append([f"{size / MIB:g} MiB", f"{1e3 * times['torch']:.2f} ms, {bus / times['torch']:.2f} GB/s"])
            rows[-1] += [f"{t / times['torch']:.2f}x, {bus / t:.2f} GB/s" for n, t in times.items() if n != "torch"]
        print_table(
            f"Ring, {world_size} ranks, {backend}", ["size", f"{backend} all_reduce", *list(found[0])[1:]], rows
        )


SMALL_SIZES = [64 << 10, 256 << 10, MIB, 4 * MIB, 16 * MIB, 64 * MIB]


# ---- crossovers ------------------------------------------------------------------------------------------------------


def messages_on_a_rank(comm: Communicator, sizes: list[int]) -> list[float]:
    """Seconds of one step, in which every rank sends to its right and receives from its left."""
    found = []
    for size in sizes:
        x, buffer = (torch.zeros(size // 4, device=comm.device) for _ in range(2))
        right, left = (comm.rank + 1) % comm.world_size, (comm.rank - 1) % comm.world_size

        def steps(x=x, buffer=buffer, to=right, source=left) -> None:
            for _ in range(4):
                exchange(x, to, buffer, source, comm)

        found.append(seconds_of({"steps": steps}, comm, 15)["steps"] / 4)
    return found


def algorithms_on_a_rank(comm: Communicator, sizes: list[int]) -> list[dict[str, float]]:
    """Seconds by size and algorithm."""
    rows = []
    for size in sizes:
        x = torch.zeros(size // 4, device=comm.device)
        rows.append(seconds_of({n: lambda n=n, x=x: A.ALGORITHMS[n](x, comm) for n in ALGORITHMS}, comm, 15))
    return rows


def crossover(device: str, ranks: int) -> None:
    """What the model says of each algorithm, from messages alone, and what is measured."""
    backend, world_size = ("nccl", ranks) if device == "cuda" else ("gloo", 4)
    sizes = [1 << k for k in range(10, 23, 2)]
    messages = run(messages_on_a_rank, world_size, backend=backend, args=(sizes,), timeout=300).results[0]
    found = run(algorithms_on_a_rank, world_size, backend=backend, args=(sizes,), timeout=500).results[0]
    alpha, beta = A.fitted([float(n) for n in sizes], messages)
    rate = 1e-9 / beta if beta else math.inf
    print(f"\n{world_size} ranks, {backend}: alpha {1e6 * alpha:.0f} us, beta {rate:.2f} GB/s")
    rows = []
    for size, times in zip(sizes, found, strict=True):
        predicted = {n: A.all_reduce_seconds(n, size, world_size, alpha, beta) for n in ALGORITHMS}
        cells = [f"{1e6 * predicted[n]:.0f} / {1e6 * times[n]:.0f}" for n in ALGORITHMS]
        rows.append(
            [f"{size >> 10} KiB", *cells, min(predicted, key=predicted.__getitem__), min(times, key=times.__getitem__)]
        )
    print_table("Microseconds predicted / measured", ["size", *ALGORITHMS, "fastest predicted", "measured"], rows)
    for few, many in (("tree", "ring"), ("naive", "ring"), ("halving_doubling", "ring"), ("tree", "halving_doubling")):
        said = A.crossover_bytes(few, many, world_size, alpha, beta)
        seen = next((s for s, t in zip(sizes, found, strict=True) if t[many] < t[few]), None)
        print(f"{many} beats {few} from {said / 1024:.0f} KiB on, measured from {seen and seen >> 10} KiB on")


# ---- data parallelism ------------------------------------------------------------------------------------------------


def wrapped(kind: str, model: nn.Module, comm: Communicator) -> tuple[nn.Module, Callable[[], None]]:
    """The model in data parallel of a kind, and what to call after backward."""
    if kind == "torch DDP":
        ids = [comm.rank] if comm.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=ids), lambda: None
    if kind == "no sync":
        return model, lambda: None
    changes: dict[str, dict[str, Any]] = {
        "ours": {},
        "ours, no overlap": {"overlap": False},
        "ours, one message a parameter": {"bucket_bytes": 1},
        "ours, NCCL's or gloo's all_reduce": {"all_reduce_": lambda flat, comm: dist.all_reduce(flat)},
    }
    replica = A.DistributedDataParallel(model, comm, **changes[kind])
    return replica, replica.finish


def steps_on_a_rank(comm: Communicator, kind: str, compiled: bool, steps: int, batch: int) -> tuple[float, float]:
    """(median seconds of a step, GiB at the peak)."""
    torch.manual_seed(0)
    on_card = comm.device.type == "cuda"
    model = (GPT2() if on_card else GPT2(width=384, layers=4, heads=6, vocabulary=2000, context=64)).to(comm.device)
    replica, finish = wrapped(kind, model, comm)
    called = torch.compile(replica if kind == "torch DDP" else model) if compiled else replica
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(0, model.vocabulary, (batch, model.context + 1), device=comm.device)
    times = []
    for _ in range(steps):
        together(comm)
        begun = time.perf_counter()
        with torch.autocast(comm.device.type, torch.bfloat16, enabled=on_card):
            loss = called(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        finish()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if on_card:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_card else 0.0
    return statistics.median(times[steps // 3 :]), peak


def ddp(device: str, ranks: int, batch: int, compiled: bool) -> None:
    """Our DistributedDataParallel beside torch DDP, and without overlap and buckets."""
    on_card = device == "cuda"
    kinds = ["no sync", "torch DDP", "ours", "ours, NCCL's or gloo's all_reduce"]
    if not compiled:
        kinds += ["ours, no overlap", "ours, one message a parameter"]
    settings = (30, batch) if on_card else (24, 4)
    found: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(1 if on_card else 3):  # in turn, since a shared machine's speed varies
        for kind in kinds:
            ends = run(steps_on_a_rank, ranks, args=(kind, compiled, *settings), timeout=500).results
            found[kind].append((max(seconds for seconds, _ in ends), max(peak for _, peak in ends)))
    rows, theirs = [], min(found["torch DDP"])[0]
    for kind, times in found.items():
        seconds, peak = min(times)
        tokens = ranks * settings[1] * (1024 if on_card else 64) / seconds
        rows.append([kind, f"{1e3 * seconds:.1f}", f"{tokens:,.0f}", f"{theirs / seconds:.3f}"])
        rows[-1] += [f"{peak:.1f}"] if on_card else []
    head = ["", "ms a step", "tokens/s", "of torch DDP's", *(["GiB"] if on_card else [])]
    print_table(f"Data parallel, {ranks} ranks, {'compiled' if compiled else 'eager'}", head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="all-reduce and data parallelism beside PyTorch's own")
    parser.add_argument("what", nargs="*", default=["ring", "crossover", "ddp"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16, help="sequences of each GPU")
    given = parser.parse_args()
    if "ring" in given.what:
        ring(given.device, given.ranks)
    if "crossover" in given.what:
        crossover(given.device, given.ranks)
    if "ddp" in given.what:
        ddp(given.device, given.ranks, given.batch, compiled=False)
    if "compiled" in given.what:
        ddp(given.device, given.ranks, given.batch, compiled=True)


if __name__ == "__main__":
    main()

"""ZeRO beside PyTorch: ``python -m benchmarks.sharding``, two ranks over gloo, a small GPT-2.

Our ZeRO 1, 2 and 3 beside plain data parallelism, ``ZeroRedundancyOptimizer`` and ``fully_shard`` (FSDP2), in the same
run: each way in processes of its own, one way after the other, ``--rounds`` times. Of each: the median time of a step,
the most bytes of tensors that a rank holds (by lab 10's meter) and that its process grew by (by the system), and bytes
sent a step where the messages are ours, beside what theory says.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from mlsys_course.all_reduce import all_reduce
from mlsys_course.sharding import flat_padded, zero1_step, zero2_step, zero3_layer, zero_traffic
from mlsys_course.substrate.memory_meter import MemoryMeter
from mlsys_course.substrate.presets import gpt2
from mlsys_course.substrate.ranks import Communicator, run
from mlsys_course.transformer import Decoder
from mlsys_course.transformer.insides import blocks_of

WAYS = ("data parallel", "ZeroRedundancyOptimizer", "our ZeRO 1", "our ZeRO 2", "our ZeRO 3", "FSDP2")
MIB = 1 << 20


def small_gpt2(width: int, layers: int) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"d_model": width, "d_ffn": 4 * width, "n_layers": layers, "n_heads": 4, "n_kv_heads": 4}
    return Decoder(replace(gpt2(), vocabulary=2048, context=64, head_dim=width // 4, **sizes))


def adamw(tensors: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(tensors, lr=1e-3, foreach=False)


def loss_of(model: nn.Module, tokens: Tensor) -> Tensor:
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


class Sharded(nn.Module):
    """A block of which a rank has a part."""

    def __init__(self, block: nn.Module, comm: Communicator):
        super().__init__()
        self.names, self.shapes = zip(*((n, p.shape) for n, p in block.named_parameters()), strict=True)
        parts = flat_padded(block.parameters(), comm.world_size).chunk(comm.world_size)
        self.shard, self.comm, self.block = nn.Parameter(parts[comm.rank].clone()), comm, [block.to("meta")]

    def forward(self, x: Tensor, *others: Any, **more: Any) -> Tensor:
        def layer(x: Tensor, weights: list[Tensor]) -> Tensor:
            return functional_call(self.block[0], dict(zip(self.names, weights, strict=True)), (x, *others), more)

        return zero3_layer(layer, self.shard, self.shapes, x, self.comm)


def step_of(way: str, model: nn.Module, comm: Communicator) -> Callable[[Tensor], None]:
    """One training step on a rank's tokens."""
    if way == "FSDP2":
        from torch.distributed.fsdp import fully_shard

        for block in blocks_of(model):
            fully_shard(block)
        fully_shard(model)
    if way == "our ZeRO 3":
        blocks = blocks_of(model)
        for k, block in enumerate(blocks):
            blocks[k] = Sharded(block, comm)
    sharded = [block.shard for block in blocks_of(model)] if way == "our ZeRO 3" else []
    whole = [p for p in model.parameters() if all(p is not shard for shard in sharded)]
    state: list[Any] = [None]

    def ours(tokens: Tensor) -> None:
        loss = loss_of(model, tokens)
        if way == "our ZeRO 2":
            state[0] = zero2_step([[p] for p in reversed(whole)], loss.backward, adamw, comm, state[0])
            return
        loss.backward()
        state[0] = zero1_step(whole, adamw, comm, state[0])
        if blocks_optimizer:
            blocks_optimizer.step()
            blocks_optimizer.zero_grad()

    def theirs(tokens: Tensor) -> None:
        loss_of(model, tokens).backward()
        if way != "FSDP2":
            for p in whole:
                p.grad = all_reduce(p.grad, comm, "mean")  # pyright: ignore[reportArgumentType]
        optimizer.step()
        optimizer.zero_grad()

    blocks_optimizer = adamw(sharded) if sharded else None
    if way.startswith("our"):
        return ours
    if way == "ZeroRedundancyOptimizer":
        from torch.distributed.optim import ZeroRedundancyOptimizer

        optimizer: Any = ZeroRedundancyOptimizer(whole, torch.optim.AdamW, lr=1e-3, foreach=False)
    else:
        optimizer = adamw(list(model.parameters()))
    return theirs


def on_a_rank(comm: Communicator, way: str, width: int, layers: int, steps: int) -> dict[str, float]:
    """Seconds of a step, bytes of tensors, bytes of the process, and of the model."""
    torch.set_num_threads(1)
    tokens = torch.randint(2048, (steps, 2, 65), generator=torch.Generator().manual_seed(comm.rank))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    times = []
    with MemoryMeter() as meter:
        model = small_gpt2(width, layers)
        n = sum(p.numel() for p in model.parameters())
        blocks = sum(p.numel() for p in blocks_of(model).parameters())
        step = step_of(way, model, comm)
        step(tokens[0])
        meter.peak = meter.now  # building the model whole is not what is compared
        step(tokens[1])
    for batch in tokens[2:]:
        dist.barrier()
        begun = time.perf_counter()
        step(batch)
        times.append(time.perf_counter() - begun)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    return {"seconds": statistics.median(times), "tensors": meter.peak, "process": grown, "n": n, "blocks": blocks}


def theory(way: str, n: int, blocks: int, ranks: int) -> int:
    """Bytes that a rank sends in a step."""
    if way == "our ZeRO 3":
        return 4 * (zero_traffic(1, n - blocks, ranks) + zero_traffic(3, blocks, ranks))
    return 4 * zero_traffic({"our ZeRO 1": 1, "our ZeRO 2": 2, "FSDP2": 3}.get(way, 0), n, ranks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("ranks", 2), ("width", 256), ("layers", 6), ("steps", 12), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    sent: dict[str, float] = {}
    for _ in range(a.rounds):
        for way in WAYS:
            done = run(on_a_rank, a.ranks, backend="gloo", args=(way, a.width, a.layers, a.steps), timeout=500)
            found[way].append({key: max(one[key] for one in done.results) for key in done.results[0]})
            sent[way] = max(done.traffic.bytes_sent) / a.steps
    n, blocks = (int(found["FSDP2"][0][key]) for key in ("n", "blocks"))
    print(f"\n{n:,} parameters, {a.ranks} ranks\n")
    print("| | ms a step | MiB of tensors | MiB of the process | MiB sent | theory |\n|---|---|---|---|---|---|")
    for way, rounds in found.items():
        ms, tensors, process = (statistics.median(r[key] for r in rounds) for key in ("seconds", "tensors", "process"))
        ours = f"{sent[way] / MIB:.1f}" if sent[way] else "not ours"
        expected = theory(way, n, blocks, a.ranks) / MIB
        print(f"| {way} | {1e3 * ms:.0f} | {tensors / MIB:.0f} | {process / MIB:.0f} | {ours} | {expected:.1f} |")


if __name__ == "__main__":
    main()

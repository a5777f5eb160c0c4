"""Attention, as the equation and by its fast path, against ``F.scaled_dot_product_attention``: time and peak memory.

    python -m benchmarks.attention                  # CPU, float32
    python -m benchmarks.attention --device cuda    # bfloat16

Each row is a causal forward and backward pass, or a forward pass alone, in the same process with its peer; ratios are
to the peer. Memory is what a call holds beyond its inputs at its peak: on the CPU the tensors that it makes, which
leaves out a kernel's own scratch space, and on a card what PyTorch's allocator hands out, scratch space too.
"""

import argparse
import functools
import math
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from mlsys_course.attention import attention
from mlsys_course.desk.check.meter import peak_bytes

Call = Callable[[Tensor, Tensor, Tensor], Tensor]
PEER = "F.scaled_dot_product_attention"
CALLS: dict[str, Call] = {
    PEER: functools.partial(F.scaled_dot_product_attention, is_causal=True),
    "naive": functools.partial(attention, causal=True),
    "sdpa": functools.partial(attention, causal=True, backend="sdpa"),
}
SIZES = {"cpu": (1, 8, 64, torch.float32, [128, 256, 512, 1024, 2048]),
         "cuda": (4, 16, 64, torch.bfloat16, [512, 1024, 2048, 4096, 8192])}  # fmt: skip


def step(call: Call, qkv: list[Tensor], backward: bool) -> None:
    """One pass; gradients are dropped."""
    output = call(*qkv)
    if backward:
        torch.autograd.grad(output, qkv, torch.ones_like(output))


def seconds(run: Callable[[], object], device: str, calls: int = 1) -> float:
    """The time of one call that was already warm; on a card of so many in a row."""
    if device == "cpu":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    first.record(torch.cuda.current_stream())
    for _ in range(calls):
        run()
    last.record(torch.cuda.current_stream())
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3 / calls


def peak(run: Callable[[], None], device: str) -> int:
    """Bytes held at the peak of one call, beyond what was there before."""
    if device == "cpu":
        return peak_bytes(run)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def measure(T: int, device: str, backward: bool, budget: float) -> dict[str, tuple[float, int]]:
    """(best seconds, peak bytes) of each call that fits; rounds alternate, so that noise is shared."""
    B, H, D, dtype, _ = SIZES[device]
    generator = torch.Generator(device).manual_seed(0)
    qkv = [torch.randn(B, H, T, D, dtype=dtype, device=device, generator=generator) for _ in range(3)]
    qkv = [x.requires_grad_(backward) for x in qkv]
    runs = {name: functools.partial(step, call, qkv, backward) for name, call in CALLS.items()}
    found: dict[str, tuple[float, int]] = {}
    for name, run in runs.items():
        try:
            run()
            found[name] = (math.inf, peak(run, device))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    end, rounds = time.perf_counter() + budget, 0
    while rounds < 5 or (time.perf_counter() < end and rounds < 200):
        rounds += 1
        for name, (best, most) in found.items():
            found[name] = (min(best, seconds(runs[name], device)), most)
    return found


def row(T: int, found: dict[str, tuple[float, int]]) -> str:
    """A line of the table: the peer's figures, and each of ours as ratios to them."""
    peer_time, peer_peak = found[PEER]
    cells = [f"{T}", f"{peer_time * 1e3:.3g} ms, {peer_peak / 2**20:.3g} MiB"]
    for name in ("naive", "sdpa"):
        if name in found:
            own_time, own_peak = found[name]
            cells.append(f"{own_time / peer_time:.2f}x, {own_peak / peer_peak:.2f}x")
        else:
            cells.append("out of memory")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=list(SIZES), default="cpu")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each row (default 4)")
    options = parser.parse_args()
    B, H, D, dtype, lengths = SIZES[options.device]
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"PyTorch {torch.__version__}, {where}, B={B} H={H} D={D}, {str(dtype).removeprefix('torch.')}, causal")
    for backward in (False, True):
        passes = "forward and backward" if backward else "forward"
        print(f"\n| T, {passes} | {PEER} | naive: time, peak | sdpa: time, peak |")
        print("|---|---|---|---|")
        for T in lengths:
            print(row(T, measure(T, options.device, backward, options.seconds)), flush=True)


if __name__ == "__main__":
    main()

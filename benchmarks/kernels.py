"""Kernels against their peers: flash attention's memory and time on the CPU, Triton's kernels on a card.

    python -m benchmarks.kernels                  # CPU, float32: a minute
    python -m benchmarks.kernels --device cuda    # bfloat16; needs `pip install triton`

On the CPU one head of 64, causal, forward and backward: ``kernels.attend``, whose tiles of 512 run on lab 12's machine,
and lab 2's attention as the equation has it. On a card PyTorch's flash attention, cuBLAS and the time of a copy are the
peers; rounds alternate, and each call's best time counts.
"""

import argparse
import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.attention import seconds
from mlsys_course.attention import attention
from mlsys_course.desk.check.meter import peak_bytes
from mlsys_course.kernels import attend

Run = Callable[[], object]
LENGTHS = [512, 1024, 2048, 4096, 8192]
LONGEST_NAIVE = 4096


def both_ways(call: Callable[..., Tensor], qkv: list[Tensor], grad: Tensor) -> None:
    """Forward and backward; gradients are dropped."""
    torch.autograd.grad(call(*qkv), qkv, grad)


def on_the_cpu() -> None:
    """Peak memory and seconds by length; the third column says what a further 1,024 tokens take."""
    print("| T | naive MiB | flash MiB | more per 1,024 | naive s | flash s |\n|---|---|---|---|---|---|")
    calls = {"naive": functools.partial(attention, causal=True), "flash": lambda *x: attend(*x, 512, True)}
    before = (0, 0.0)
    for T in LENGTHS:
        qkv = [torch.randn(1, T, 64, requires_grad=True) for _ in range(3)]
        grad, peaks, times = torch.randn(1, T, 64), {}, {}
        for name, call in calls.items():
            run = functools.partial(both_ways, call, qkv, grad)
            fits = name == "flash" or T <= LONGEST_NAIVE
            peaks[name] = peak_bytes(run) / 2**20 if fits else float("inf")
            times[name] = min(seconds(run, "cpu") for _ in range(5)) if fits else float("inf")
        more = (peaks["flash"] - before[1]) / (T - before[0]) * 1024
        cells = [f"{T:,}", f"{peaks['naive']:.1f}", f"{peaks['flash']:.1f}", f"{more:.2f}" if before[0] else ""]
        print(f"| {' | '.join([*cells, *(f'{t:.2f}' for t in times.values())])} |".replace("inf", "not run"))
        before = (T, peaks["flash"])


def compared(runs: dict[str, Run], rounds: int = 15) -> dict[str, float]:
    """The best seconds of each on a card, rounds in turn."""
    for run in runs.values():
        run()  # compiled, and tuned
    found = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            found[name] = min(found[name], seconds(run, "cuda", 5))
    return found


def rate(name: str, work: float, unit: str, found: dict[str, float]) -> None:
    """A line: the amount of work a second of each, and the ratio of times, ours to the peer's."""
    ours, peer = found.values()
    print(f"| {name} | {work / ours:.0f} | {work / peer:.0f} {unit} | {peer / ours:.2f} |", flush=True)


def on_a_card() -> None:
    """Products, softmax and attention."""
    from mlsys_course.kernels import triton as ours

    print("| what | ours | peer | ours / peer |\n|---|---|---|---|")
    for n in (4096, 8192):
        a, b = (torch.randn(n, n, dtype=torch.bfloat16, device="cuda") for _ in range(2))
        found = compared({"ours": lambda a=a, b=b: ours.matmul(a, b), "cuBLAS": lambda a=a, b=b: a @ b})
        rate(f"matmul {n}", 2 * n**3 / 1e12, "TFLOP/s", found)
    for columns in (1024, 4096, 16384):
        x = torch.randn(1 << 28 - columns.bit_length() + 1, columns, dtype=torch.bfloat16, device="cuda")
        y = torch.empty_like(x)
        runs = {"ours": lambda x=x: ours.softmax(x), "copy": lambda x=x, y=y: y.copy_(x)}
        rate(f"softmax, rows of {columns:,}, against a copy", 4 * x.numel() / 1e9, "GB/s", compared(runs))
    for D in (64, 128):
        B, H, T = 4, 2048 // D, 4096
        qkv = [torch.randn(B, H, T, D, dtype=torch.bfloat16, device="cuda", requires_grad=True) for _ in range(3)]
        grad = torch.randn(B, H, T, D, dtype=torch.bfloat16, device="cuda")
        forward = 2 * B * H * T * T * D / 1e12  # half of 4, causal
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            peer = functools.partial(F.scaled_dot_product_attention, is_causal=True)
            mine = functools.partial(ours.attend, causal=True)
            with torch.no_grad():
                found = compared({"ours": lambda: mine(*qkv), "flash": lambda: peer(*qkv)})  # noqa: B023
            rate(f"flash attention, heads of {D}, forward", forward, "TFLOP/s", found)
            both = {name: functools.partial(both_ways, call, qkv, grad) for name, call in (("ours", mine), ("p", peer))}
            rate(f"flash attention, heads of {D}, forward and backward", 3.5 * forward, "TFLOP/s", compared(both))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    {"cpu": on_the_cpu, "cuda": on_a_card}[parser.parse_args().device]()

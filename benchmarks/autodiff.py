"""Automatic differentiation against PyTorch's autograd, on one core, the peer in the same run.

``python benchmarks/autodiff.py``: time an operator on a chain of 2,000 small ones, forward and backward; seconds to
build the gradient of graphs of up to 100,000 nodes; peak memory of a training step's evaluation. Fails where a bound of
the component does not hold. ``--device cuda`` runs the chain and the models on a card.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F

import mlsys_course.substrate.graph as G
from mlsys_course.autodiff import Evaluator, gradient
from mlsys_course.desk.check.meter import peak_bytes
from mlsys_course.substrate.graph.models import gpt, gpt_weights, perceptron, variables
from mlsys_course.substrate.presets import gpt2

OPERATORS = {
    "sin, multiply": (G.sin, torch.sin),
    "tanh, multiply": (G.tanh, torch.tanh),
    "exp, multiply": (G.exp, torch.exp),
}


def seconds(*functions: Callable[[], object], rounds: int = 15) -> list[float]:
    """The median time of each, taken in turns, so that a change of the machine's speed meets all."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def chain(device: str, length: int = 2000) -> list[float]:
    """Our time over PyTorch's, for a chain of small operators with its gradient by both inputs."""
    print(
        f"\n| chain of {length:,}, 8 numbers each | ours, us an operator | PyTorch eager | ratio |\n|---|---|---|---|"
    )
    x, c = torch.full((8,), 0.5, device=device), torch.full((8,), 0.9, device=device)
    nodes = [G.variable("x", (8,)), G.variable("c", (8,))]
    ratios = []
    for name, (ours, theirs) in OPERATORS.items():

        def unrolled(function, y, factor):
            for _ in range(length // 2):
                y = function(y * factor) * factor if function in (G.exp, torch.exp) else function(y) * factor
            return y

        steps = length * (3 if "exp" in name else 2) // 2
        y = G.sum(unrolled(ours, *nodes))
        run = Evaluator([y, *gradient(y, nodes)])
        feeds = dict(zip(nodes, (x, c), strict=True))

        def eager(theirs=theirs, unrolled=unrolled):
            leaves = [x.clone().requires_grad_(), c.clone().requires_grad_()]
            return torch.autograd.grad(unrolled(theirs, *leaves).sum(), leaves)

        torch.testing.assert_close(run(feeds)[1:], list(eager()))
        mine, other = seconds(lambda run=run, feeds=feeds: run(feeds), eager)
        ratios.append(mine / other)
        print(f"| {name} | {mine / steps * 1e6:.2f} | {other / steps * 1e6:.2f} | {mine / other:.2f} |", flush=True)
    return ratios


def building() -> dict[int, float]:
    """Seconds to build the gradient, by nodes of the forward graph."""
    print(
        "\n| nodes | build forward, s | build gradient, s | us a node | plan the evaluator, s |\n|---|---|---|---|---|"
    )
    found = {}
    for nodes in (1_000, 10_000, 30_000, 100_000):
        gc.collect()
        x = G.variable("x", (8,))
        start = time.process_time()
        y = x
        for _ in range(nodes // 2):
            y = G.sin(y) * x
        forward, start = time.process_time() - start, time.process_time()
        (dx,) = gradient(y, [x])
        found[nodes], start = time.process_time() - start, time.process_time()
        Evaluator([y, dx])
        plan, each = time.process_time() - start, found[nodes] / nodes * 1e6
        print(f"| {nodes:,} | {forward:.2f} | {found[nodes]:.2f} | {each:.1f} | {plan:.2f} |", flush=True)
    return found


def memory(device: str) -> list[float]:
    """Peak bytes of loss and all gradients, ours over PyTorch's, for the same models and the same operators."""
    print("\n| model | ours, MiB | PyTorch eager, MiB | ratio |\n|---|---|---|---|")
    ratios = []
    for name, (ours, theirs) in {"perceptron": perceptrons(device), "GPT": gpts(device)}.items():
        mine, other = peak_bytes(ours), peak_bytes(theirs)
        ratios.append(mine / other)
        print(f"| {name} | {mine / 2**20:.1f} | {other / 2**20:.1f} | {mine / other:.2f} |", flush=True)
    return ratios


def perceptrons(device: str, layers: int = 6, width: int = 256, rows: int = 512):
    """Loss and gradients of an MLP, by ours and by PyTorch."""
    weights = [torch.randn(width, width, device=device) / 16 for _ in range(layers)]
    x, y = (torch.randn(rows, width, device=device) for _ in range(2))
    nodes = [G.variable(f"w{n}", (width, width)) for n in range(layers)]
    given = [G.variable(name, (rows, width)) for name in "xy"]
    loss = G.mean((perceptron(given[0], nodes) - given[1]) ** 2)
    run, feeds = Evaluator([loss, *gradient(loss, nodes)]), dict(zip([*nodes, *given], [*weights, x, y], strict=True))
    leaves = [w.clone().requires_grad_() for w in weights]

    def eager():
        h = x
        for w in leaves[:-1]:
            h = F.relu(h @ w)
        return torch.autograd.grad(F.mse_loss(h @ leaves[-1], y), leaves)

    return lambda: run(feeds), eager


def gpts(device: str):
    """Loss and gradients of a small GPT-2, by ours and by PyTorch with the same operators."""
    config, B = replace(gpt2(1000, context=128, d_model=128, n_layers=4, n_heads=4), activation="gelu"), 8
    T, C, D = config.context, config.d_model, config.d_model // config.n_heads
    tensors = {name: w.to(device) for name, w in gpt_weights(config).items()}
    w = variables(tensors)
    ids, targets = (G.variable(name, (B, T), torch.int64) for name in ("ids", "targets"))
    text = torch.randint(1000, (B, T + 1), device=device)
    loss = G.cross_entropy(gpt(ids, w, config), targets)
    run = Evaluator([loss, *gradient(loss, list(w.values()))])
    feeds = {ids: text[:, :-1], targets: text[:, 1:], **{w[name]: x for name, x in tensors.items()}}
    p = {name: x.clone().requires_grad_() for name, x in tensors.items()}
    seen = torch.ones(T, T, dtype=torch.bool, device=device).tril()

    def linear(x, name):
        return x @ p[f"{name}.weight"] + p[f"{name}.bias"]

    def norm(x, name):
        return F.layer_norm(x, (C,), p[f"{name}.scale"], p[f"{name}.shift"])

    def eager():
        x = F.embedding(text[:, :-1], p["tokens"]) + p["positions"]
        for n in range(config.n_layers):
            q, k, v = (
                part.reshape(B, T, config.n_heads, D).transpose(1, 2)
                for part in linear(norm(x, f"{n}.norm1"), f"{n}.qkv").split(C, -1)
            )
            scores = (q @ k.transpose(-1, -2) * D**-0.5).masked_fill(~seen, float("-inf"))
            mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C)
            x = x + linear(mixed, f"{n}.out")
            x = x + linear(F.gelu(linear(norm(x, f"{n}.norm2"), f"{n}.up")), f"{n}.down")
        logits = norm(x, "norm") @ p["tokens"].T
        right = F.cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten())
        return right, *torch.autograd.grad(right, list(p.values()))

    torch.testing.assert_close(run(feeds)[0], eager()[0].detach(), rtol=1e-4, atol=1e-4)
    return lambda: run(feeds), eager


def main() -> None:
    """Print the tables; fail where a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    device = parser.parse_args().device
    torch.set_num_threads(1)
    ratios, built, peaks = chain(device), building(), memory(device)
    assert max(ratios) <= 1.5, f"an operator takes {max(ratios):.2f} times PyTorch's time; at most 1.5 are allowed"
    assert built[100_000] <= 5.0, f"a gradient of 100,000 nodes took {built[100_000]:.1f} s; at most 5 are allowed"
    assert built[100_000] <= 25 * built[10_000], "building a gradient is not linear in the nodes"
    assert max(peaks) <= 1.0, f"peak memory is {max(peaks):.2f} times PyTorch's"


if __name__ == "__main__":
    main()

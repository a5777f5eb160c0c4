"""The parameter server on links that are really slow: each rank has a network namespace and a port of its own.

    python -m benchmarks.throttled sharding      # one server against several
    python -m benchmarks.throttled priority      # first in, first out against the layers' order
    python -m benchmarks.throttled compression   # seconds and bytes to a fixed loss; --plot FILE

Linux, as root: ``ip netns`` makes the namespaces, ``tc tbf`` shapes both ends of each rank's port, gloo carries the
messages. Where a schedule is measured, computing is sleep, since all ranks share a few cores. Prints Markdown.
"""

import argparse
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import torch
import torch.distributed as dist
import torch.nn.functional as F

from mlsys_course.parameter_server import (
    ErrorFeedback,
    all_compressors,
    bytes_sent,
    compressed_push_pull,
    epoch_shard,
    parameter_server_step,
    priority_schedule,
    shard_keys,
)
from mlsys_course.substrate.data import letter_windows
from mlsys_course.substrate.model_config import ModelConfig
from mlsys_course.substrate.ranks import Cluster, Communicator, Link, of_process_group, simulate
from mlsys_course.transformer import Decoder

HUB = "mlsys-hub"
MIB = 1 << 20


def call(*words: object) -> None:
    """A command that has to succeed."""
    subprocess.run([str(word) for word in words], check=True)


@contextlib.contextmanager
def network(ranks: int, megabits: float) -> Iterator[list[str]]:
    """Namespaces, one a rank, on a bridge; each rank's port lets so much through each way."""
    names = [f"mlsys-{rank}" for rank in range(ranks)]
    shape = ["root", "tbf", "rate", f"{megabits}mbit", "burst", "32kb", "limit", "4mb"]
    try:
        call("ip", "netns", "add", HUB)
        call("ip", "-n", HUB, "link", "add", "bridge", "type", "bridge")
        call("ip", "-n", HUB, "link", "set", "bridge", "up")
        for rank, name in enumerate(names):
            call("ip", "netns", "add", name)
            call("ip", "-n", HUB, "link", "add", name, "type", "veth", "peer", "name", "port", "netns", name)
            call("ip", "-n", HUB, "link", "set", name, "master", "bridge", "up")
            call("ip", "-n", name, "addr", "add", f"10.77.0.{rank + 1}/24", "dev", "port")
            for device in ("lo", "port"):
                call("ip", "-n", name, "link", "set", device, "up")
            call("tc", "-n", name, "qdisc", "add", "dev", "port", *shape)
            call("tc", "-n", HUB, "qdisc", "add", "dev", name, *shape)
        yield names
    finally:
        for name in (*names, HUB):
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def on_ranks(what: str, ranks: int, megabits: float, **options: object) -> dict:
    """What the last rank of so many finds."""
    with network(ranks, megabits) as names:
        world = {"MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
        world["TORCH_CPP_LOG_LEVEL"] = "ERROR"
        started = []
        for rank, name in enumerate(names):
            words = ["ip", "netns", "exec", name, sys.executable, "-m", "benchmarks.throttled", what]
            words += ["--as-rank", json.dumps(options)]
            environment = {**os.environ, **world, "RANK": str(rank), "GLOO_SOCKET_IFNAME": "port"}
            started.append(subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True))
        try:
            said = [process.communicate(timeout=300)[0] for process in started]
        finally:
            for process in started:
                process.kill()
    if any(process.returncode for process in started):
        raise SystemExit(f"{what}: a rank ended with {[process.returncode for process in started]}")
    return json.loads(said[-1].splitlines()[-1])


# Sharding.


def sharding_rank(comm: Communicator, servers: int, keys: int, entries: int, steps: int, apart: bool) -> dict:
    """Seconds a step of the last rank, a worker; with ``apart`` each worker begins at a server of its own."""
    owners = shard_keys({f"key {n}": entries for n in range(keys)}, servers)
    if apart and comm.rank >= servers:
        owners = dict(sorted(owners.items(), key=lambda item: (item[1] - comm.rank) % servers))
    own = {key: torch.zeros(entries) for key, owner in owners.items() if comm.rank in (owner, *range(servers, 99))}
    gradients = dict(own) if comm.rank >= servers else {}
    begun = time.perf_counter()
    for step in range(steps + 1):
        if step == 1:
            begun = time.perf_counter()
        parameter_server_step(own, gradients, owners, servers, comm, lambda key, x, gradient: None)
    return {"seconds": (time.perf_counter() - begun) / max(1, steps)}


def sharding(megabits: float = 100) -> None:
    """Four workers, eight keys of 1 MiB, on one, two and four servers."""
    rate = megabits * 1e6 / 8
    cluster = Cluster.flat(Link("throttled", 1e-3, rate), fair_share=True)
    print(f"\n4 workers, 8 keys of 1 MiB, ports of {megabits:g} Mb/s; seconds a step\n")
    print("| servers | keys in one order | each worker begins at another server | simulated | a server's port alone |")
    print("|---|---|---|---|---|")
    for servers in (1, 2, 4):
        given = {"servers": servers, "keys": 8, "steps": 3}
        found = [
            on_ranks("sharding", 4 + servers, megabits, **given, entries=MIB // 4, apart=apart)["seconds"]
            for apart in (False, True)
        ]
        step = partial(sharding_rank, servers=servers, keys=8, entries=4, steps=0, apart=True)
        simulated = simulate(step, 4 + servers, cluster, scale=MIB // 16).timeline.seconds
        least = 4 * 8 * MIB / servers / rate
        print(f"| {servers} | {found[0]:.2f} | {found[1]:.2f} | {simulated:.2f} | {least:.2f} each way |")


# The order of layers.


class Pushing:
    """A worker's side: slices go out by policy on one thread, and their means come in on another."""

    def __init__(self, layers: list[int], slice_entries: int, policy: str):
        self.layers, self.size, self.policy = layers, slice_entries, policy
        self.ready: list[tuple[int, int]] = []  # (layer, offset), waiting
        self.changed = threading.Condition()
        self.left: dict[int, int] = {}
        self.threads: list[threading.Thread] = []  # of the step

    def begin(self) -> None:
        """A step's gradients are about to come."""
        self.left = {n: -(-entries // self.size) for n, entries in enumerate(self.layers)}
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    def put(self, layer: int) -> None:
        """A layer's gradient is there."""
        with self.changed:
            self.ready += [(layer, at) for at in range(0, self.layers[layer], self.size)]
            self.changed.notify_all()

    def wait(self, layer: int) -> None:
        """Until a layer's new parameters are."""
        with self.changed:
            self.changed.wait_for(lambda: not self.left[layer])

    def _send(self) -> None:
        for _ in range(sum(self.left.values())):
            with self.changed:
                self.changed.wait_for(lambda: self.ready)
                key = min(self.ready) if self.policy == "priority" else self.ready[0]
                self.ready.remove(key)
            dist.send(torch.tensor(key), 0, tag=1)
            dist.send(torch.zeros(min(self.size, self.layers[key[0]] - key[1])), 0, tag=1)

    def _receive(self) -> None:
        for _ in range(sum(self.left.values())):
            key = torch.zeros(2, dtype=torch.int64)
            dist.recv(key, 0, tag=2)
            layer, at = map(int, key)
            dist.recv(torch.zeros(min(self.size, self.layers[layer] - at)), 0, tag=2)
            with self.changed:
                self.left[layer] -= 1
                self.changed.notify_all()


def serve(layers: list[int], slice_entries: int, steps: int, workers: int) -> None:
    """Add up slices as they come, and send each mean to all once everybody has pushed it."""
    slices = sum(-(-entries // slice_entries) for entries in layers) * steps
    arrived: dict[tuple[int, int], list[torch.Tensor]] = defaultdict(list)
    out = {worker: queue.Queue() for worker in range(1, workers + 1)}
    lock = threading.Lock()

    def take(worker: int) -> None:
        for _ in range(slices):
            key = torch.zeros(2, dtype=torch.int64)
            dist.recv(key, worker, tag=1)
            layer, at = map(int, key)
            x = torch.zeros(min(slice_entries, layers[layer] - at))
            dist.recv(x, worker, tag=1)
            with lock:
                arrived[layer, at].append(x)
                if len(arrived[layer, at]) == workers:
                    mean = sum(arrived.pop((layer, at))) / workers
                    for line in out.values():
                        line.put((key, mean))

    def give(worker: int) -> None:
        for _ in range(slices):
            for x in out[worker].get():
                dist.send(x, worker, tag=2)

    threads = [threading.Thread(target=work, args=(worker,)) for work in (take, give) for worker in out]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def priority_rank(
    comm: Communicator, layers: list[int], backward: float, forward: float, slice_entries: int, policy: str, steps: int
) -> dict:
    """Seconds a step: backward from the last layer, forward from the first; of the last rank."""
    if not comm.rank:
        serve(layers, slice_entries, steps, comm.world_size - 1)
        return {}
    pushing, seconds = Pushing(layers, slice_entries, policy), []
    for _ in range(steps):
        begun = time.perf_counter()
        pushing.begin()
        for layer in reversed(range(len(layers))):
            time.sleep(backward)
            pushing.put(layer)
        for layer in range(len(layers)):
            pushing.wait(layer)
            time.sleep(forward)
        for thread in pushing.threads:
            thread.join()
        seconds.append(time.perf_counter() - begun)
    return {"seconds": sorted(seconds[1:])[len(seconds[1:]) // 2]}


def priority(megabits: float = 400) -> None:
    """Two workers and a server; eight layers of 1 MiB, the first and the last as large as two, as embeddings are."""
    layers = [entries * MIB // 4 for entries in (2, 1, 1, 1, 1, 1, 1, 2)]
    backward, forward = 0.06, 0.03
    transfer = [2 * 2 * 4 * entries / (megabits * 1e6 / 8) for entries in layers]  # of both workers, both ways
    print(f"\n2 workers, 1 server, layers of 2, 6 x 1 and 2 MiB, ports of {megabits:g} Mb/s; a layer computes for")
    print(f"{backward:g} s backward, {forward:g} s forward (sleep); on paper: priority_schedule of pushes and pulls\n")
    print("| order | slices | seconds a step | of the first row | on paper | of the first row |")
    print("|---|---|---|---|---|---|")
    first = []
    for policy, slice_mib in (("fifo", None), ("fifo", 0.25), ("priority", None), ("priority", 0.25)):
        entries = max(layers) if slice_mib is None else int(slice_mib * MIB / 4)
        given = {"layers": layers, "backward": backward, "forward": forward}
        found = on_ranks("priority", 3, megabits, **given, slice_entries=entries, policy=policy, steps=6)["seconds"]
        seconds = float("inf") if slice_mib is None else 4 * slice_mib * MIB / (megabits * 1e6 / 8)
        paper = priority_schedule([backward] * 8, [forward] * 8, transfer, seconds, policy=policy).end
        first = first or [found, paper]
        size = "whole layers" if slice_mib is None else f"{slice_mib:g} MiB"
        print(f"| {policy} | {size} | {found:.3f} | {found / first[0]:.2f} | {paper:.3f} | {paper / first[1]:.2f} |")


# Compression.


def compression_rank(comm: Communicator, name: str, steps: int, rate: float) -> dict:
    """Losses, seconds and bytes by step; lab 8's model and text, larger."""
    torch.manual_seed(8)
    windows, alphabet = letter_windows(33)
    model = Decoder(ModelConfig(len(alphabet), 32, 96, 2, 4, 4, 24, 256))
    compressor = next(one for one in all_compressors() if one.name == name)
    feedback = ErrorFeedback(compressor, not compressor.unbiased)
    parameters = list(model.parameters())
    workers = comm.world_size - 1
    share = epoch_shard(len(windows), max(0, comm.rank - 1), workers, 0, 5, 0).split(8)
    draw = torch.Generator().manual_seed(comm.rank)
    losses, seconds, begun = [], [], time.perf_counter()
    gradient = torch.zeros(sum(p.numel() for p in parameters))
    for step in range(steps):
        if comm.rank:
            x = windows[share[step]]
            loss = F.cross_entropy(model(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)])
            losses.append(loss.item())
        mean = compressed_push_pull(gradient, comm, feedback, torch.rand(len(gradient), generator=draw))
        with torch.no_grad():
            for p, piece in zip(parameters, mean.split([p.numel() for p in parameters]), strict=True):
                p.sub_(rate * piece.view_as(p))
        seconds.append(time.perf_counter() - begun)
    sent = bytes_sent(compressor.encode(gradient, torch.rand(len(gradient), generator=draw)))
    return {"losses": losses, "seconds": seconds, "bytes": sent}


def compression(megabits: float = 50, plot: str = "") -> None:
    """Two workers and a server train; when the mean loss of ten steps falls below a bar."""
    steps, bar = 150, 2.4
    found = {}
    for compressor in all_compressors():
        found[compressor.name] = on_ranks("compression", 3, megabits, name=compressor.name, steps=steps, rate=0.2)
    print(f"\n2 workers, 1 server, ports of {megabits:g} Mb/s, {steps} steps; time to a mean loss of {bar}\n")
    print("| compressor | KB a push | seconds a step | seconds to the bar | MB pushed | last loss |")
    print("|---|---|---|---|---|---|")
    for name, run in found.items():
        losses = torch.tensor(run["losses"]).unfold(0, 10, 1).mean(1)
        below = (losses < bar).nonzero()
        at = int(below[0]) + 9 if len(below) else None
        when = f"{run['seconds'][at]:.1f} | {(at + 1) * run['bytes'] / 1e6:.1f}" if at is not None else "not | not"
        a_step = run["seconds"][-1] / steps
        print(f"| {name} | {run['bytes'] / 1e3:.1f} | {a_step:.3f} | {when} | {losses[-1]:.2f} |")
    if plot:
        _plot(found, plot)


def _plot(found: dict[str, dict], file: str) -> None:
    from mlsys_course.substrate.plot import figure

    fig, (left, right) = figure(2, width=5.4, height=4)
    for name, run in found.items():
        losses = torch.tensor(run["losses"]).unfold(0, 10, 10).mean(1)
        steps = range(10, len(run["losses"]) + 1, 10)
        left.plot([n * run["bytes"] / 1e6 for n in steps], losses.tolist(), label=name, markersize=4)
        right.plot([run["seconds"][n - 1] for n in steps], losses.tolist(), label=name, markersize=4)
    shown = (1.9, 3.6)  # random sparsification at this rate leaves the picture
    left.set(xlabel="megabytes pushed by a worker", ylabel="loss", xscale="log", ylim=shown)
    right.set(xlabel="seconds", xscale="log", ylim=shown)
    left.legend(fontsize=7)
    fig.savefig(file)


RANKS = {"sharding": sharding_rank, "priority": priority_rank, "compression": compression_rank}


def as_rank(what: str, options: dict) -> None:
    """One rank of a measurement, in its namespace."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    print(json.dumps(RANKS[what](of_process_group("cpu"), **options)), flush=True)
    dist.barrier()
    os._exit(0)  # gloo's own threads may still hold sockets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=RANKS)
    parser.add_argument("--megabits", type=float)
    parser.add_argument("--plot", default="")
    parser.add_argument("--as-rank", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.as_rank:
        as_rank(chosen.what, json.loads(chosen.as_rank))
        return
    given = {"megabits": chosen.megabits} if chosen.megabits else {}
    if chosen.what == "compression":
        compression(**given, plot=chosen.plot)
    else:
        {"sharding": sharding, "priority": priority}[chosen.what](**given)


if __name__ == "__main__":
    main()

"""The parameter server: simulated against real steps over gloo, and the simulator with ports that are shared fairly.

``python -m benchmarks.parameter_server simulator`` and ``... gloo``.
"""

import argparse
import resource
import time

import torch

from mlsys_course.all_reduce import fitted
from mlsys_course.parameter_server import parameter_server_step
from mlsys_course.substrate.ranks import ETHERNET, Cluster, Link, run, simulate

MIB = 1 << 20
REPEATS = 9


def step(comm, n_servers, entries, keys=1):
    """One synchronous step of ``keys`` keys of so many float32 entries each."""
    owners = {f"key {n}": n % n_servers for n in range(keys)}
    own = {key: torch.zeros(entries) for key, owner in owners.items() if comm.rank >= n_servers or comm.rank == owner}
    gradients = dict(own) if comm.rank >= n_servers else {}
    parameter_server_step(own, gradients, owners, n_servers, comm, lambda key, x, gradient: None)


def together(comm):
    """Every rank has come."""
    x = torch.zeros(1)
    if comm.rank:
        comm.send(x, 0)
        comm.recv(x, 0)
        return
    for other in range(1, comm.world_size):
        comm.recv(x, other)
    for other in range(1, comm.world_size):
        comm.send(x, other)


def median_seconds(call, comm):
    """Of a few calls, each begun together."""
    found = []
    for _ in range(REPEATS):
        together(comm)
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return sorted(found)[REPEATS // 2]


def back_and_forth(x, comm):
    """Between rank 0 and the last one."""
    last = comm.world_size - 1
    if comm.rank == 0:
        comm.send(x, last)
        comm.recv(x, last)
    elif comm.rank == last:
        comm.recv(x, 0)
        comm.send(x, 0)


def measure(comm, sizes):
    """Seconds of a message one way, and of a step, by size; of a worker."""
    tensors = [torch.zeros(size // 4) for size in sizes]
    messages = [median_seconds(lambda x=x: back_and_forth(x, comm), comm) / 2 for x in tensors]
    return messages, [median_seconds(lambda n=size // 4: step(comm, 1, n), comm) for size in sizes]


def gloo() -> None:
    """A step of one server and some workers, over what the simulator says with alpha and beta of messages."""
    sizes = [MIB, 4 * MIB, 16 * MIB]
    print("| workers | size | measured | simulated | ratio |\n|---|---|---|---|---|")
    for workers in (1, 3):
        messages, steps = run(measure, workers + 1, backend="gloo", args=(sizes,)).results[-1]
        alpha, beta = fitted([float(size) for size in sizes], messages)
        cluster = Cluster.flat(Link("gloo", alpha, 1 / beta), fair_share=True)
        for size, measured in zip(sizes, steps, strict=True):
            ours = simulate(step, workers + 1, cluster, args=(1, size // 4)).timeline.seconds
            print(
                f"| {workers} | {size // MIB} MiB | {1e3 * measured:.2f} | {1e3 * ours:.2f} | {ours / measured:.2f} |"
            )


def simulator() -> None:
    """Two steps with jitter, so that no two flows begin together."""
    print("| ranks | servers | keys | CPU-seconds | MiB |\n|---|---|---|---|---|")
    for ranks, servers in ((256, 1), (256, 16), (1024, 1)):
        cluster = Cluster.flat(ETHERNET, fair_share=True, jitter=0.1)
        begun = time.process_time()

        def two_steps(comm, servers=servers):
            for _ in range(2):
                comm.compute(1e-3)
                step(comm, servers, 4, servers)

        simulate(two_steps, ranks, cluster, scale=MIB // 16)
        seconds = time.process_time() - begun
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"| {ranks:,} | {servers} | {servers} | {seconds:.1f} | {peak:,} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["simulator", "gloo"])
    {"simulator": simulator, "gloo": gloo}[parser.parse_args().what]()

"""What several ranks stand on: starting, messages against bare ``torch.distributed``, and the simulator's predictions.

``python -m benchmarks.ranks``: seconds to start; a ring over metered messages against ``dist.all_reduce`` and against
the same calls unmetered, on gloo with 2 ranks; the simulator's speed, and its prediction against gloo after fitting
alpha and beta. Fails where a bound does not hold. ``--device cuda``: the same messages over NCCL on two cards.
"""

import argparse
import resource
import statistics
import time
from functools import partial

import torch
import torch.distributed as dist

from mlsys_course.all_reduce import ring_all_reduce, segmented_ring_all_reduce_
from mlsys_course.substrate.ranks import Cluster, Link, run, simulate

MiB = 2**20


def timed(comm, *functions, rounds):
    """Median seconds of each function on this rank, all ranks beginning together; taken in turns."""
    taken = [[] for _ in functions]
    for _ in range(rounds):
        for function, times in zip(functions, taken, strict=True):
            wait_for_card(comm)
            dist.barrier()
            wait_for_card(comm)
            start = time.perf_counter()
            function()
            wait_for_card(comm)
            times.append(time.perf_counter() - start)
    return [statistics.median(times[1:]) for times in taken]


def wait_for_card(comm):
    if comm.device.type == "cuda":
        torch.cuda.synchronize()


def metered_swap(comm, x, buffer):
    """Two ranks give each other a tensor."""
    sending, receiving = comm.isend(x, 1 - comm.rank), comm.irecv(buffer, 1 - comm.rank)
    receiving.wait()
    sending.wait()


def bare_swap(comm, x, buffer):
    """The same with torch.distributed."""
    operations = [dist.P2POp(dist.isend, x, 1 - comm.rank), dist.P2POp(dist.irecv, buffer, 1 - comm.rank)]
    for work in dist.batch_isend_irecv(operations):
        work.wait()


def ring(comm, x, segments):
    """All-reduce in place between two ranks; segments let one part travel while another is added."""
    other = 1 - comm.rank
    mine, theirs = x.tensor_split(2)[comm.rank], x.tensor_split(2)[other]
    parts = list(zip(theirs.tensor_split(segments), mine.tensor_split(segments), strict=True))
    buffers = [torch.empty_like(part) for _, part in parts]
    sent, receives, back = [], [], []
    for buffer, (out, _) in zip(buffers, parts, strict=True):
        sent.append(comm.isend(out, other))
        receives.append(comm.irecv(buffer, other))
        comm.flush()
    for handle, buffer, (out, part), sending in zip(receives, buffers, parts, sent, strict=True):
        handle.wait()
        part.add_(buffer)
        sending.wait()  # what comes back is written where it was sent from
        back += [comm.isend(part, other), comm.irecv(out, other)]
        comm.flush()
    for handle in back:
        handle.wait()


def measure(comm, sizes, segments, rounds):
    """By size: seconds of metered and bare swaps, of our ring and of all_reduce."""
    rows = []
    for size in sizes:
        x = torch.ones(size // 4, device=comm.device)
        buffer = torch.empty_like(x)
        calls = [partial(metered_swap, comm, x, buffer), partial(bare_swap, comm, x, buffer)]
        calls += [partial(ring, comm, x, segments(size)), partial(dist.all_reduce, x)]
        rows.append((size, timed(comm, *calls, rounds=rounds)))
        total = (torch.arange(101.0, device=comm.device) * (comm.rank + 1)).contiguous()
        ring(comm, total, 3)
        assert torch.equal(total, torch.arange(101.0, device=comm.device) * 3), "the ring's sums are wrong"
    return rows


def messages(backend, sizes, segments, rounds):
    """Print the table; ratios of our ring over all_reduce, by size."""
    rows = run(measure, 2, backend=backend, args=(sizes, segments, rounds), timeout=240).results[0]
    print(f"\n| {backend}, 2 ranks, MiB | swap metered, ms | bare, ms | ring metered, ms | all_reduce, ms | ratio |")
    print("|---|---|---|---|---|---|")
    for size, times in rows:
        cells = " | ".join(f"{1e3 * t:.3f}" for t in times)
        print(f"| {size / MiB:g} | {cells} | {times[2] / times[3]:.2f} |", flush=True)
    return {size: times[2] / times[3] for size, times in rows}


def ours(comm, entries):
    """The course's ring."""
    return ring_all_reduce(torch.full((entries,), comm.rank + 1.0), comm)


def simulator():
    """CPU-seconds of a ring on many simulated ranks, by their number."""
    print("\n| simulated ranks | messages | CPU-seconds | us a message | peak memory, MiB |\n|---|---|---|---|---|")
    found = {}
    for ranks in (64, 256, 1024):
        start = time.process_time()
        results, traffic, _ = simulate(ours, ranks, Cluster(), args=(ranks,), scale=2**20, timeout=600)
        found[ranks] = time.process_time() - start
        assert all(bool((result == ranks * (ranks + 1) / 2).all()) for result in results), "the sums are wrong"
        number, peak = len(traffic.messages), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"| {ranks:,} | {number:,} | {found[ranks]:.1f} | {found[ranks] / number * 1e6:.0f} | {peak:.0f} |",
            flush=True,
        )
    return found


def swaps_and_rings(comm, sizes, rounds):
    """By size: seconds of a swap between two ranks, and of the course's ring."""
    rows = []
    for size in sizes:
        x = torch.ones(size // 4)
        buffer = torch.empty_like(x)
        swap, ring = partial(metered_swap, comm, x, buffer), partial(segmented_ring_all_reduce_, x, comm)
        rows.append((size, *timed(comm, swap, ring, rounds=rounds)))
    return rows


def predictions():
    """Alpha and beta from swaps on gloo; the simulator's time of a ring with them against the measured one."""
    sizes = [2**n * 1024 for n in (4, 6, 8, 10, 12, 14)]
    rows = run(swaps_and_rings, 2, backend="gloo", args=(sizes, 15), timeout=240).results[0]
    # Relative errors count, so that small messages, which tell alpha, weigh as much as large ones.
    weights = torch.tensor([[1.0, size] for size in sizes], dtype=torch.float64)
    times = torch.tensor([swap for _, swap, _ in rows], dtype=torch.float64)
    alpha, beta = torch.linalg.lstsq(weights / times[:, None], torch.ones(len(sizes), 1, dtype=torch.float64))[
        0
    ].flatten()
    link = Link("gloo", max(0.0, float(alpha)), 1 / float(beta))
    print(f"\nalpha {link.latency * 1e6:.0f} us, 1/beta {link.bandwidth / 1e9:.2f} GB/s, from swaps of two ranks\n")
    print("| ring of 2, KiB | measured, ms | simulated, ms | ratio |\n|---|---|---|---|")
    ratios = []
    for size, _, measured in rows:
        predicted = simulate(ours, 2, Cluster.flat(link), args=(1024,), scale=size // 4096).timeline.seconds
        print(
            f"| {size // 1024:,} | {1e3 * measured:.2f} | {1e3 * predicted:.2f} | {predicted / measured:.2f} |",
            flush=True,
        )
        if size >= MiB:  # what a small ring takes is Python's and the scheduler's time
            ratios.append(predicted / measured)
    return ratios


def starting():
    """Seconds from calling run to its return, by ranks; the first call starts the fork server."""
    print("\n| ranks | seconds to start and end |\n|---|---|")
    found = {}
    for ranks in ("the first", 2, 4, 8):
        number = 2 if ranks == "the first" else ranks
        times = []
        for _ in range(1 if ranks == "the first" else 5):
            start = time.perf_counter()
            run(lambda comm: comm.rank, number, backend="gloo")
            times.append(time.perf_counter() - start)
        found[ranks] = statistics.median(times)
        print(f"| {ranks} | {found[ranks]:.2f} |", flush=True)
    return found


def gloo_segments(size):
    """One: on cores that the ranks share, adding while the next part travels gains nothing, and parts cost."""
    return 1


def nccl_segments(size):
    """Fewer, since a launch costs more than the time that a small part travels."""
    return max(1, min(8, size // (32 * MiB)))


def main():
    """Print the tables; fail where a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    if parser.parse_args().device == "cuda":
        ratios = messages("nccl", [2**n * MiB for n in (0, 2, 4, 6, 8, 10)], nccl_segments, rounds=20)
        share = {size: 1 / ratio for size, ratio in ratios.items()}
        print(f"\nshare of NCCL's bandwidth: {share[256 * MiB]:.2f} at 256 MiB, {share[1024 * MiB]:.2f} at 1 GiB")
        assert ratios[256 * MiB] <= 1 / 0.75, "less than 0.75 of NCCL's bandwidth at 256 MiB"
        return
    started = starting()
    ratios = messages("gloo", [2**n * 1024 for n in (6, 8, 10, 12, 14, 16)], gloo_segments, rounds=12)
    simulated, predicted = simulator(), predictions()
    assert started[4] <= 1.5, f"4 ranks took {started[4]:.2f} s to start"
    worst = max(ratio for size, ratio in ratios.items() if size >= 4 * MiB)
    assert worst <= 1.3, f"a ring over messages takes {worst:.2f} times all_reduce's time"
    assert simulated[256] <= 10 and simulated[1024] <= 60, "the simulator is too slow"
    assert max(max(predicted), 1 / min(predicted)) <= 2, "the simulator is wrong by more than a factor of 2"


if __name__ == "__main__":
    main()

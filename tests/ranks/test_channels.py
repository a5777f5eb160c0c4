"""Channels of one rank: messages of one never meet those of another, all are metered, and who is stuck is seen."""

import threading
import time

import pytest
import torch

from mlsys_course.all_reduce import DistributedDataParallel, ring_all_reduce
from mlsys_course.substrate.ranks import Deadlock, run, run_in_threads, simulate


def traffic_of(way, function, world_size):
    """Results and traffic of a function on one kind of ranks."""
    if way == "threads":
        return run_in_threads(function, world_size)
    found = run(function, world_size, backend="gloo") if way == "processes" else simulate(function, world_size)
    return found.results, found.traffic


def crossed(comm):
    """Sent on three channels, and received in another order; the same shape and dtype each time."""
    other, channels = 1 - comm.rank, [comm, comm.channel(), comm.channel().channel()]
    for number, channel in enumerate(channels):
        for turn in range(2):
            channel.send(torch.tensor([10 * number + turn + 100 * comm.rank]), other)
    found = [
        [int(channel.recv(torch.zeros(1, dtype=torch.int64), other)) for _ in range(2)] for channel in channels[::-1]
    ]
    handles = [channel.irecv(torch.zeros(1, dtype=torch.int64), other) for channel in channels]
    for number in (2, 0, 1):
        channels[number].isend(torch.tensor([number]), other).wait()
    return found, [int(handle.wait()) for handle in handles]


@pytest.mark.parametrize("way", ["threads", "processes", "simulated"])
def test_messages_stay_on_their_channel_and_are_metered(way):
    results, traffic = traffic_of(way, crossed, 2)
    for rank, (found, later) in enumerate(results):
        start = 100 * (1 - rank)
        assert found == [[start + 20, start + 21], [start + 10, start + 11], [start, start + 1]] and later == [0, 1, 2]
    assert traffic.messages_sent == [9, 9] and traffic.bytes_sent == [72, 72]


def at_once(comm):
    """A ring on each of four channels, each on a thread of its own, with data of its own."""
    channels = [comm, *(comm.channel() for _ in range(3))]
    found = [None] * 4

    def ring(number):
        for turn in range(25):
            x = torch.arange(7.0) * (number + 1) + comm.rank + turn
            found[number] = ring_all_reduce(x, channels[number]) - comm.world_size * turn

    threads = [threading.Thread(target=ring, args=(number,)) for number in range(4)]
    comm.working(3)  # four go on, and the rank's own waits
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return torch.stack(found)


@pytest.mark.parametrize("way", ["threads", "processes"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_collectives_run_at_once_on_threads_of_their_own(way, world_size):
    want = torch.stack([torch.arange(7.0) * (n + 1) * world_size for n in range(4)]) + sum(range(world_size))
    for found in traffic_of(way, at_once, world_size)[0]:
        torch.testing.assert_close(found, want)


@pytest.mark.parametrize("way", ["threads", "processes", "simulated"])
def test_a_message_on_another_channel_does_not_end_a_wait(way):
    def work(comm):
        channel = comm.channel()
        if comm.rank == 0:
            channel.send(torch.ones(1), 1)
            return comm.recv(torch.zeros(1), 1)
        return comm.recv(torch.zeros(1), 0)

    with pytest.raises(Deadlock, match=r"waits in recv from [01], which waits in recv from [01]"):
        traffic_of(way, work, 2)


def test_a_rank_whose_other_thread_goes_on_is_not_stuck():
    """Rank 1 waits for what rank 0 sends later, while rank 0's buckets wait for rank 1's."""

    def work(comm):
        model = torch.nn.Linear(2, 2)
        replica = DistributedDataParallel(model, comm)
        if comm.rank == 0:
            model(torch.ones(1, 2)).sum().backward()  # its bucket is under way now
            time.sleep(0.5)
            comm.send(torch.ones(1), 1)
        else:
            comm.recv(torch.ones(1), 0)
            model(torch.ones(1, 2)).sum().backward()
        replica.finish()
        return model.weight.grad.tolist()

    assert run_in_threads(work, 2)[0] == [[[1.0, 1.0]] * 2] * 2


def as_on_cards(comm):
    """NCCL's communicator, whose messages begin together at a wait, over gloo: each channel is a process group."""
    from mlsys_course.substrate.ranks.processes.nccl import NcclCommunicator

    card = NcclCommunicator(comm.rank, comm.world_size, comm.device, comm.ledger, str)
    channels, other = [card, card.channel(), card.channel()], 1 - comm.rank
    handles = []
    for number in (0, 1, 2) if comm.rank else (2, 0, 1):  # no order among channels
        channels[number].isend(torch.tensor([float(number + 10 * comm.rank)]), other)
        handles.append((number, channels[number].irecv(torch.zeros(1), other)))
        channels[number].flush()
    found = {number: float(handle.wait()) for number, handle in handles}
    channels[2].isend(torch.ones(1), other), channels[2].irecv(torch.zeros(1), other)
    card.finish()  # never waited for, and through all the same
    return [found[number] for number in range(3)], [one._next.operations for one in channels]


def test_a_channel_on_cards_has_a_process_group_of_its_own():
    results, traffic = traffic_of("processes", as_on_cards, 2)
    assert results == [([10.0, 11.0, 12.0], [[], [], []]), ([0.0, 1.0, 2.0], [[], [], []])]
    assert traffic.messages_sent == [4, 4]

"""Messages between ranks: order, copies, errors, counting, and runs that cannot end well."""

import threading
import time

import pytest
import torch

from mlsys_course.substrate.errors import CourseProblem
from mlsys_course.substrate.ranks import Deadlock, Message, RankRaised, RanksLate, run_in_threads


def neighbours(comm):
    return (comm.rank + 1) % comm.world_size, (comm.rank - 1) % comm.world_size


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_every_rank_is_called_once_with_its_number(world_size):
    results, traffic = run_in_threads(lambda comm: (comm.rank, comm.world_size), world_size)
    assert results == [(rank, world_size) for rank in range(world_size)]
    assert not traffic.messages and not any(traffic.costs.values())


def test_messages_keep_their_order_and_are_copies():
    def function(comm):
        tensor = torch.zeros(2)
        if comm.rank == 0:
            for n in range(5):
                comm.send(tensor.fill_(n), 1)
            return None
        return [comm.recv(tensor, 0).clone().tolist() for _ in range(5)]

    assert run_in_threads(function, 2)[0][1] == [[n, n] for n in map(float, range(5))]


def test_receives_get_messages_in_the_order_they_were_asked_for():
    def function(comm):
        if comm.rank == 0:
            handles = [comm.isend(torch.tensor([n]), 1) for n in range(3)]
            return [handle.wait() for handle in handles]
        handles = [comm.irecv(torch.tensor([-1]), 0) for _ in range(3)]
        return [handles[n].wait().item() for n in (2, 0, 1, 1)]

    assert run_in_threads(function, 2)[0][1] == [2, 0, 1, 1]


def test_a_receive_fills_the_buffer_itself_also_a_view():
    def function(comm):
        whole = torch.zeros(2, 3)
        right, left = neighbours(comm)
        comm.send(torch.full((2,), comm.rank + 1.0, requires_grad=True), right)
        column = whole[:, 1]
        assert comm.recv(column, left) is column
        return whole.tolist()

    results, _ = run_in_threads(function, 2)
    assert results[0] == [[0, 2, 0], [0, 2, 0]]


def test_what_the_simulator_and_cards_need_does_nothing_here():
    def function(comm):
        start = comm.now()
        with comm.span("exchange"):
            comm.compute(1000.0, flops=1e20)
            comm.flush()
        return comm.now() - start, comm.tag, comm.device

    for seconds, tag, device in run_in_threads(function, 2)[0]:
        assert 0 <= seconds < 5 and tag == "" and device == torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.bool, torch.complex64, torch.int8])
def test_bytes_are_counted_by_rank(dtype):
    def function(comm):
        if comm.rank == 0:
            comm.send(torch.zeros(3, 5, dtype=dtype), 1)
            comm.send(torch.zeros((), dtype=dtype), 2)
        elif comm.rank == 1:
            comm.send(comm.recv(torch.zeros(3, 5, dtype=dtype), 0)[:2], 2)
        else:
            comm.recv(torch.zeros((), dtype=dtype), 0)

    _, traffic = run_in_threads(function, 3)
    size = dtype.itemsize
    assert traffic.messages == [Message(0, 1, 15 * size), Message(0, 2, size), Message(1, 2, 10 * size)]
    assert (traffic.bytes_sent, traffic.messages_sent) == ([16 * size, 10 * size, 0], [2, 1, 0])
    assert traffic.bytes_received == [0, 15 * size, 11 * size]
    sums = {"rank_bytes": 16 * size, "rank_messages": 2, "total_bytes": 26 * size}
    assert traffic.costs == {**sums, "off_ring_bytes": size}  # from 0 to 2 it is no step round the ring


def test_an_empty_tensor_costs_nothing_but_its_shape_may_not_carry_numbers():
    def function(comm):
        if comm.rank == 0:
            comm.send(torch.zeros(0), 1)
            comm.send(torch.zeros(0, 1234, 5678), 1)

    assert run_in_threads(function, 2)[1].bytes_sent == [16, 0]


@pytest.mark.parametrize(
    "misuse, words",
    [
        (lambda comm: comm.send(torch.ones(1), 3), "rank 0 cannot send to 3; ranks are 0 to 2"),
        (lambda comm: comm.send(torch.ones(1), -1), "cannot send to -1"),
        (lambda comm: comm.send(torch.ones(1), True), "cannot send to True"),
        (lambda comm: comm.send(torch.ones(1), 0), "cannot send to itself"),
        (lambda comm: comm.recv(torch.ones(1), 0), "cannot receive from itself"),
        (lambda comm: comm.recv(torch.ones(1), "1"), "cannot receive from '1'"),
        (lambda comm: comm.send([1.0], 1), "messages are tensors"),
        (lambda comm: comm.recv(torch.ones(2), 1), r"float32 of shape \(3,\) from rank 1.*float32 of shape \(2,\)"),
        (lambda comm: comm.recv(torch.ones(3).half(), 1), "buffer is for float16"),
    ],
)
def test_misuse_says_what_is_wrong_and_on_which_rank(misuse, words):
    def function(comm):
        if comm.rank:
            comm.send(torch.ones(3), 0)
        else:
            misuse(comm)

    with pytest.raises(RankRaised, match="rank 0 raised (Value|Type)Error: .*" + words):
        run_in_threads(function, 3)


def test_the_first_rank_that_raises_is_the_one_told_of():
    def function(comm):
        if comm.rank in (1, 2):
            raise KeyError(comm.rank)
        comm.recv(torch.ones(1), 2)

    with pytest.raises(RankRaised, match="rank 1 raised KeyError") as caught:
        run_in_threads(function, 4)
    assert isinstance(caught.value.__cause__, KeyError) and isinstance(caught.value, CourseProblem)


@pytest.mark.parametrize(
    "source, words",
    [
        (lambda comm: (comm.rank + 1) % 3, "rank 0 waits in recv from 1, which waits in recv from 2"),
        (lambda comm: comm.rank - 1 if comm.rank else None, "rank 1 waits in recv from 0, which has returned"),
        (lambda comm: 0 if comm.rank == 2 else None, "rank 2 waits in recv from 0, which has returned"),
    ],
)
def test_a_deadlock_is_told_at_once_in_the_same_words_each_time(source, words):
    def function(comm):
        time.sleep(0.02 * ((7 * comm.rank) % 3))
        comm.send(torch.ones(1), (comm.rank + 2) % 3)
        if (wanted := source(comm)) is not None:
            comm.recv(torch.ones(1), wanted)
            comm.recv(torch.ones(1), wanted)

    for _ in range(3):
        start = time.monotonic()
        with pytest.raises(Deadlock) as caught:
            run_in_threads(function, 3)
        assert str(caught.value) == words
        assert time.monotonic() - start < 2


def test_a_rank_that_swallows_its_release_changes_nothing():
    def function(comm):
        try:
            comm.recv(torch.ones(1), 1 - comm.rank)
        except Exception:
            return "fine"

    with pytest.raises(Deadlock):
        run_in_threads(function, 2)


def test_a_rank_that_hangs_is_left_behind_and_the_others_are_released():
    gate = threading.Event()

    def function(comm):
        gate.wait() if comm.rank == 2 else comm.recv(torch.ones(1), 2)

    start = time.monotonic()
    with pytest.raises(RanksLate, match="rank 2 did not finish; rank 0 waits in recv from 2"):
        run_in_threads(function, 3, seconds=0.3)
    assert time.monotonic() - start < 2
    time.sleep(0.2)
    assert sorted(t.name for t in threading.enumerate() if t.name.startswith("rank ")) == ["rank 2"]
    gate.set()


def test_there_is_at_least_one_rank():
    with pytest.raises(ValueError, match="world_size=0"):
        run_in_threads(lambda comm: None, 0)

"""Lab 9's hints are true of who gets them: mistakes that were told another's hint, as students write them."""

import pytest
import torch

from mlsys_course import all_reduce as A
from mlsys_course.desk.check.verdict_table import to_text

from .right_answers import CountingReplica, average_in_place
from .test_lab09_cases import ITEMS
from .test_lab09_cases import verdict as sealed_verdict
from .test_lab09_words import verdict


def ring(first_to: int = 1, second_receives_first: bool = False, x_itself: bool = False):
    """A ring whose first half sends to the rank so many places away."""

    def ring_all_reduce(x, comm):
        size, right, left = comm.world_size, (comm.rank + 1) % comm.world_size, (comm.rank - 1) % comm.world_size
        if size == 1 and x_itself:
            return x
        total = x.clone()
        chunks = total.tensor_split(size)
        for step in range(size - 1):
            comm.send(chunks[(comm.rank - step) % size], (comm.rank + first_to) % size)
            mine = chunks[(comm.rank - step - 1) % size]
            mine += comm.recv(torch.empty_like(mine), left)
        for step in range(size - 1):
            if second_receives_first:
                comm.recv(chunks[(comm.rank - step) % size], left)
            comm.send(chunks[(comm.rank + 1 - step) % size], right)
            if not second_receives_first:
                comm.recv(chunks[(comm.rank - step) % size], left)
        return total

    return ring_all_reduce


def chunk_after_chunk(x, comm):
    """Right sums and traffic, and only one chunk under way at a time."""
    size, total = comm.world_size, x.clone()
    for number, chunk in enumerate(total.tensor_split(size)):
        place = (comm.rank - number) % size
        for half in (0, 1):
            if place if half == 0 else place < size - 1:
                arrived = comm.recv(torch.empty_like(chunk), (comm.rank - 1) % size)
                chunk.copy_(arrived if half else chunk + arrived)
            if size > 1 and (half == 0 or place < size - 2):
                comm.send(chunk, (comm.rank + 1) % size)
    return total


def step(steps: int = 1, idle: bool = False, divide_by_ranks: bool = False):
    """A step with one thing wrong."""

    def data_parallel_step(model, optimizer, loss, examples, comm, all_reduce):
        optimizer.zero_grad()
        count = len(examples)
        if count:
            loss(model, examples).backward()
        total = comm.world_size if divide_by_ranks else all_reduce(torch.tensor([float(count)]), comm).item()
        for p in model.parameters():
            if p.requires_grad:
                own = torch.zeros_like(p.data) if p.grad is None else p.grad * count
                p.grad = all_reduce(own, comm) / total
        for _ in range(steps if count or not idle else 0):
            optimizer.step()

    return data_parallel_step


def twice_between_nodes(x, comm, node_size):
    total = A.hierarchical_all_reduce(x, comm, node_size)
    return A.ring_all_reduce(total, A.Group(comm, range(comm.rank % node_size, comm.world_size, node_size)))


def average_by(count):
    def average_bucket(parameters, comm, all_reduce):
        average_in_place(parameters, comm, all_reduce)
        for p in parameters:
            p.grad *= comm.world_size / count(parameters, comm)

    return average_bucket


class WaitsBeforeTheNext(CountingReplica):
    def leave(self):
        for handle in self.sent:
            handle.wait()
        super().leave()


class FromTheLast(CountingReplica):
    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        super().__init__(model, comm, buckets[::-1], broadcast, start_all_reduce)


def forgets_the_link(backward, reduce, buckets):
    done, now = [0.0] * len(backward), 0.0
    for layer in reversed(range(len(backward))):
        now += backward[layer]
        done[layer] = now
    spans = []
    for n, bucket in enumerate(buckets):
        start = max(done[layer] for layer in bucket)
        if n == 1:
            start = max(start, spans[0][1])
        spans.append((start, start + reduce[n]))
    end = max([now, *(stop for _, stop in spans)])
    return spans, end, now / end


TOLD = [
    ("ring_all_reduce", "sends_to_the_left", ring(first_to=-1)),
    ("ring_all_reduce", "receives_first", ring(second_receives_first=True)),
    ("ring_all_reduce", "returns_x_itself_when_alone", ring(x_itself=True)),
    ("data_parallel_step", "steps twice", step(steps=2)),
    ("data_parallel_step", "who has no examples does not step", step(idle=True)),
    ("data_parallel_step", "a sum over examples by the number of ranks", step(divide_by_ranks=True)),
    ("hierarchical_all_reduce", "twice between nodes", twice_between_nodes),
    ("average_bucket", "divided by the others", average_by(lambda parameters, comm: max(1, comm.world_size - 1))),
    ("average_bucket", "divided by the parameters", average_by(lambda parameters, comm: len(parameters))),
    ("DataParallel", "waits before the next one leaves", WaitsBeforeTheNext),
    ("DataParallel", "from the last bucket on", FromTheLast),
    ("overlap_schedule", "only the second waits", forgets_the_link),
]


@pytest.mark.parametrize("judged", [verdict, sealed_verdict], ids=["public", "sealed"])
@pytest.mark.parametrize(("exercise", "mistake", "candidate"), TOLD, ids=[mistake for _, mistake, _ in TOLD])
def test_a_mistake_gets_its_own_hint_and_no_other(exercise, mistake, candidate, judged):
    found = judged(exercise, candidate)
    assert found.score < found.max_score
    assert found.misconceptions == [mistake], [(r.case, r.wrong) for r in found.results if not r.ok]


def test_the_right_ones_of_these_are_right():
    for exercise, candidate in [("ring_all_reduce", ring()), ("data_parallel_step", step())]:
        assert sealed_verdict(exercise, candidate).ok


def test_a_ring_on_which_one_chunk_travels_at_a_time_loses_its_traffic_alone():
    found = sealed_verdict("ring_all_reduce", chunk_after_chunk)
    assert {r.aspect for r in found.results if not r.ok} == {"traffic"}
    assert "steps" in to_text(found, sealed=True)


def test_a_gradient_that_is_not_there_is_said_to_be_missing_and_no_return():
    def left_as_none(parameters, comm, all_reduce):
        absent = [p for p in parameters if p.grad is None]
        average_in_place(parameters, comm, all_reduce)
        for p in absent:
            p.grad = None

    text = to_text(verdict("average_bucket", left_as_none))
    assert "without a gradient on rank 1 has another value: found 'parameters 0', expected 'none'" in text
    assert "`return`" not in text


# ---- kinds of cases --------------------------------------------------------------------------------------------------


def kept(call):
    """Results lie in memory that is kept for the next call of that size."""
    memory: dict = {}

    def again(x, comm, *rest):
        place = memory.setdefault((comm.rank, comm.world_size, x.shape, x.dtype), torch.empty_like(x))
        return place.copy_(call(x, comm, *rest))

    return again


COLLECTIVES = ["ring_all_reduce", "halving_doubling_all_reduce", "hierarchical_all_reduce"]


@pytest.mark.parametrize("exercise", COLLECTIVES)
def test_results_of_earlier_calls_stay(exercise):
    assert not sealed_verdict(exercise, kept(ITEMS[exercise].reference)).ok


@pytest.mark.parametrize("exercise", [*COLLECTIVES, "broadcast", "barrier"])
def test_worlds_of_more_than_eight_ranks_are_asked_for(exercise):
    right = ITEMS[exercise].reference

    def up_to_eight(*given):
        comm = next(one for one in given if hasattr(one, "world_size"))
        if comm.world_size <= 8:
            return right(*given)
        return given[0].clone() if isinstance(given[0], torch.Tensor) else None

    found = sealed_verdict(exercise, up_to_eight)
    assert len({r.case for r in found.results if not r.ok}) in (1, 2)

"""What lab 9's checks say of answers that students give: right ones pass, and wrong ones are told what is wrong."""

import functools

import pytest
import torch

from autograder.cases import specification
from autograder.draw import Draw
from mlsys_course.desk.check.compare import compare
from mlsys_course.desk.check.verdict_table import to_text

from .right_answers import CountingReplica
from .test_lab09_cases import ITEMS, LAB
from .test_lab09_cases import verdict as sealed_verdict


@functools.cache
def public(exercise: str):
    """What a student's notebook has."""
    item = ITEMS[exercise]
    return specification(LAB, item, [g for g in item.cases(Draw(b"words", exercise)) if g.public])


def verdict(exercise: str, candidate):
    """On public cases, with ranks as threads."""
    return LAB.judged(exercise, candidate, public(exercise))


def broadcast_by_halves(x, comm, root):
    """A tree whose root does not send in every step: of five ranks none sends more than two messages."""
    place, low, high = (comm.rank - root) % comm.world_size, 0, comm.world_size
    while high - low > 1:
        middle = (low + high) // 2
        if place == low:
            comm.send(x, (root + middle) % comm.world_size)
        elif place == middle:
            comm.recv(x, (root + low) % comm.world_size)
        low, high = (low, middle) if place < middle else (middle, high)
    return x


def test_a_tree_whose_busiest_rank_sends_less_is_right():
    for found in (verdict("broadcast", broadcast_by_halves), sealed_verdict("broadcast", broadcast_by_halves)):
        assert found.ok, [(r.case, r.wrong) for r in found.results if not r.ok]


def average_by_view(parameters, comm, all_reduce):
    rows = [torch.zeros(p.numel(), dtype=p.dtype) if p.grad is None else p.grad.view(-1) for p in parameters]
    mean = all_reduce(torch.cat(rows), comm) / comm.world_size
    for p, piece in zip(parameters, mean.split([len(row) for row in rows]), strict=True):
        p.grad = piece.view(p.shape)


def barrier_of_pairs(comm):
    distance = 1
    while distance < comm.world_size:
        partner = comm.rank ^ distance
        if partner < comm.world_size:
            comm.isend(torch.ones(2), partner)
            comm.recv(torch.ones(2), partner)
        distance *= 2


def ring_by_chunk(x, comm):
    chunks = [chunk.clone() for chunk in torch.chunk(x, comm.world_size)]
    for step in range(2 * (comm.world_size - 1)):
        comm.isend(chunks[(comm.rank - step) % comm.world_size], (comm.rank + 1) % comm.world_size)
        old = chunks[(comm.rank - step - 1) % comm.world_size]
        new = comm.recv(torch.zeros_like(old), (comm.rank - 1) % comm.world_size)
        chunks[(comm.rank - step - 1) % comm.world_size] = old + new if step < comm.world_size - 1 else new
    return torch.cat(chunks)


class Saved(CountingReplica):
    """Broadcasts what state_dict names."""

    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        super().__init__(model, comm, buckets, lambda tensor, comm: None, start_all_reduce)
        for tensor in model.state_dict().values():
            broadcast(tensor, comm)


class OneIf(CountingReplica):
    def ready(self, n):
        if not self.quiet:
            self.left[n] -= 1
            if len(self.sent) < len(self.buckets) and self.left[len(self.sent)] == 0:
                self.leave()


class AnyGradient(CountingReplica):
    def ready(self, n):
        while not self.quiet and len(self.sent) < len(self.buckets):
            if any(p.grad is None for p in self.buckets[len(self.sent)]):
                break
            self.leave()


class BareGenerator(CountingReplica):
    def no_sync(self):
        self.quiet += 1
        yield
        self.quiet -= 1


TOLD = {
    ("broadcast", "returns a copy"): (lambda *a: broadcast_by_halves(*a).clone(), {"values", "root"}),
    ("average_bucket", "view of any strides"): (average_by_view, {"mean"}),
    ("barrier", "exclusive or"): (barrier_of_pairs, {"waits"}),
    ("ring_all_reduce", "too_few_chunks"): (ring_by_chunk, {"uneven"}),
    ("DataParallel", "what is not saved stays"): (Saved, {"start"}),
    ("DataParallel", "one bucket at a time"): (OneIf, {"overlap"}),
    ("DataParallel", "ready if there"): (AnyGradient, {"no_sync"}),
    ("DataParallel", "no_sync is a generator"): (BareGenerator, {"no_sync"}),
}


@pytest.mark.parametrize(("exercise", "mistake"), TOLD)
def test_a_students_mistake_is_named(exercise, mistake):
    candidate, lost = TOLD[exercise, mistake]
    found = verdict(exercise, candidate)
    assert {r.aspect for r in found.results if not r.ok} == lost
    assert found.misconceptions[0] == mistake


def test_the_order_of_events_is_shown_on_public_cases_and_on_no_sealed_one():
    """Found beside expected, which is what the exercise is about."""

    class NothingEarly(CountingReplica):
        def ready(self, n):
            pass

    found = verdict("DataParallel", NothingEarly)
    first = "order in step 1 on rank 0 has another value: found 'grad 3, grad 2, grad 1, grad 0'"
    assert f"{first}, expected 'grad 3, grad 2, send 8, grad 1, grad 0, send 8'" in to_text(found)
    assert "send 8" not in to_text(found, sealed=True)


def test_a_long_text_of_a_candidate_is_not_shown():
    (leaf,) = compare({"order": "x" * 91}, {"order": "y"}, 1e-9)
    assert not leaf.ok and leaf.values == ""

"""Lab 9's exercises on sealed cases: right functions of any style pass, broken ones lose points."""

import contextlib

import pytest
import torch

from mlsys_course import all_reduce as A
from mlsys_course.substrate.ranks import run_in_threads
from tests.labs import TermLab

from .models import Normalized, Training, loss_of, one_process, state
from .right_answers import RIGHT, CountingReplica, average_in_place, buckets_by_recursion, seconds_by_steps
from .test_data_parallel import assert_same

LAB = TermLab("lab09_all_reduce")
ITEMS, verdict = LAB.items, LAB.verdict


@pytest.mark.parametrize("exercise, candidate", RIGHT)
def test_a_right_answer_of_another_style_scores_full_marks(exercise, candidate):
    found = verdict(exercise, candidate)
    assert found.ok, [(r.case, r.wrong) for r in found.results if not r.ok]


# ---- what sealed checks must fail, by the reason that they give ------------------------------------------------------

BROKEN = {
    ("data_parallel_step", "weights are averaged, not gradients"): {"optimizer", "uneven"},
    ("DataParallel", "no broadcast"): {"start"},
    ("DataParallel", "a sum for the mean"): {"gradients", "unused", "no_sync"},
    ("DataParallel", "one message a parameter"): {"overlap", "unused", "no_sync"},
    ("DataParallel", "everything at the end"): {"overlap", "no_sync"},
    ("DataParallel", "no_sync sends"): {"no_sync"},
    ("ring_all_reduce", "gather_then_broadcast"): {"traffic"},
    ("ring_all_reduce", "drops_the_remainder"): {"uneven"},
    ("ring_all_reduce", "receives_first"): {"sum", "uneven", "traffic"},
    ("make_buckets", "forward order"): {"buckets", "edges"},
}


@pytest.mark.parametrize(("exercise", "mistake"), BROKEN)
def test_a_known_mistake_fails_for_its_reason(exercise, mistake):
    candidate = next(m.candidate for m in ITEMS[exercise].misconceptions if m.name == mistake)
    found = verdict(exercise, candidate)
    assert {r.aspect for r in found.results if not r.ok} == BROKEN[exercise, mistake]
    assert found.misconceptions[0] == mistake


# ---- others, beyond the misconceptions -------------------------------------------------------------------------------


def replica(**changes):
    """A right DataParallel with methods exchanged."""
    return type("Broken", (CountingReplica,), changes)


def finishes_inside(self):
    """Each pass of no_sync is sent and averaged at once: the same gradients, twice the messages."""

    @contextlib.contextmanager
    def inside():
        yield
        self.finish()

    return inside()


def reset_keeps_counts(self):
    self.left = getattr(self, "left", [len(bucket) for bucket in self.buckets])
    self.sent = []


def own_gradients(self):
    CountingReplica.finish(self)
    if self.comm.rank:
        for bucket in self.buckets:
            for p in bucket:
                p.grad = p.grad * 2


def sends_zeros_for_none_only_on_rank_0(self):
    if self.comm.rank == 0 or all(n == 0 for n in self.left):
        return CountingReplica.finish(self)
    self.reset()
    return None


def first_bucket_last(self, n):
    """Everything but the first bucket overlaps."""
    if not self.quiet:
        self.left[n] -= 1


def last_chunk_wrong(x, comm):
    total = A.ring_all_reduce(x, comm)
    if len(x) % comm.world_size and len(x) > comm.world_size:
        total[-1] = x[-1] * comm.world_size
    return total


def double_for_bfloat16(x, comm):
    return A.ring_all_reduce(x.double(), comm).to(x.dtype)


def both_ways(x, comm):
    """Half of the tensor round to the left."""
    half = len(x) // 2
    mirrored = A.Group(comm, list(range(comm.world_size))[::-1])
    return torch.cat([A.ring_all_reduce(x[:half], comm), A.ring_all_reduce(x[half:], mirrored)])


def entry_by_entry(x, comm):
    return torch.cat([A.ring_all_reduce(part, comm) for part in x.split(max(1, len(x) // 2))] or [x.clone()])


def barrier_with_rounds(comm, rounds=1):
    for _ in range(rounds):
        A.all_to_all([torch.zeros(1) for _ in range(comm.world_size)], comm)


def broadcast_twice(x, comm, root):
    return A.broadcast(A.broadcast(x, comm, root), comm, root)


def starts_with_an_empty_one(sizes, bucket_bytes):
    first = [[]] if sizes and sizes[-1] > bucket_bytes else []
    return first + buckets_by_recursion(sizes, bucket_bytes)


def leaves_zeros_out(sizes, bucket_bytes):
    return [[k for k in bucket if sizes[k]] for bucket in buckets_by_recursion(sizes, bucket_bytes)]


def forgets_the_others(parameters, comm, all_reduce):
    average_in_place(parameters, comm, lambda x, comm: all_reduce(x, comm) * 0 + x)


def schedule_with(change):
    """The right schedule, changed."""
    return lambda *given: change(*ITEMS["overlap_schedule"].reference(*given))


def no_chunk_of_its_own(chunks, comm):
    return [x * (rank != comm.rank) for rank, x in enumerate(A.all_to_all(chunks, comm))]


def without_hierarchy(x, comm, node_size):
    return A.ring_all_reduce(x, comm) if node_size < comm.world_size else x * node_size


MUTANTS = {
    "ring: another last chunk": ("ring_all_reduce", last_chunk_wrong),
    "ring: bytes of float64": ("ring_all_reduce", double_for_bfloat16),
    "ring: both ways round": ("ring_all_reduce", both_ways),
    "ring: twice as many messages": ("ring_all_reduce", entry_by_entry),
    "broadcast: twice": ("broadcast", broadcast_twice),
    "broadcast: returns nothing": ("broadcast", lambda x, comm, root: A.broadcast(x, comm, root) and None),
    "broadcast: float32": ("broadcast", lambda x, comm, root: x.copy_(A.broadcast(x.float(), comm, root))),
    "seconds: a rank too many": ("all_reduce_seconds", lambda a, n, p, *link: seconds_by_steps(a, n, p + 1, *link)),
    "seconds: no latency": ("all_reduce_seconds", lambda a, n, p, alpha, beta: seconds_by_steps(a, n, p, 0.0, beta)),
    "seconds: bits": ("all_reduce_seconds", lambda a, n, p, alpha, beta: seconds_by_steps(a, 8 * n, p, alpha, beta)),
    "buckets: in order inside": ("make_buckets", lambda s, b: [sorted(k) for k in buckets_by_recursion(s, b)]),
    "buckets: empty first": ("make_buckets", starts_with_an_empty_one),
    "buckets: zeros left out": ("make_buckets", leaves_zeros_out),
    "average: of one rank": ("average_bucket", forgets_the_others),
    "replica: no_sync averages each pass": ("DataParallel", replica(no_sync=finishes_inside)),
    "replica: the second step never leaves early": ("DataParallel", replica(reset=reset_keeps_counts)),
    "replica: rank 1 scales": ("DataParallel", replica(finish=own_gradients)),
    "replica: only rank 0 sends the rest": ("DataParallel", replica(finish=sends_zeros_for_none_only_on_rank_0)),
    "replica: nothing leaves early": ("DataParallel", replica(ready=first_bucket_last)),
    "schedule: always busy": ("overlap_schedule", schedule_with(lambda spans, end, _: (spans, end, 1.0))),
    "schedule: lengths": (
        "overlap_schedule",
        schedule_with(lambda spans, *rest: ([(a, b - a) for a, b in spans], *rest)),
    ),
    "all-to-all: none of its own": ("all_to_all", no_chunk_of_its_own),
    "hierarchy: none": ("hierarchical_all_reduce", without_hierarchy),
    "barrier: everybody to everybody": ("barrier", barrier_with_rounds),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_answer_loses_points(name):
    exercise, candidate = MUTANTS[name]
    found = verdict(exercise, candidate)
    assert found.score < found.max_score


def test_the_references_are_one_process_in_disguise():
    """The lab's reference for a step, driven over the component's tests' own models and optimizer."""
    training = Training(("plain", "tied", "frozen"), 3, ((2, 1, 0), (1, 0, 2), (3, 3, 3)))
    step = ITEMS["data_parallel_step"].reference

    def work(comm):
        model, found = training.model(), []
        optimizer = Normalized(model)
        for batch, parts in zip(training.batches(), training.parts, strict=True):
            mine = batch.split(parts)[comm.rank]
            step(model, optimizer, lambda m, x: loss_of(m(x)), mine, comm, A.all_reduce)
            found.append(state(model))
        return found

    for found in run_in_threads(work, 3)[0]:
        assert_same(found, one_process(training))

"""Lab 11, sealed: misconceptions about partition, prefetching, clipping, traffic and resharding."""

import itertools
import math

import torch

from autograder.exercise import Misconception
from autograder.mutated import wrong
from mlsys_course import sharding as S
from mlsys_course.all_reduce import all_reduce
from mlsys_course.sharding.shards import ShardError


def checked(sizes, world_size):
    if world_size < 1 or any(size < 0 for size in sizes):
        raise ShardError("sizes and ranks")


def by_edges(edges):
    """Pieces of each rank, from where each rank begins and ends among all entries."""

    def cut(sizes, world_size):
        checked(sizes, world_size)
        firsts, found = [0, *itertools.accumulate(sizes)], []
        for low, high in edges(sum(sizes), world_size):
            spans = [(k, max(low, a) - a, min(high, a + s) - a) for k, (a, s) in enumerate(zip(firsts, sizes))]  # noqa: B905
            found.append([span for span in spans if span[1] < span[2]])
        return found

    return cut


def rounded_down(n, p):
    return [(r * (n // p), n if r == p - 1 else (r + 1) * (n // p)) for r in range(p)]


def nearly_equal(n, p):
    sizes = [n // p + (r < n % p) for r in range(p)]
    ends = list(itertools.accumulate(sizes))
    return [(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def each_by_itself(sizes, world_size):
    """Every tensor is cut in P parts."""
    checked(sizes, world_size)
    found = [[] for _ in range(world_size)]
    for k, size in enumerate(sizes):
        held = S.shard_size(size, world_size)
        for rank in range(world_size):
            if rank * held < min(size, (rank + 1) * held):
                found[rank].append((k, rank * held, min(size, (rank + 1) * held)))
    return found


def whole_tensors(sizes, world_size):
    """Each tensor goes to the rank that has the least."""
    checked(sizes, world_size)
    found, held = [[] for _ in range(world_size)], [0] * world_size
    for k, size in enumerate(sizes):
        rank = held.index(min(held))
        held[rank] += size
        if size:
            found[rank].append((k, 0, size))
    return found


def among_all(sizes, world_size):
    """Places counted from the first entry of all."""
    firsts = [0, *itertools.accumulate(sizes)]
    return [[(k, firsts[k] + a, firsts[k] + b) for k, a, b in rank] for rank in S.partition(sizes, world_size)]


mistake = wrong(S.partition)
PARTITION = [
    Misconception("each tensor is cut by itself", each_by_itself,
        "Tensors lie end to end before anything is cut. How many pieces can a rank have that holds the beginning?"),
    Misconception("whole tensors", whole_tensors,
        "Where one tensor is larger than all others together, how much does its rank hold? A tensor may be cut."),
    Misconception("places among all entries", among_all,
        "The second tensor's first entry: which place does it have in its own tensor?"),
    Misconception("sizes rounded down", by_edges(rounded_down),
        "Eleven entries on four ranks: all shards have one size, with padding where there is nothing. Which size?"),
    Misconception("the padding is shared out", by_edges(nearly_equal),
        "Who has less than a whole shard: several ranks, or only those at the end?"),
    mistake("empty pieces stay", "A piece without an entry: is it one?", "if start < stop", "if start <= stop"),
    mistake("anything is cut", "No rank at all, or a negative size: what does your function do?",
        "if any(size < 0 for size in sizes):", "world_size = max(1, world_size)\n    if False:"),
]  # fmt: skip


# ---- prefetching -----------------------------------------------------------------------------------------------------


def limited(order):
    def events(n_layers, most=2):
        if most < 1 or n_layers < 0:
            raise ShardError("a layer that runs is held")
        return order(n_layers, most)

    return events


def all_at_once(n_layers, most):
    """Gathered at the start, freed in backward."""
    backward = [(kind, k) for k in reversed(range(n_layers)) for kind in ("backward", "scatter", "free")]
    return [("gather", k) for k in range(n_layers)] + [("forward", k) for k in range(n_layers)] + backward


def when_needed(n_layers, most):
    """No layer is held before its turn."""
    return S.prefetch_order(n_layers, 1) if n_layers else []


def never_freed(n_layers, most):
    """Prefetched in time, and kept until its backward is over."""
    order, gathered = [], set()
    for kind, k in S.prefetch_order(n_layers, most):
        later = kind == "free" and ("backward", k) not in order
        if not later and not (kind == "gather" and k in gathered):
            order.append((kind, k))
            gathered |= {k} if kind == "gather" else set()
    return order


def as_forward(n_layers, most):
    """Backward from the first layer to the last."""
    events, half = S.prefetch_order(n_layers, most), 0
    for n, (kind, _) in enumerate(events):
        half = n + 1 if kind == "forward" else half
    renamed = {k: n_layers - 1 - k for k in range(n_layers)}
    return events[:half] + [(kind, renamed[k]) for kind, k in events[half:]]


ANY = "if layer not in _nearest(uses[n + 1 :], most):"
mistake = wrong(S.prefetch_order)
PREFETCH = [
    Misconception("all layers are gathered at once", limited(all_at_once),
        "How many layers are whole before the first forward? Count gathers less frees at each event."),
    Misconception("never freed after forward", limited(never_freed),
        "Count gathers less frees at the end of forward: how many layers are whole?"),
    Misconception("gathered when it is needed", limited(when_needed),
        "There is room for another layer while one runs. Which one could be on its way already?"),
    Misconception("backward from the first layer", limited(as_forward),
        "In which order does backward reach the layers?"),
    mistake("freed after every use",
        "The layer whose forward is the last: which backward is the first? What is freed there and gathered again?",
        ANY, "if True:"),
    mistake("one too many", "Count gathers less frees at each event. Is the layer that runs among those that are held?",
        "for needed in _nearest(uses[n:], most):", "for needed in _nearest(uses[n:], most + 1):",
        ANY, "if layer not in _nearest(uses[n + 1 :], most + 1):"),
    mistake("freed before its gradient has left", "In which order do a layer's scatter and its free come?",
        '        if kind == "backward":\n            events.append(("scatter", layer))\n', "",
        '            events.append(("free", layer))',
        '            events.append(("free", layer))\n        if kind == "backward":\n            '
        'events.append(("scatter", layer))'),
    mistake("none may be held", "A step in which no layer may be whole: what does your function say?",
        "if most < 1 or n_layers < 0:", "if False:"),
]  # fmt: skip


# ---- clipping --------------------------------------------------------------------------------------------------------


def one_by_one(gradients, whole, max_norm, comm):
    """A number for each gradient goes round."""
    total = 0.0
    for gradient, everywhere in zip(gradients, whole, strict=True):
        square = gradient.double().square().sum().view(1)
        total += float(square if everywhere else all_reduce(square, comm))
    norm = math.sqrt(total)
    if not math.isfinite(norm):
        raise ShardError("no norm")
    return [g * (min(1.0, max_norm / norm) if norm else 1.0) for g in gradients], norm


ROUND = "float(all_reduce(squares[:1], comm)) + float(squares[1])"
mistake = wrong(S.clip_sharded)
CLIP = [
    mistake("every rank clips by its own norm",
        "Compare the norms that the ranks return: there is one gradient of the model, and so one norm.",
        ROUND, "float(squares.sum())"),
    mistake("what is whole counts on every rank",
        "A gradient that all ranks have: how often is it in the sum over all ranks?",
        ROUND, "float(all_reduce(squares.sum().view(1), comm))"),
    mistake("what is whole is left out",
        "A gradient that is whole is part of the model's too. Where is it in the norm?",
        ROUND, "float(all_reduce(squares[:1], comm))"),
    mistake("norms are added", "Two orthogonal vectors of lengths 3 and 4: how long is their sum?",
        f"math.sqrt({ROUND})", "float(all_reduce(squares[:1].sqrt(), comm)) + math.sqrt(float(squares[1]))"),
    mistake("always scaled", "A gradient shorter than max_norm: what does clipping do to it?",
        "min(1.0, max_norm / norm)", "max_norm / norm"),
    Misconception("a message for each gradient", one_by_one,
        "How many numbers does a rank have to tell the others, whatever the number of gradients?"),
    mistake("nothing is said of infinity", "One rank's gradient is infinite: what does each rank's optimizer step by?",
        "if not math.isfinite(norm):", "if False:"),
]  # fmt: skip


# ---- traffic ---------------------------------------------------------------------------------------------------------


def counted(each, once, passes=lambda n, p: (p - 1) * S.shard_size(n, p)):
    """Passes of each micro-batch and of the whole step, by stage."""

    def traffic(stage, n, world_size, micro_batches=1):
        S.zero_traffic(stage, n, world_size, micro_batches)  # for what it refuses
        return (each[stage] * micro_batches + once[stage]) * passes(n, world_size)

    return traffic


EACH, ONCE = (0, 0, 1, 3), (2, 2, 1, 0)
TRAFFIC = [
    Misconception("a rank sends to itself", counted(EACH, ONCE, lambda n, p: p * S.shard_size(n, p)),
        "With one rank nothing is sent. How many chunks does a rank of a ring send in one pass?"),
    Misconception("whole tensors in each step", counted(EACH, ONCE, lambda n, p: (p - 1) * n),
        "Is it all parameters that travel in each of the P - 1 steps, or one chunk of them?"),
    Misconception("an all-reduce in ZeRO 1", counted(EACH, (2, 3, 1, 0)),
        "A rank that steps its own part only: does it need the sum of the other parts' gradients?"),
    Misconception("ZeRO 3 gathers once", counted((0, 0, 1, 2), ONCE),
        "What was gathered for forward is freed. What does backward begin with?"),
    Misconception("ZeRO 2 keeps gradients whole", counted((0, 0, 0, 3), (2, 2, 2, 0)),
        "After the first micro-batch's backward, where is the whole gradient in ZeRO 2?"),
    Misconception("every stage sends in each micro-batch", counted((2, 2, 2, 3), (0, 0, 0, 0)),
        "Gradients add up where they are whole. Which stages send nothing before the last micro-batch is through?"),
    Misconception("ZeRO 3 gathers once a step", counted((0, 0, 1, 1), (2, 2, 1, 2)),
        "Between two micro-batches, does a rank of ZeRO 3 hold any layer whole?"),
    Misconception("padding is left out", counted(EACH, ONCE, lambda n, p: (p - 1) * n / p),
        "Ten entries on four ranks: what is the size of the chunks that travel?"),
]  # fmt: skip


# ---- resharding ------------------------------------------------------------------------------------------------------


def reads_all(read, n, old_size, new_size, rank, dtype=torch.float32):
    """The whole state first, then this rank's part of it."""
    if not 0 <= rank < new_size:
        raise ShardError("no such rank")
    shards = [read(k) for k in range(old_size)]
    held = S.shard_size(n, old_size)
    if any(shard.shape != (held,) or shard.dtype != dtype for shard in shards):
        raise ShardError("another model's")
    whole, new = torch.cat(shards)[:n], S.shard_size(n, new_size)
    return torch.cat([whole[rank * new : (rank + 1) * new], whole.new_zeros(new)])[:new]


SOURCE = "found[place - rank * new : stop - rank * new] = saved[place - source * old : stop - source * old]"
UNEQUAL = "if saved.shape != (old,) or saved.dtype != dtype:"
mistake = wrong(S.reshard)
RESHARD = [
    Misconception("every shard is read", reads_all,
        "What your ranks get is right, and each reads the whole checkpoint. Which old shards hold an entry of the new "
        "one?"),
    mistake("padding comes along",
        "The last old shard ends in padding. Where does the next entry of the new shard come from, if there is one?",
        "old, new = shard_size(n, old_size), shard_size(n, new_size)",
        "old, new = shard_size(n, old_size), shard_size(shard_size(n, old_size) * old_size, new_size)"),
    mistake("sizes rounded down", "Eleven entries on two ranks: all shards have one size, with padding. Which?",
        "old, new = shard_size(n, old_size), shard_size(n, new_size)",
        "old, new = shard_size(n, old_size), max(1, n // new_size)"),
    mistake("shards are not padded", "What does the last rank's shard hold where there are no more entries?",
        "    return found", "    return found[: max(0, end - rank * new)]"),
    mistake("any length is taken", "A shard of another length is another model's. What does your function say?",
        UNEQUAL, "saved = torch.cat([saved, saved.new_zeros(old)])[:old]\n        if saved.dtype != dtype:"),
    mistake("any dtype is taken", "A shard of another dtype is another model's. What does your function say?",
        UNEQUAL, "if saved.shape != (old,):"),
    mistake("any rank gets a shard", "Rank 3 of 3 ranks: what does your function say?",
        "if not 0 <= rank < new_size:", "if False:"),
]  # fmt: skip

"""Lab 9, sealed: misconceptions about costs, steps, buckets, ``DataParallel`` and schedules."""

import contextlib
import math

import torch

from autograder.exercise import Misconception
from autograder.mutated import mutated, wrong
from mlsys_course import all_reduce as A
from mlsys_course.all_reduce.buckets import set_gradients

TWO_PASSES = "An all-reduce goes up and down, or round twice: which half of yours is missing?"


def changed(rule):
    """The right costs, with steps and volume changed by ``rule``."""

    def seconds(algorithm, n_bytes, world_size, alpha, beta):
        right = A.cost(algorithm, world_size)
        steps, volume = rule(algorithm, right.steps, right.volume, world_size)
        return steps * alpha + volume * n_bytes * beta

    return seconds


SECONDS = [
    Misconception("half of it", changed(lambda a, s, v, p: (s / 2, v / 2)), TWO_PASSES),
    Misconception("whole tensors in every step", changed(lambda a, s, v, p: (s, float(s))),
        "Is it the whole tensor that travels in each step, or a chunk of it?"),
    Misconception("one latency for all", changed(lambda a, s, v, p: (min(s, 1), v)),
        "How many messages follow one another?"),
    Misconception("as many steps as ranks",
        changed(lambda a, s, v, p: (2 * p, v * p / (p - 1)) if p > 1 and a in ("naive", "ring") else (s, v)),
        "With two ranks, count the steps on your fingers. A rank sends nothing to itself."),
    Misconception("logarithm rounded down",
        changed(lambda a, s, v, p: (2 * int(math.log2(p)),) * 2 if a == "tree" else (s, v)),
        "Three ranks: can one step reach both others?"),
    Misconception("a logarithm without rounding",
        changed(lambda a, s, v, p: (2 * math.log2(p),) * 2 if a == "tree" else (s, v)),
        "Three ranks: there is no step and a half."),
    Misconception("receives all at once", changed(lambda a, s, v, p: (p, p) if a == "naive" and p > 1 else (s, v)),
        "Rank 0 has one cable: how many messages can it receive at a time?"),
    Misconception("half in every step", changed(lambda a, s, v, p: (s, s / 2) if a == "halving_doubling" else (s, v)),
        "Half of the tensor travels in the first step. How much in the second?"),
]  # fmt: skip


# ---- a step ----------------------------------------------------------------------------------------------------------

WEIGHT = "len(examples) / float(total)"
unweighted = mutated(A.data_parallel_step, f" * ({WEIGHT})", "")


def average_weights(model, optimizer, loss, examples, comm, all_reduce):
    """Each rank steps by the mean of its own examples, then weights are averaged."""
    unweighted(model, optimizer, loss, examples, comm, lambda x, comm: x)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.copy_(all_reduce(p, comm) / comm.world_size)


STEPS, FRAMED = "    optimizer.step()", "    if len(examples):\n        optimizer.step()"

mistake = wrong(A.data_parallel_step)
STEP = [
    Misconception("weights are averaged, not gradients", average_weights,
        "With plain descent it comes to the same. Of an optimizer that remembers: whose gradients does each rank's "
        "AdamW see?"),
    mistake("a sum for the mean",
        "With one rank your step is right; with P ranks it is P times as long. What is a mean over all?",
        WEIGHT, f"{WEIGHT} * comm.world_size"),
    mistake("steps twice", "With one rank too your step is not right. How often does the optimizer step in one call?",
        STEPS, f"{STEPS}\n{STEPS}"),
    mistake("who has no examples does not step",
        "Compare the ranks' weights after a step: are those of a rank without examples the same as the others'?",
        STEPS, FRAMED),
    mistake("a sum over examples by the number of ranks",
        "A rank's gradient counts n_r times, and their sum is divided by P. How many examples are in that sum?",
        WEIGHT, "len(examples) / comm.world_size"),
    mistake("what was there before plays a part",
        "A gradient may be there before the very first step. When do you take it away, and of which parameters?",
        "    optimizer.zero_grad()\n", "", STEPS, f"{STEPS}\n    optimizer.zero_grad()"),
    mistake("a sum over examples",
        "Each gradient counts n_r times. By what is the sum to be divided before the optimizer steps?",
        WEIGHT, "len(examples)"),
    mistake("every rank counts alike",
        "A rank with one example and a rank with three: how much does each example count?",
        WEIGHT, "1 / comm.world_size"),
    mistake("gradients are not zeroed", "The first step is right. What is in grad when the second begins?",
        "    optimizer.zero_grad()\n", ""),
    mistake("step before the sum", "Which gradient does the optimizer see when it steps?",
        "    for parameter in model.parameters():", "    optimizer.step()\n    for parameter in model.parameters():",
        "parameter.grad = all_reduce(own, comm)\n    optimizer.step()", "parameter.grad = all_reduce(own, comm)"),
    mistake("nothing is sent", "Compare the ranks' weights after a step: are they the same?",
        "parameter.grad = all_reduce(own, comm)", "parameter.grad = own * comm.world_size"),
    mistake("mean over the ranks that have examples",
        "A rank with one example and a rank with three: how much does each example count?",
        "float(len(examples))", "float(len(examples) > 0)", WEIGHT, "1 / float(total)"),
]  # fmt: skip


# ---- buckets ---------------------------------------------------------------------------------------------------------

IN_REVERSE, NOT_YET = "reversed(range(len(sizes)))", "if not buckets or "

forward_order = mutated(A.make_buckets, IN_REVERSE, "range(len(sizes))")


def fills_gaps(sizes, bucket_bytes):
    """Each goes to the first bucket with room for it."""
    buckets: list[list[int]] = []
    for k in reversed(range(len(sizes))):
        room = (bucket for bucket in buckets if sum(sizes[n] for n in bucket) + sizes[k] <= bucket_bytes)
        if (found := next(room, None)) is None:
            buckets.append([k])
        else:
            found.append(k)
    return buckets


mistake = wrong(A.make_buckets)
BUCKETS = [
    Misconception("forward order", forward_order, "Which gradient is there first, and in which bucket is it?"),
    Misconception("filled from the front",
        lambda sizes, bucket_bytes: [bucket[::-1] for bucket in forward_order(sizes, bucket_bytes)][::-1],
        "The last bucket to be filled is the one with the leftover. Which one should that be?"),
    Misconception("one message a parameter", lambda sizes, bucket_bytes: [[k] for k in reversed(range(len(sizes)))],
        "How many parameters fit into a bucket?"),
    mistake("closed when it is over",
        "Add up the bytes of your buckets. Look at the next parameter before you put it in.",
        "filled + sizes[number] > bucket_bytes", "filled >= bucket_bytes"),
    mistake("not quite full", "May a bucket hold exactly bucket_bytes?", "> bucket_bytes", ">= bucket_bytes"),
    Misconception("fills gaps", fills_gaps,
        "When is your first bucket complete, if a late parameter was put into its gap?"),
    mistake("an empty one", "No bucket is empty: how many are there where there is no parameter?",
        "buckets: list[list[int]] = []", "buckets = [[]]", NOT_YET, "if "),
    mistake("one for all", "How large may a bucket be? And when can the only one leave?",
        " or filled + sizes[number] > bucket_bytes", ""),
]  # fmt: skip


def one_message_each(parameters, comm, all_reduce):
    for p in parameters:
        A.average_bucket([p], comm, all_reduce)


def missing_stay_missing(parameters, comm, all_reduce):
    absent = [p for p in parameters if p.grad is None]
    A.average_bucket(parameters, comm, all_reduce)
    for p in absent:
        p.grad = None


def mean_of_those_present(parameters, comm, all_reduce):
    present = all_reduce(torch.tensor([float(p.grad is not None) for p in parameters]), comm)
    A.average_bucket(parameters, comm, all_reduce)
    for p, count in zip(parameters, present.tolist(), strict=True):
        p.grad *= comm.world_size / max(count, 1)


def leaves_rows(parameters, comm, all_reduce):
    """Pieces of the row as they are; a scalar's becomes one of one entry."""
    A.average_bucket(parameters, comm, all_reduce)
    for p in parameters:
        p.grad = p.grad.flatten()


mistake = wrong(A.average_bucket)
AVERAGE = [
    mistake("view of any strides",
        "`view` wants entries that lie one after the other in memory. A transposed gradient's do not: what copies?",
        ".flatten()", ".view(-1)"),
    Misconception("rows", leaves_rows, "A piece of the sum is a row of entries. Which shape has its parameter?"),
    mistake("a sum", "With P ranks your gradients are P times as large.", " / comm.world_size", ""),
    mistake("divided by the others",
        "A mean over P ranks divides by P. How many gradients are in the sum, a rank's own counted?",
        "/ comm.world_size", "/ max(1, comm.world_size - 1)"),
    mistake("divided by the parameters", "By the number of what do you divide? It is a mean over ranks.",
        "/ comm.world_size", "/ len(parameters)"),
    mistake("divided twice", "How often do you divide by P?", "comm.world_size", "comm.world_size**2"),
    Misconception("one message a parameter", one_message_each, "How many tensors did you all-reduce for one bucket?"),
    Misconception("leaves missing ones out",
        lambda parameters, *rest: A.average_bucket([p for p in parameters if p.grad is not None], *rest),
        "A rank without a gradient brings a shorter tensor than the others. What would a zero do?"),
    Misconception("missing ones stay missing", missing_stay_missing,
        "The other ranks step by the mean. What does this rank step by?"),
    Misconception("mean of those that have one", mean_of_those_present,
        "One process on the whole batch: what do the examples add that do not reach a parameter, and are they "
        "counted?"),
]  # fmt: skip


# ---- DataParallel ----------------------------------------------------------------------------------------------------

ALL_STATE, TAKES = "(*model.parameters(), *model.buffers())", "handle.wait() / self.comm.world_size"
READY, SENDS = "self.ready.add(parameter)", "            self._send_what_is_ready()"
QUIET, ENDS = "        self.sync = False\n", "            self.sync = True"
ALL_READY = "self.ready = {p for bucket in self.buckets for p in bucket}"


def adds_gradients(parameters, flat):
    own = [0.0 if p.grad is None else p.grad for p in parameters]
    set_gradients(parameters, flat)
    for p, mine in zip(parameters, own, strict=True):
        p.grad = p.grad + mine


class AsTheyFill(A.DataParallel):
    """Whatever bucket is full leaves, out of turn, and no other; results go to where they belong."""

    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        super().__init__(model, comm, buckets, broadcast, start_all_reduce)
        self.given, self.buckets = [tuple(bucket) for bucket in buckets], []

    def _send_what_is_ready(self):
        for bucket in self.given:
            if self.ready.issuperset(bucket) and not any(bucket is sent for sent in self.buckets):
                self.buckets.append(bucket)
                super()._send_what_is_ready()

    def finish(self):
        super().finish()
        self.buckets = []


class NoSyncForgets(A.DataParallel):
    """Gradients of the passes inside are dropped."""

    @contextlib.contextmanager
    def no_sync(self):
        with super().no_sync():
            yield
        for bucket in self.buckets:
            for p in bucket:
                p.grad = None


mistake = wrong(A.DataParallel)
DATA_PARALLEL = [
    mistake("no broadcast", "Print a weight on two ranks before the first step. Are they the same?",
        f"tensor in {ALL_STATE}", "tensor in ()"),
    mistake("buffers stay", "Parameters are equal. What else does a model keep that a forward pass reads?",
        ALL_STATE, "model.parameters()"),
    mistake("what is not saved stays",
        "`state_dict` lists what is saved with a model. Which buffers does a forward pass read that are not saved?",
        ALL_STATE, "model.state_dict().values()"),
    mistake("frozen ones stay", "A frozen layer is never updated. Does the forward pass read it?",
        "*model.parameters()", "*(p for p in model.parameters() if p.requires_grad)"),
    mistake("a sum for the mean", "With two ranks your gradients are twice one process's. When do you divide?",
        TAKES, "handle.wait()"),
    mistake("added to its own", "Does the mean replace a rank's own gradient, or come on top?",
        set_gradients=adds_gradients),
    mistake("one message a parameter", "How many entries has each tensor that you send, and how many a bucket?",
        "= comm, buckets, start", "= comm, [[p] for bucket in buckets for p in bucket], start"),
    mistake("everything at the end",
        "The result is right, and the network idles throughout backward. When is the first bucket full?",
        SENDS, "            pass"),
    mistake("waits in the hook", "Backward stands still while a bucket is under way. Who has to wait, and when?",
        "self.comm))", "self.comm)); self.handles[-1].wait()"),
    mistake("waits before the next one leaves",
        "Backward stands still until the bucket before has arrived. Several may be under way at once: where do you "
        "wait?",
        "            self.handles.append(", "            [handle.wait() for handle in self.handles]\n"
        "            self.handles.append("),
    mistake("from the last bucket on", "In which order are buckets handed to you, and in which do yours leave?",
        "= comm, buckets, start", "= comm, buckets[::-1], start"),
    mistake("leaves too soon", "Which gradients of the bucket are there when it leaves?",
        READY, "self.ready.update(*(bucket for bucket in self.buckets[len(self.handles) :] if parameter in bucket))"),
    mistake("one bucket at a time",
        "One gradient may complete a bucket that a full one was waiting for. How many may leave then?",
        "    while len", "    if len", "    def finish(self) -> None:\n        " + ALL_READY + "\n",
        f"    def finish(self) -> None:\n        {ALL_READY}\n        for _ in self.buckets[1:]:\n{SENDS}\n"),
    mistake("ready if there",
        "After no_sync every parameter has a gradient. Is each of them whole when the last pass begins?",
        READY, "self.ready = {p for bucket in self.buckets for p in bucket if p.grad is not None}"),
    mistake("stays ready", "The first step is right. Which gradients does yours take for whole when the second begins?",
        "self.ready, self.handles = set(), []", "self.handles = []"),
    mistake("handles are kept", "The first step is right. Which handles does yours wait for in the second?",
        "        self.ready, self.handles = set(), []", ""),
    Misconception("whichever is full", AsTheyFill,
        "Another rank's buckets may fill in another order. Which tensor will yours be added to there?"),
    mistake("what is not full never leaves",
        "A bucket with an unused layer is never full. Who sends it, and when is it certain that nothing more comes?",
        f"        {ALL_READY}\n        self._send_what_is_ready()\n", "", "self.handles, strict=True",
        "self.handles, strict=False"),
    mistake("no_sync sends", "Of several backward passes, in which one did the buckets leave? What was in them?",
        QUIET, ""),
    mistake("no_sync is a generator",
        "A function with `yield` makes a generator. What in contextlib makes a context manager of it?",
        "    @contextlib.contextmanager\n", ""),
    Misconception("no_sync forgets", NoSyncForgets, "What becomes of the gradients of the passes inside no_sync?"),
    mistake("no_sync never ends", "What leaves during the last backward pass, after no_sync has ended?",
        ENDS, "            pass"),
]  # fmt: skip


# ---- the schedule ----------------------------------------------------------------------------------------------------

START, END = "max([free, *(done[layer] for layer in bucket)])", "end = max(clock, free)"


def only_the_second_waits(backward, reduce, buckets):
    """From the third bucket on the link is taken to be free."""
    done = [stop for _, stop in A.schedule.backward_spans(backward)]
    spans: list[tuple[float, float]] = []
    for bucket, seconds in zip(buckets, reduce, strict=True):
        start = max([*(spans[0][1:] if len(spans) == 1 else ()), *(done[layer] for layer in bucket)])
        spans.append((start, start + seconds))
    end = max([*done, *(stop for _, stop in spans)])
    return spans, end, max(done) / end


mistake = wrong(A.overlap_schedule)
SCHEDULE = [
    mistake("no overlap", "Must the first bucket wait until backward has ended?", "0.0 if overlap else ", ""),
    mistake("all at once", "Two all-reduces overlap in your schedule. How many can the link carry?",
        START, "max(done[layer] for layer in bucket)", END, "end = max([clock, *(stop for _, stop in spans)])"),
    Misconception("only the second waits", only_the_second_waits,
        "Your first two all-reduces follow one another. What does the third wait for?"),
    mistake("forward order", "Which layer's gradient does backward reach first?",
        "in reversed(backward)", "in backward", "spans[::-1]", "spans"),
    mistake("first layer suffices", "Is the whole bucket there when its first layer is done?",
        START, "max(free, min(done[layer] for layer in bucket))"),
    mistake("backward is the end", "Can the optimizer step while a bucket is under way?", END, "end = clock"),
    mistake("the link is the end", "Where nothing is sent, when has backward ended?",
        END, "end = free", "clock / end if end else 1.0", "clock / end"),
    mistake("sending counts as computing", "Utilisation is about the processor. Does it compute while it sends?",
        "clock / end if", "(clock + sum(reduce)) / end if"),
]  # fmt: skip

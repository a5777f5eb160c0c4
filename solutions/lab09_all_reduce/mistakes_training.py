"""Lab 9, sealed: misconceptions about data-parallel training."""

import contextlib

import torch

from autograder.exercise import Misconception

from .references import DataParallel


def step(model, optimizer, loss, examples, comm, all_reduce, mistake=""):
    """One step with a place for each mistake."""
    ranks = comm.world_size
    total = float(all_reduce(torch.tensor(float(len(examples)), dtype=torch.float64), comm))
    if mistake != "not zeroed":
        optimizer.zero_grad()
    weight = 1 / ranks if mistake == "every rank alike" else len(examples) / total
    if mistake == "over ranks with examples":
        busy = float(all_reduce(torch.tensor(float(len(examples) > 0), dtype=torch.float64), comm))
        weight = 1 / busy
    if mistake == "weights":
        weight = 1.0  # each rank for itself
    if mistake == "a sum":
        weight = weight * ranks
    if len(examples) or mistake == "asks for the mean of nothing":
        (loss(model, examples) * weight).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    if mistake == "weights":
        return average_weights(optimizer, trained, comm, all_reduce)
    if mistake == "step first":
        optimizer.step()
    for p in trained:
        own = torch.zeros_like(p) if p.grad is None else p.grad
        p.grad = own * ranks if mistake == "nothing is sent" else all_reduce(own, comm)
    if mistake != "step first":
        optimizer.step()


def average_weights(optimizer, trained, comm, all_reduce):
    """Each rank steps by the mean of its own examples, then weights are averaged."""
    for p in trained:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    optimizer.step()
    with torch.no_grad():
        for p in trained:
            p.copy_(all_reduce(p, comm) / comm.world_size)


def mis_stepped(name: str, mistake: str, hint: str) -> Misconception:
    return Misconception(name, lambda *a: step(*a, mistake=mistake), hint)


STEP = [
    mis_stepped(
        "weights are averaged, not gradients",
        "weights",
        "With plain descent it comes to the same. Of an optimizer that remembers: whose gradients does each rank's "
        "AdamW see?",
    ),
    mis_stepped("a sum for the mean", "a sum", "With two ranks your step is twice as long. What is a mean over all?"),
    mis_stepped(
        "every rank counts alike",
        "every rank alike",
        "A rank with one example and a rank with three: how much does each example count?",
    ),
    mis_stepped(
        "gradients are not zeroed", "not zeroed", "The first step is right. What is in grad when the second begins?"
    ),
    mis_stepped("step before the sum", "step first", "Which gradient does the optimizer see when it steps?"),
    mis_stepped("nothing is sent", "nothing is sent", "Compare the ranks' weights after a step: are they the same?"),
    mis_stepped(
        "mean over the ranks that have examples",
        "over ranks with examples",
        "A rank with one example and a rank with three: how much does each example count?",
    ),
]


# ---- DataParallel ----------------------------------------------------------------------------------------------------


class NoBroadcast(DataParallel):
    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        super().__init__(model, comm, buckets, lambda tensor, comm: tensor, start_all_reduce)


class NoBuffers(DataParallel):
    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        kept = {id(b) for b in model.buffers()}
        super().__init__(
            model, comm, buckets, lambda t, c: None if id(t) in kept else broadcast(t, c), start_all_reduce
        )


class TrainedOnly(DataParallel):
    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        frozen = {id(p) for p in model.parameters() if not p.requires_grad}
        super().__init__(
            model, comm, buckets, lambda t, c: None if id(t) in frozen else broadcast(t, c), start_all_reduce
        )


class Sums(DataParallel):
    def take(self, bucket, mean):
        super().take(bucket, mean * self.comm.world_size)


class AddsToItsOwn(DataParallel):
    def take(self, bucket, mean):
        own = [0.0 if p.grad is None else p.grad for p in bucket]
        super().take(bucket, mean)
        for p, mine in zip(bucket, own, strict=True):
            p.grad = p.grad + mine


class OneEach(DataParallel):
    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        super().__init__(model, comm, [[p] for bucket in buckets for p in bucket], broadcast, start_all_reduce)


class NoOverlap(DataParallel):
    def gradient_ready(self, parameter):
        pass


class WaitsInTheHook(DataParallel):
    def send(self, bucket):
        super().send(bucket)
        self.handles[-1].wait()


class WhenFirstIsReady(DataParallel):
    """A bucket leaves with its first gradient; the others are not there yet."""

    def gradient_ready(self, parameter):
        if self.sync:
            for bucket in self.buckets[len(self.handles) :]:
                if parameter in bucket:
                    self.ready.update(bucket)
            self.send_what_is_ready()


class AsTheyFill(DataParallel):
    """Whatever bucket is full leaves, out of turn; results go to where they belong."""

    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        super().__init__(model, comm, buckets, broadcast, start_all_reduce)
        self.given = [tuple(bucket) for bucket in buckets]
        self.buckets = []

    def send_what_is_ready(self):
        for bucket in self.given:
            if self.ready.issuperset(bucket) and not any(bucket is sent for sent in self.buckets):
                self.buckets.append(bucket)
                self.send(bucket)

    def finish(self):
        self.ready = {p for bucket in self.given for p in bucket}
        super().finish()
        self.buckets = []


class UnusedNeverLeave(DataParallel):
    """Only what became full is taken."""

    def finish(self):
        for bucket, handle in zip(self.buckets, self.handles, strict=False):
            self.take(bucket, handle.wait() / self.comm.world_size)
        self.ready, self.handles = set(), []


class NoSyncSyncs(DataParallel):
    """Every backward sends; what left first is what is taken."""

    @contextlib.contextmanager
    def no_sync(self):
        yield


class NoSyncForgets(DataParallel):
    """Gradients of the passes inside are dropped."""

    @contextlib.contextmanager
    def no_sync(self):
        with super().no_sync():
            yield
        for bucket in self.buckets:
            for p in bucket:
                p.grad = None


class NoSyncStays(DataParallel):
    @contextlib.contextmanager
    def no_sync(self):
        self.sync = False
        yield


DATA_PARALLEL = [
    Misconception("no broadcast", NoBroadcast, "Print a weight on two ranks before the first step. Are they the same?"),
    Misconception(
        "buffers stay", NoBuffers, "Parameters are equal. What else does a model keep that a forward pass reads?"
    ),
    Misconception("frozen ones stay", TrainedOnly, "A frozen layer is never updated. Does the forward pass read it?"),
    Misconception(
        "a sum for the mean", Sums, "With two ranks your gradients are twice one process's. When do you divide?"
    ),
    Misconception("added to its own", AddsToItsOwn, "Does the mean replace a rank's own gradient, or come on top?"),
    Misconception(
        "one message a parameter", OneEach, "How many entries has each tensor that you send, and how many a bucket?"
    ),
    Misconception(
        "everything at the end",
        NoOverlap,
        "The result is right, and the network idles throughout backward. When is the first bucket full?",
    ),
    Misconception(
        "waits in the hook",
        WaitsInTheHook,
        "Backward stands still while a bucket is under way. Who has to wait, and when?",
    ),
    Misconception("leaves too soon", WhenFirstIsReady, "Which gradients of the bucket are there when it leaves?"),
    Misconception(
        "whichever is full",
        AsTheyFill,
        "Another rank's buckets may fill in another order. Which tensor will yours be added to there?",
    ),
    Misconception(
        "what is not full never leaves",
        UnusedNeverLeave,
        "A bucket with an unused layer is never full. Who sends it, and when is it certain that nothing more comes?",
    ),
    Misconception(
        "no_sync sends",
        NoSyncSyncs,
        "Of several backward passes, in which one did the buckets leave? What was in them?",
    ),
    Misconception("no_sync forgets", NoSyncForgets, "What becomes of the gradients of the passes inside no_sync?"),
    Misconception(
        "no_sync never ends", NoSyncStays, "What leaves during the last backward pass, after no_sync has ended?"
    ),
]

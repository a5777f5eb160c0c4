"""Lab 9, sealed: misconceptions about ``DataParallel``."""

import contextlib

from autograder.exercise import Misconception

from .references import DataParallel


class NoBroadcast(DataParallel):
    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        super().__init__(model, comm, buckets, lambda tensor, comm: tensor, start_all_reduce)


class NoBuffers(DataParallel):
    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        kept = {id(b) for b in model.buffers()}
        super().__init__(
            model, comm, buckets, lambda t, c: None if id(t) in kept else broadcast(t, c), start_all_reduce
        )


class SavedOnly(DataParallel):
    """What state_dict names."""

    def __init__(self, model, comm, buckets, broadcast, start_all_reduce):
        saved = {id(tensor) for tensor in model.state_dict(keep_vars=True).values()}
        super().__init__(
            model, comm, buckets, lambda t, c: broadcast(t, c) if id(t) in saved else None, start_all_reduce
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


class OneAtATime(DataParallel):
    """A gradient sends one bucket at most: those that wait behind it stay."""

    def gradient_ready(self, parameter):
        if self.sync:
            self.ready.add(parameter)
            if len(self.handles) < len(self.buckets) and self.ready.issuperset(self.buckets[len(self.handles)]):
                self.send(self.buckets[len(self.handles)])


class ReadyIfThere(DataParallel):
    """Whatever has a gradient counts as ready, also one of an earlier pass."""

    def gradient_ready(self, parameter):
        if self.sync:
            self.ready = {p for bucket in self.buckets for p in bucket if p.grad is not None}
            self.send_what_is_ready()


class StaysReady(DataParallel):
    """The next step begins with the last one's set of gradients that are there."""

    def finish(self):
        super().finish()
        self.ready = {p for bucket in self.buckets for p in bucket}


class KeepsHandles(DataParallel):
    """The next step waits for the last one's handles."""

    def finish(self):
        self.ready = {p for bucket in self.buckets for p in bucket}
        self.send_what_is_ready()
        for bucket, handle in zip(self.buckets, self.handles, strict=True):
            self.take(bucket, handle.wait() / self.comm.world_size)


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


class NoSyncIsAGenerator(DataParallel):
    def no_sync(self):
        self.sync = False
        yield
        self.sync = True


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
    Misconception(
        "what is not saved stays",
        SavedOnly,
        "`state_dict` lists what is saved with a model. Which buffers does a forward pass read that are not saved?",
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
        "one bucket at a time",
        OneAtATime,
        "One gradient may complete a bucket that a full one was waiting for. How many may leave then?",
    ),
    Misconception(
        "ready if there",
        ReadyIfThere,
        "After no_sync every parameter has a gradient. Is each of them whole when the last pass begins?",
    ),
    Misconception(
        "stays ready",
        StaysReady,
        "The first step is right. Which gradients does yours take for whole when the second begins?",
    ),
    Misconception(
        "handles are kept",
        KeepsHandles,
        "The first step is right. Which handles does yours wait for in the second?",
    ),
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
    Misconception(
        "no_sync is a generator",
        NoSyncIsAGenerator,
        "A function with `yield` makes a generator. What in contextlib makes a context manager of it?",
    ),
    Misconception("no_sync forgets", NoSyncForgets, "What becomes of the gradients of the passes inside no_sync?"),
    Misconception(
        "no_sync never ends", NoSyncStays, "What leaves during the last backward pass, after no_sync has ended?"
    ),
]

"""How lab 9's exercises are called. While grading each rank is a process of its own, and the ``judged`` functions read
messages, steps and order from what was seen between them; in your notebook ranks are threads.
"""

import contextlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from mlsys_course.desk.check import Tree, driver
from mlsys_course.desk.check.seen import OUTSIDE, Seen, unforeseen
from mlsys_course.substrate.ranks import Action, Clocks, Communicator, RankRaised, run_in_threads

SECONDS = 5.0  # a rank that hangs must not hang the check


def in_threads(function, world_size: int) -> list:
    """``function(comm)`` on each rank; what a rank raises is raised here as it is."""
    try:
        return run_in_threads(function, world_size, SECONDS)[0]
    except RankRaised as error:
        raise (error.__cause__ or error) from None


def on_ranks(call: Callable[[Mapping[str, Tree], Communicator], Tree], case: Mapping[str, Tree], comm) -> Any:
    """What ``call(inputs, comm)`` finds on this rank; of a world of more than 8 ranks, which are threads, on each."""
    if "world" not in case:
        return call(case, comm)
    own = case["world"]
    return {"ranks": in_threads(lambda inner: call({**case, **own[inner.rank]}, inner), len(own))}


def lies_in(result: Any, x: torch.Tensor) -> bool:
    """Whether a result is x itself, or in x's memory."""
    if not isinstance(result, torch.Tensor) or not x.numel():
        return result is x
    return result.untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def sums(call: Callable[[torch.Tensor, Communicator], torch.Tensor], case: Mapping[str, Tree], comm) -> Any:
    """The sum of x, and whether it is a new tensor. Of a list of tensors all sums, one call after the other: they are
    looked at when the last one is there, since none may lie where another is put later."""

    def own_sums(own: Mapping[str, Tree], comm: Communicator) -> Tree:
        several = isinstance(own["x"], list)
        given = own["x"] if several else [own["x"]]
        found = [call(x, comm) for x in given]
        where = "x's own memory" if any(map(lies_in, found, given)) else "memory of its own"
        return {"sum": found if several else found[0], "the sum lies in": where}

    return on_ranks(own_sums, case, comm)


def by_columns(x: torch.Tensor) -> torch.Tensor:
    """The same tensor, the first axis' entries side by side in memory, as a gradient may come. No file of cases keeps
    such strides."""
    order = tuple(reversed(range(x.dim())))
    return x.permute(order).clone(memory_format=torch.contiguous_format).permute(order)


# ---- what is seen between ranks --------------------------------------------------------------------------------------


def by_rank(results: Sequence[Tree]) -> dict[str, Tree]:
    return {f"rank {rank}": result for rank, result in enumerate(results)}


def messages(actions: Sequence[Action]) -> list[tuple[int, int]]:
    """Whom a rank sent how many bytes."""
    return [(action[1], action[2]) for action in actions if action[0] == "send"]


def sizes_sent(actions: Sequence[Action], itemsize: int) -> list[int]:
    """Entries of the tensors that a rank sent to everybody; of all its messages where not all were sent the same."""
    by_receiver: dict[int, list[int]] = {}
    for receiver, size in messages(actions):
        by_receiver.setdefault(receiver, []).append(size // itemsize)
    found = list(by_receiver.values())
    return found[0] if found and all(sizes == found[0] for sizes in found) else [n for sizes in found for n in sizes]


def steps_of_a_ring(case: Tree, outputs: Tree, seen: Seen) -> Tree:
    """The sums; or steps, of which twice 2 (P - 1) count as so many: some ranks may receive before they send."""
    if OUTSIDE not in case:
        return outputs
    least = 2 * (len(seen) - 1)
    steps = Clocks(seen).steps
    return {"steps": least if steps <= 2 * least + 1 else steps}


@driver(ranks=True, judged=steps_of_a_ring)
def ring_all_reduce(candidate, case, comm):
    return sums(candidate, case, comm)


@driver(ranks=True)
def halving_doubling_all_reduce(candidate, case, comm):
    return sums(candidate, case, comm)


@driver(ranks=True)
def all_to_all(candidate, case, comm):
    """What arrived; with ``again``, of two calls, looked at after both."""
    found = [candidate(chunks, comm) for chunks in (case["chunks"], *case.get("again", []))]
    returned = "a list" if all(isinstance(one, list | tuple) for one in found) else "something else"
    return {"returned": returned, "arrived": [list(one) for one in found]}


def steps_and_messages(case: Tree, outputs: Tree, seen: Seen) -> Tree:
    """Of a case of traffic steps, messages in all, and the most that one rank sends.

    Some trees keep the busiest rank below what it may send: all that it may send counts as one.
    """
    if OUTSIDE not in case:
        return outputs
    sent = [len(messages(own)) for own in seen]
    busiest = max([(len(seen) - 1).bit_length(), *sent])
    return {"steps": Clocks(seen).steps, "messages": sum(sent), "messages of the busiest rank": busiest}


@driver(ranks=True, judged=steps_and_messages)
def broadcast(candidate, case, comm):
    """What each rank has at the end, and returns."""

    def received(own: Mapping[str, Tree], comm: Communicator) -> Tree:
        x = by_columns(own["x"]) if own.get("strided") else own["x"].clone()
        held = x.detach()  # in x's memory
        returned = candidate(x, comm, own["root"])
        what = "nothing" if returned is None else "x itself" if returned is x else "something else"
        return {"held": held, "returned": what}

    return on_ranks(received, case, comm)


def heard_of(seen: Seen) -> Tree:
    return {"heard of when each left": torch.tensor([len(ranks) for ranks in Clocks(seen).heard_of])}


def who_waited(case: Tree, outputs: Tree, seen: Seen) -> Tree:
    """Of how many ranks, itself included, each had word that they have come when it left; or steps and messages."""
    if OUTSIDE in case:
        sizes = [size for own in seen for _, size in messages(own)]
        entries = "none" if 0 in sizes else "one" if max(sizes, default=0) <= 8 else "more than one"
        return {"steps": Clocks(seen).steps, "entries of a message": entries}
    return outputs if "world_size" in case else heard_of(seen)


@driver(ranks=True, judged=who_waited)
def barrier(candidate, case, comm):
    """A world of more than 8 ranks is one of threads."""

    def what_it_did(inner):
        candidate(inner)
        return inner.actions

    if "world_size" in case:
        return heard_of(in_threads(what_it_did, case["world_size"]))
    candidate(comm)
    return {}


def entries_between_nodes(case: Tree, outputs: Tree, seen: Seen) -> Tree:
    """The sums; or the most entries that one rank sends to other nodes."""
    if OUTSIDE not in case:
        return outputs
    node = case["node_size"]
    across = [sum(n for to, n in messages(own) if to // node != rank // node) for rank, own in enumerate(seen)]
    return {"entries between nodes": max(across) // case["ranks"][0]["x"].element_size()}


@driver(ranks=True, judged=entries_between_nodes)
def hierarchical_all_reduce(candidate, case, comm):
    return sums(lambda x, comm: candidate(x, comm, case["node_size"]), case, comm)


# ---- what it costs, on paper -----------------------------------------------------------------------------------------


@driver
def all_reduce_seconds(candidate, case):
    """In microseconds."""
    rows = [(n, p) for n in case["n_bytes"] for p in case["world_sizes"]]
    found = [1e6 * candidate(case["algorithm"], n, p, case["alpha"], case["beta"]) for n, p in rows]
    return {"microseconds": [float(one) for one in found]}


@driver
def overlap_schedule(candidate, case):
    spans, end, utilisation = candidate(case["backward"], case["reduce"], case["buckets"])
    numbers = [float(x) for span in spans for x in span]
    return {"spans": numbers, "end": float(end), "utilisation": float(utilisation)}


# ---- data-parallel training ------------------------------------------------------------------------------------------


class Arriving(torch.autograd.Function):
    """Weights as they are. On the way back ``arrive()`` adds to their gradient what nobody knows before."""

    @staticmethod
    def forward(ctx, weight: torch.Tensor, arrive: Callable[[], torch.Tensor]) -> torch.Tensor:
        ctx.arrive = arrive
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx, grad: torch.Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad + ctx.arrive().to(grad.dtype), None


class Net(nn.Module):
    """Layers in a row with weights that the case gives. ``uses`` says which layer comes when: one may come twice, or
    never. Two buffers are added to the input; one of them is not saved with the model. A third counts, in whole
    numbers. With ``arrive(n)`` a part of the gradient of weights n comes from outside, during backward."""

    shift: torch.Tensor
    table: torch.Tensor
    count: torch.Tensor

    def __init__(
        self,
        weights: Sequence[torch.Tensor],
        shift: torch.Tensor,
        uses: Sequence[int],
        frozen: Sequence[int],
        arrive: Callable[[int], torch.Tensor] | None = None,
    ):
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(w.clone(), requires_grad=n not in frozen) for n, w in enumerate(weights)
        )
        self.register_buffer("shift", shift.clone())
        self.register_buffer("table", shift.square(), persistent=False)
        self.register_buffer("count", (1000 * shift).long())
        self.uses, self.arrive = list(uses), arrive

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.shift + self.table
        for n in self.uses:
            x = torch.tanh(x @ self.weight(n).to(x.dtype))
        return x

    def weight(self, n: int) -> torch.Tensor:
        arrive = self.arrive
        return Arriving.apply(self.weights[n], lambda: arrive(n)) if arrive else self.weights[n]  # pyright: ignore


def loss(model: nn.Module, examples: torch.Tensor) -> torch.Tensor:
    """The mean over examples; of none there is no mean."""
    if len(examples) == 0:
        raise ValueError("the mean loss of no examples; ask only where there are some")
    return (model(examples) - examples.roll(1, 1)).pow(2).sum(1).mean()


def net(case: dict[str, Tree], rank: int) -> Net:
    """This rank's model: of every rank the same shapes, and weights of its own where the case has them."""
    start = case["starts"][rank % len(case["starts"])]
    return Net(start["weights"], start["shift"], case["uses"], case["frozen"])


def sum_by_messages(tensor: torch.Tensor, comm: Communicator) -> torch.Tensor:
    """The stand-in for ``all_reduce``: everybody sends to everybody. A new tensor."""
    return start_by_messages(tensor, comm)()


def start_by_messages(tensor: torch.Tensor, comm: Communicator):
    """Sends at once, and asks for what the others send; what it returns waits for that and adds."""
    total, others = tensor.detach().clone(), [rank for rank in range(comm.world_size) if rank != comm.rank]
    for rank in others:
        comm.send(total, rank)
    arriving = [comm.irecv(torch.empty_like(total), rank) for rank in others]

    def wait():
        for one in arriving:
            total.add_(one.wait())
        return total

    return wait


class Momentum:
    """Gradient descent with momentum and decay, which may be 0. With ``zero_grad`` and ``step`` as in torch.optim,
    whose first use takes seconds. A parameter without a gradient stays."""

    def __init__(self, parameters, lr: float, momentum: float = 0.0, decay: float = 0.0):
        self.parameters, self.lr, self.momentum, self.decay = list(parameters), lr, momentum, decay
        self.memory = [torch.zeros_like(p) for p in self.parameters]
        self.steps = 0

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        self.steps += 1
        with torch.no_grad():
            for p, memory in zip(self.parameters, self.memory, strict=True):
                if p.grad is not None:
                    memory.mul_(self.momentum).add_(p.grad)
                    p.sub_(self.lr * (memory + self.decay * p))


class Normalized(Momentum):
    """Steps by the gradient over the root of its squares' running mean, as AdamW does."""

    def step(self) -> None:
        self.steps += 1
        with torch.no_grad():
            for p, memory in zip(self.parameters, self.memory, strict=True):
                if p.grad is not None:
                    memory.mul_(self.momentum).add_((1 - self.momentum) * p.grad**2)
                    p.sub_(self.lr * p.grad / (memory.sqrt() + 1e-3))


@driver
def data_parallel_step(candidate, case):
    """Weights after each step, of every rank. Gradients may be left from what was before the first step (``left``), and
    other layers frozen in each (``frozen_by_step``)."""

    def work(comm):
        model, weights = net(case, comm.rank), []
        kind = Normalized if case["normalized"] else Momentum
        optimizer = kind(model.parameters(), case["lr"], case["momentum"], case.get("decay", 0.0))
        for w, left in zip(model.weights, case.get("left", []), strict=False):
            w.grad = left.clone()
        for frozen, batch in zip(
            case.get("frozen_by_step", itertools.repeat(case["frozen"])), case["steps"], strict=False
        ):
            for n, w in enumerate(model.weights):
                w.requires_grad_(n not in frozen)
            candidate(model, optimizer, loss, batch[comm.rank], comm, sum_by_messages)
            weights.append([w.detach().clone() for w in model.weights])
        return {"weights": weights, "optimizer.step() was called": optimizer.steps}

    return by_rank(in_threads(work, case["world_size"]))


@driver
def make_buckets(candidate, case):
    """Of one model; with ``again`` of others afterwards, too."""
    found = [candidate(sizes, case["bucket_bytes"]) for sizes in (case["sizes"], *case.get("again", []))]
    first, *others = [[[int(k) for k in bucket] for bucket in buckets] for buckets in found]
    return {"buckets": first, "buckets of the next models": others}


def tensors_sent(case: Tree, outputs: Tree, seen: Seen) -> Tree:
    """Gradients after the call by parameter; or the sizes of the tensors that were all-reduced."""
    itemsize = case["shapes"][0].element_size()
    return by_rank([{"sizes": sizes_sent(own, itemsize)} for own in seen]) if OUTSIDE in case else outputs


@driver(ranks=True, judged=tensors_sent)
def average_bucket(candidate, case, comm):
    """With ``calls``, one for each list of parameters; gradients are looked at after the last."""
    parameters = [torch.nn.Parameter(torch.zeros(x.shape, dtype=x.dtype)) for x in case["shapes"]]
    for parameter, grad in zip(parameters, case["gradients"], strict=True):
        if grad is not None:
            parameter.grad = by_columns(grad) if case.get("strided") else grad.clone()
    for given in [[parameters[n] for n in numbers] for numbers in case.get("calls", [])] or [parameters]:
        candidate(given, comm, sum_by_messages)
    found = gradients_of(parameters, "parameters")
    return {**found, "what changes with gradient": changes_together(parameters)}


def gradients_of(parameters: Sequence[torch.Tensor], words: str) -> dict[str, Tree]:
    """Copies of gradients, zeros where there is none, and in words which are not there."""
    without = [str(n) for n, p in enumerate(parameters) if p.grad is None]
    found = [torch.zeros_like(p.data) if p.grad is None else p.grad.clone() for p in parameters]
    return {"gradients": found, "without a gradient": f"{words} {', '.join(without)}" if without else "none"}


def changes_together(parameters: Sequence[torch.Tensor]) -> list[str]:
    """Of each gradient, which others change when somebody writes into it."""
    found, grads = [], [p.grad for p in parameters]
    for n, grad in enumerate(grads):
        before = [None if g is None else g.clone() for g in grads]
        if grad is not None:
            grad.add_(1)
        pairs = enumerate(zip(grads, before, strict=True))
        others = [str(k) for k, (g, b) in pairs if k != n and g is not None and not g.equal(b)]
        found.append(f"gradients {', '.join(others)}" if others else "no other")
    return found


class Handle:
    """Waits once, however often it is asked."""

    def __init__(self, wait):
        self.finish, self.total = wait, None

    def wait(self) -> torch.Tensor:
        self.total = self.finish() if self.total is None else self.total
        return self.total


def start_all_reduce(flat: torch.Tensor, comm: Communicator) -> Handle:
    """A handle; its ``wait()`` returns the sum over all ranks, a new tensor."""
    return Handle(start_by_messages(flat, comm))


def broadcast_from_zero(tensor: torch.Tensor, comm: Communicator) -> torch.Tensor:
    """Overwrites ``tensor`` with rank 0's."""
    if comm.rank == 0:
        for rank in range(1, comm.world_size):
            comm.send(tensor, rank)
        return tensor
    with torch.no_grad():
        return tensor.copy_(comm.recv(torch.empty_like(tensor), 0))


def arrival(n: int, key: int, count: int, width: int) -> torch.Tensor:
    """The part of the gradient of weights ``n`` that comes from outside, for the ``count``-th time in this call.

    ``key`` is the rank's own. Grading answers with other numbers, so nobody has them before backward asks.
    """
    return unforeseen((width, width), key, count)


def mark(place: str) -> int:
    """How far a rank is: written down beside what it sends."""
    return 0


def between(actions: Sequence[Action], start: str, end: str) -> list[Action]:
    """What came between two marks."""
    places = [("mark", start), ("mark", end)]
    first, last = (actions.index(place) for place in places)
    return list(actions[first + 1 : last])


def in_words(actions: Sequence[Action], neighbour: int) -> str:
    """ "grad 3, send 8" says that a gradient of weights 3 came, and then a tensor of 8 entries was sent."""
    words = {
        "arrival": lambda n, *_: f"grad {n}",
        "send": lambda to, size: f"send {size // 8}" if to == neighbour else "",
        "recv": lambda source: "wait" if source == neighbour else "",
    }
    return ", ".join(filter(None, (words[kind](*rest) for kind, *rest in actions if kind in words)))


def what_is_asked(case: Tree, outputs: Tree, seen: Seen) -> Tree:
    """Of each rank the state at the start, gradients after each step, what was sent when, or all that was sent."""
    asked, steps = case[OUTSIDE], range(len(case["ranks"][0]["steps"]))

    def sent(own: Sequence[Action], n: int) -> list[int]:
        return sizes_sent(between(own, f"step {n}", f"step {n} is over"), 8)

    def order(own: Sequence[Action], n: int, rank: int) -> str:
        return in_words(between(own, f"last pass {n}", f"last pass {n} is over"), (rank + 1) % len(seen))

    if asked == "state":
        return {rank: found["state"] for rank, found in outputs.items()}
    if asked == "gradients":
        return {rank: {name: x for name, x in found.items() if name != "state"} for rank, found in outputs.items()}
    if asked == "sent":
        return by_rank([{f"sent in step {n + 1}": sent(own, n) for n in steps} for own in seen])
    found: list[dict[str, Tree]] = [
        {f"order in step {n + 1}": order(own, n, r) for n in steps} for r, own in enumerate(seen)
    ]
    for own, one in zip(seen, found, strict=True):  # what leaves during backward is not sent once more
        one["tensors in all"] = [len(sent(own, n)) for n in steps]
    return by_rank(found)


@driver(ranks=True, judged=what_is_asked, parts={"arrival": arrival, "mark": mark})
def DataParallel(candidate, case, comm, arrival, mark):
    """One rank's replica: its state at the start, and gradients after each step."""
    arrived: list[int] = []

    def arrive(n: int) -> torch.Tensor:
        arrived.append(n)
        part = arrival(n, case["key"], len(arrived), len(case["start"]["shift"]))
        return 0 * part if n in case.get("silent", []) else part

    model = Net(**case["start"], uses=case["uses"], frozen=case["frozen"], arrive=arrive)
    buckets = [[model.weights[n] for n in bucket] for bucket in case["buckets"]]
    replica = candidate(model, comm, buckets, broadcast_from_zero, start_all_reduce)
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found: dict[str, Tree] = {"state": {"weights": [w.detach().clone() for w in model.weights], **buffers}}
    for number, (*others, last) in enumerate(case["steps"]):
        for weight in model.weights:
            weight.grad = None
        mark(f"step {number}")
        for piece in others:
            with contextlib.suppress(Interrupted), replica.no_sync():
                backward(model, piece)
                if case.get("interrupted") and piece is others[-1]:
                    raise Interrupted
        mark(f"last pass {number}")
        backward(model, last)
        mark(f"last pass {number} is over")
        replica.finish()
        mark(f"step {number} is over")
        found[f"after step {number + 1}"] = gradients_of(list(model.weights), "weights")
    return found


class Interrupted(Exception):
    """Somebody's error inside no_sync, which somebody outside deals with."""


def backward(model: Net, examples: torch.Tensor) -> None:
    """Of a piece of the batch; a rank without examples has none."""
    if not len(examples):
        return
    loss(model, examples).backward()

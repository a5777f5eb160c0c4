"""How lab 9's exercises are called. Where traffic counts, each rank is a process of its own while grading; where only
order counts, ranks are threads of one process, and the communicator below writes down what they do.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Sequence

import torch
from torch import nn

from mlsys_course.desk.check import Tree, driver
from mlsys_course.substrate.ranks import Communicator, RankRaised, run_in_threads

SECONDS = 5.0  # a rank that hangs must not hang the check


@driver(ranks=True)
def ring_all_reduce(candidate, case, comm):
    return {"sum": candidate(case["x"], comm)}


@driver(ranks=True)
def halving_doubling_all_reduce(candidate, case, comm):
    return {"sum": candidate(case["x"], comm)}


@driver(ranks=True)
def all_to_all(candidate, case, comm):
    return {"arrived": list(candidate(case["chunks"], comm))}


# ---- steps: a clock that counts messages one after the other ---------------------------------------------------------


class Clocks:
    """What ranks did, by logical time: a rank sends one message a step and receives one a step, both at once.

    A message carries word of all ranks that its sender has heard of. No thread's luck changes any of it.
    """

    def __init__(self, world_size: int):
        self.now = [0] * world_size  # how far a rank's program is
        self.sending, self.receiving = [0] * world_size, [0] * world_size  # until when these are busy
        self.heard_of = [{rank} for rank in range(world_size)]
        self.under_way: dict[tuple[int, int], deque[tuple[int, set[int]]]] = defaultdict(deque)
        self.messages: list[tuple[int, int, int]] = []  # sender, receiver, bytes
        self.lock = threading.Lock()

    @property
    def steps(self) -> int:
        """Until all is done."""
        return max(self.now + self.sending)


class Clocked(Communicator):
    """Another communicator, watched."""

    def __init__(self, comm: Communicator, clocks: Clocks):
        super().__init__(comm.rank, comm.world_size)
        self.comm, self.clocks = comm, clocks

    def _post(self, tensor: torch.Tensor, to: int) -> None:
        clocks, rank = self.clocks, self.rank
        with clocks.lock:
            clocks.sending[rank] = max(clocks.now[rank], clocks.sending[rank]) + 1
            clocks.under_way[rank, to].append((clocks.sending[rank], set(clocks.heard_of[rank])))
            clocks.messages.append((rank, to, tensor.numel() * tensor.element_size()))
        self.comm._post(tensor, to)

    def _take(self, source: int, buffer: torch.Tensor) -> torch.Tensor:
        message, clocks, rank = self.comm._take(source, buffer), self.clocks, self.rank
        with clocks.lock:
            sent, heard_of = clocks.under_way[source, rank].popleft()
            clocks.receiving[rank] = clocks.now[rank] = max(sent, clocks.receiving[rank] + 1)
            clocks.heard_of[rank] |= heard_of
        return message


def in_threads(function, world_size: int) -> list:
    """``function(comm)`` on each rank; what a rank raises is raised here as it is."""
    try:
        return run_in_threads(function, world_size, SECONDS)[0]
    except RankRaised as error:
        raise (error.__cause__ or error) from None


def clocked(function, world_size: int) -> tuple[list, Clocks]:
    """``function(comm)`` on each rank; results by rank, and what they did when."""
    clocks = Clocks(world_size)
    return in_threads(lambda comm: function(Clocked(comm, clocks)), world_size), clocks


def by_rank(results: Sequence[Tree]) -> dict[str, Tree]:
    return {f"rank {rank}": result for rank, result in enumerate(results)}


@driver
def broadcast(candidate, case):
    """What each rank has at the end, and returns; or steps, messages in all, and the most that one rank sends.

    Some trees keep the busiest rank below what it may send: all that it may send counts as one.
    """
    tensors = [x.clone() for x in case["held"]]

    def work(comm):
        returned = candidate(tensors[comm.rank], comm, case["root"])
        words = "nothing" if returned is None else "x itself" if returned is tensors[comm.rank] else "something else"
        return {"held": tensors[comm.rank], "returned": words}

    results, clocks = clocked(work, len(tensors))
    if not case.get("traffic"):
        return by_rank(results)
    sent = [sum(sender == rank for sender, _, _ in clocks.messages) for rank in range(len(tensors))]
    busiest = max([(len(tensors) - 1).bit_length(), *sent])
    return {"steps": clocks.steps, "messages": len(clocks.messages), "messages of the busiest rank": busiest}


@driver
def barrier(candidate, case):
    """Of how many ranks, itself included, each had word that they have come when it left; or steps."""
    _, clocks = clocked(candidate, case["world_size"])
    if case.get("traffic"):
        return {"steps": clocks.steps}
    return {"heard of when each left": torch.tensor([len(ranks) for ranks in clocks.heard_of])}


@driver
def hierarchical_all_reduce(candidate, case):
    """The sums; or the most entries that one rank sends to other nodes."""
    held, node_size = case["held"], case["node_size"]
    results, clocks = clocked(lambda comm: candidate(held[comm.rank], comm, node_size), len(held))
    if not case.get("traffic"):
        return by_rank([{"sum": result} for result in results])
    across = [0] * len(held)
    for sender, receiver, size in clocks.messages:
        across[sender] += size * (sender // node_size != receiver // node_size)
    return {"entries between nodes": max(across) // held[0].element_size()}


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


class Net(nn.Module):
    """Layers in a row with weights that the case gives. ``uses`` says which layer comes when: one may come twice, or
    never. Two buffers are added to the input; one of them is not saved with the model."""

    shift: torch.Tensor
    table: torch.Tensor

    def __init__(
        self, weights: Sequence[torch.Tensor], shift: torch.Tensor, uses: Sequence[int], frozen: Sequence[int]
    ):
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(w.clone(), requires_grad=n not in frozen) for n, w in enumerate(weights)
        )
        self.register_buffer("shift", shift.clone())
        self.register_buffer("table", shift.square(), persistent=False)
        self.uses = list(uses)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.shift + self.table
        for n in self.uses:
            x = torch.tanh(x @ self.weights[n])
        return x


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
    """Gradient descent with momentum, which may be 0. With ``zero_grad`` and ``step`` as in torch.optim, whose first
    use takes seconds. A parameter without a gradient stays."""

    def __init__(self, parameters, lr: float, momentum: float = 0.0):
        self.parameters, self.lr, self.momentum = list(parameters), lr, momentum
        self.memory = [torch.zeros_like(p) for p in self.parameters]

    def zero_grad(self) -> None:
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        with torch.no_grad():
            for p, memory in zip(self.parameters, self.memory, strict=True):
                if p.grad is not None:
                    memory.mul_(self.momentum).add_(p.grad)
                    p.sub_(self.lr * memory)


class Normalized(Momentum):
    """Steps by the gradient over the root of its squares' running mean, as AdamW does."""

    def step(self) -> None:
        with torch.no_grad():
            for p, memory in zip(self.parameters, self.memory, strict=True):
                if p.grad is not None:
                    memory.mul_(self.momentum).add_((1 - self.momentum) * p.grad**2)
                    p.sub_(self.lr * p.grad / (memory.sqrt() + 1e-3))


@driver
def data_parallel_step(candidate, case):
    """Weights after each step, of every rank."""

    def work(comm):
        model, weights = net(case, comm.rank), []
        kind = Normalized if case["normalized"] else Momentum
        optimizer = kind(model.parameters(), case["lr"], case["momentum"])
        for batch in case["steps"]:
            candidate(model, optimizer, loss, batch[comm.rank], comm, sum_by_messages)
            weights.append([w.detach().clone() for w in model.weights])
        return {"weights": weights}

    return by_rank(in_threads(work, case["world_size"]))


@driver
def make_buckets(candidate, case):
    return {"buckets": [[int(k) for k in bucket] for bucket in candidate(case["sizes"], case["bucket_bytes"])]}


def by_columns(x: torch.Tensor) -> torch.Tensor:
    """The same matrix, column by column in memory, as a gradient may come. No file of cases keeps such strides."""
    return x.t().clone(memory_format=torch.contiguous_format).t()


@driver
def average_bucket(candidate, case):
    """Gradients after the call by parameter, and the sizes of the tensors that were all-reduced."""

    def work(comm):
        own, sizes = case["gradients"][comm.rank], []
        parameters = [torch.nn.Parameter(torch.zeros(x.shape, dtype=x.dtype)) for x in case["shapes"]]
        for parameter, grad in zip(parameters, own, strict=True):
            if grad is not None:
                parameter.grad = by_columns(grad) if case.get("strided") else grad.clone()

        def all_reduce(tensor, comm):
            sizes.append(tensor.numel())
            return sum_by_messages(tensor, comm)

        candidate(parameters, comm, all_reduce)
        return {"sizes": sizes} if case.get("traffic") else {"gradients": [p.grad for p in parameters]}

    return by_rank(in_threads(work, len(case["gradients"])))


class Bucketed:
    """One rank's replica: events are written down as they happen. "grad 3, send 8" says that the gradient of weights 3
    was whole, and then a tensor of 8 entries was given to ``start_all_reduce``."""

    def __init__(self, candidate, case, comm):
        self.events: list[str] = []
        self.sent: list[int] = []
        self.in_backward = False
        self.model = net(case, comm.rank)
        trained = {n: w for n, w in enumerate(self.model.weights) if w.requires_grad}
        for n, weight in trained.items():
            weight.register_post_accumulate_grad_hook(lambda _, n=n: self.events.append(f"grad {n}"))
        buckets = [[trained[n] for n in bucket] for bucket in case["buckets"]]
        self.replica = candidate(self.model, comm, buckets, self.broadcast, self.start_all_reduce)

    def broadcast(self, tensor, comm):
        """Overwrites ``tensor`` with rank 0's."""
        if comm.rank == 0:
            for rank in range(1, comm.world_size):
                comm.send(tensor, rank)
            return tensor
        with torch.no_grad():
            return tensor.copy_(comm.recv(torch.empty_like(tensor), 0))

    def start_all_reduce(self, flat, comm):
        """A handle; its ``wait()`` returns the sum over all ranks, a new tensor."""
        self.events.append(f"send {flat.numel()}")
        self.sent.append(flat.numel())
        return Handle(start_by_messages(flat, comm), self)

    def step(self, pieces) -> list[str]:
        """Backward of all pieces, the last one in sync, then ``finish``; the events of the last backward."""
        for number, piece in enumerate(pieces):
            self.events.clear()
            if number < len(pieces) - 1:
                with self.replica.no_sync():
                    self.backward(piece)
            else:
                self.backward(piece)
        during = list(self.events)
        self.replica.finish()
        return during

    def backward(self, piece) -> None:
        if len(piece):
            self.in_backward = True
            loss(self.model, piece).backward()
            self.in_backward = False


class Handle:
    """Waits once, however often it is asked."""

    def __init__(self, wait, replica: Bucketed):
        self.finish, self.replica, self.total = wait, replica, None

    def wait(self) -> torch.Tensor:
        if self.replica.in_backward:
            self.replica.events.append("wait")
        self.total = self.finish() if self.total is None else self.total
        return self.total


@driver
def DataParallel(candidate, case):
    """Of each rank what the case names: the state at the start, gradients after each step, or the events."""

    def work(comm):
        one = Bucketed(candidate, case, comm)
        found: dict[str, Tree] = {}
        if case["returns"] == "state":
            buffers = {name: buffer.clone() for name, buffer in one.model.named_buffers()}
            return {"weights": [w.detach().clone() for w in one.model.weights], **buffers}
        for number, batch in enumerate(case["steps"]):
            for weight in one.model.weights:
                weight.grad = None
            events = one.step(batch[comm.rank])
            grads = [None if w.grad is None else w.grad.clone() for w in one.model.weights]
            if case["returns"] == "gradients":
                found[f"step {number}"] = grads
            elif case["returns"] == "during backward":
                found[f"step {number}"] = ", ".join(events)
            else:  # all that was sent
                found[f"step {number}"], one.sent = one.sent, []
        return found

    return by_rank(in_threads(work, case["world_size"]))

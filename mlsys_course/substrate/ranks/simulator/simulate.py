"""``simulate``: the same functions, on up to thousands of ranks that share one core and a virtual clock."""

import gc
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from ...errors import CourseProblem
from ..shared.communicator import Communicator, Handle
from ..shared.problems import Deadlock, RankDied, RankRaised
from ..shared.result import Run
from ..shared.timeline import Timeline
from ..shared.traffic import Traffic, bytes_of
from .clock import BEGIN, COMPUTE, END, RECEIVE, SEND, SENT, Clock, Operation
from .cluster import Cluster
from .fair_share import FairClock
from .fibers import Fibers

MOST_AHEAD = 10_000  # operations that a rank may be ahead of the clock, so that memory stays small


class SimulatedCommunicator(Communicator):
    """A rank of a simulation. What it does is noted; when that happens, the clock says.

    On channel n, rank r is known to receivers as r + n * world_size.
    A rank runs ahead of the clock until it needs a message that no rank has sent yet, or asks for the time.
    """

    def __init__(self, simulation: "Simulation", rank: int):
        super().__init__(rank, simulation.world_size)
        self._simulation, self._sent, self._offset = simulation, [0], 0  # all channels count into one
        self._note, self._scale = simulation.clock.program[rank].append, simulation.scale
        self._send_data, self._take_data = simulation.post, simulation.take

    def channel(self) -> Communicator:
        other = self._another()
        other._offset = other.number * self.world_size
        return other

    def compute(self, seconds: float = 0.0, *, flops: float = 0.0, label: str = "compute") -> None:
        """Let ``seconds`` pass, and the time that ``flops`` operations take on this cluster."""
        if seconds < 0 or flops < 0:
            raise ValueError(f"compute(seconds={seconds}, flops={flops}); both are at least 0")
        self._note((COMPUTE, seconds + flops / self._simulation.cluster.flops, label))

    def now(self) -> float:
        """The virtual time."""
        return self._simulation.hold(self.rank)

    def span(self, label: str) -> AbstractContextManager[None]:
        """Name a stretch of the timeline, and the messages sent in it."""
        return _Span(self, label)

    def isend(self, tensor: Tensor, to: int) -> Handle:
        """``send``; ``wait`` takes until the message has left, when real networks let the tensor be written to."""
        self._check("send to", to, tensor)
        self._post(tensor, to)
        return _Leaving(self._note, self._sent[0] - 1)

    def _post(self, tensor: Tensor, to: int) -> None:
        self._sent[0] += 1
        self._note((SEND, to, (tensor.nbytes or bytes_of(tensor)) * self._scale, self.tag, self._offset))
        self._send_data(self.rank + self._offset, to, (tensor.detach() if tensor.requires_grad else tensor).clone())

    def _take(self, source: int, buffer: Tensor) -> Tensor:
        return self._take_data(self.rank, source + self._offset)


class _Leaving(Handle):
    """Of a message that was sent: ``wait`` is an operation of its own."""

    __slots__ = ("_note", "_number")

    def __init__(self, note: Callable[[Operation], None], number: int):
        self._note, self._number = note, number

    def wait(self) -> None:
        self._note((SENT, self._number))


class _Span(AbstractContextManager[None]):
    """A span that begins and ends when the clock gets there."""

    def __init__(self, comm: SimulatedCommunicator, label: str):
        self._comm, self._label = comm, label

    def __enter__(self) -> None:
        self._before, self._comm.tag = self._comm.tag, self._label
        self._comm._note((BEGIN, self._label))

    def __exit__(self, *error: object) -> None:
        self._comm.tag = self._before
        self._comm._note((END, self._label))


class Simulation:
    """Ranks as fibers, the data between them, and the clock, which asks a rank for more when it has played what there
    is.

    Data does not depend on time, so ranks are run in any order that leaves each much to do: in turn, and who was sent
    something after those that already wait for their turn. On a ring each rank then runs about three times, not P
    times.
    """

    def __init__(self, function: Callable[..., Any], world_size: int, cluster: Cluster, args: Sequence[Any], seed: int,
                 scale: int, timeout: float):  # fmt: skip
        self.world_size, self.cluster, self.scale = world_size, cluster, scale
        self.results: list[Any] = [None] * world_size
        self.errors: dict[int, BaseException] = {}
        self.data_waits: dict[int, int] = {}  # rank -> the source, on its channel, of data that nobody has sent
        self._boxes: list[dict[int, deque[Tensor]]] = [defaultdict(deque) for _ in range(world_size)]  # by receiver
        self._turn = deque(range(world_size))  # ranks that can run
        self._holds = set[int]()  # ranks that go on when the clock has played what they noted
        self._call = (function, tuple(args))
        self._fibers = Fibers([lambda rank=rank: self._rank(rank) for rank in range(world_size)], timeout)
        clock = FairClock if cluster.fair_share else Clock
        self.clock = clock(world_size, cluster, seed, self._more)

    def play(self) -> None:
        """Until nobody can go on; the first exception of a rank ends it."""
        threads, thresholds = torch.get_num_threads(), gc.get_threshold()
        gc.set_threshold(200_000, *thresholds[1:])  # millions of operations would be looked through again and again
        try:
            self.clock.play()
        finally:
            self._fibers.stop()
            gc.set_threshold(*thresholds)
            torch.set_num_threads(threads)

    def post(self, sender: int, receiver: int, message: Tensor) -> None:
        """Data for a rank; one that waited for it can run again."""
        self._boxes[receiver][sender].append(message)
        if self.data_waits.get(receiver) == sender:
            del self.data_waits[receiver]
            self._turn.append(receiver)

    def take(self, rank: int, source: int) -> Tensor:
        """The next message's data; others run until it is there."""
        program, box = self.clock.program[rank], self._boxes[rank][source]
        if len(program) > MOST_AHEAD:
            self.hold(rank)
        if not box:
            self.data_waits[rank] = source
            self._fibers.pause(rank)
        program.append((RECEIVE, source))
        if self.cluster.fails:
            self.hold(rank)  # what a rank sent after its failure never comes
        return box.popleft()

    def hold(self, rank: int) -> float:
        """A rank's time, once the clock has played all that it did before."""
        if self.clock.program[rank]:
            self._holds.add(rank)
            self._fibers.pause(rank)
        return self.clock.time[rank]

    def _rank(self, rank: int) -> None:
        function, args = self._call
        try:
            self.results[rank] = function(SimulatedCommunicator(self, rank), *args)
        except BaseException as error:
            self.errors[rank] = error

    def _more(self, rank: int) -> None:
        """Let ranks run until this one has something to do, or nobody can."""
        if rank in self._holds:
            self._holds.remove(rank)
            self._turn.append(rank)
        program = self.clock.program[rank]
        while not program and self._turn:
            runs = self._turn.popleft()
            self._fibers.go_on(runs)
            if runs in self.errors:
                raise _Raised(runs)
            self.clock.ready(runs)


class _Raised(Exception):
    """A rank's function raised: the simulation ends."""


def simulate(
    function: Callable[..., Any],
    world_size: int,
    cluster: Cluster | None = None,
    *,
    args: Sequence[Any] = (),
    seed: int = 0,
    scale: int = 1,
    timeout: float = 120.0,
) -> Run:
    """Call ``function(comm, *args)`` on each of ``world_size`` simulated ranks; what it returned, and when it happened.

    ``timeline.seconds`` is virtual time: messages take what ``cluster``'s links say, ``comm.compute`` what it is told,
    and everything else nothing. Data is real. With ``scale``, each message counts as that many times its bytes, so that
    small tensors stand for large ones. The same arguments play the same run; ``seed`` draws who of several ranks at the
    same time goes first, and the cluster's jitter.

    Raises RankRaised with the first exception that a rank raised; Deadlock, naming who waits for whom, when nobody can
    go on; RankDied when that is because a rank of ``cluster.fails`` fell silent; RanksLate when a function takes
    ``timeout`` seconds of real time without waiting. The exception's ``run`` is what was played until then.
    """
    if isinstance(world_size, bool) or not isinstance(world_size, int) or world_size < 1:
        raise CourseProblem(f"world_size={world_size!r}; give a whole number of ranks, at least 1")
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise CourseProblem(
            f"scale={scale!r}; give a whole number, at least 1: as many times its bytes a message counts"
        )
    simulation = Simulation(function, world_size, cluster or Cluster(), args, seed, scale, timeout)
    problem = None
    try:
        simulation.play()
    except _Raised as stopped:
        (rank,) = stopped.args
        error = simulation.errors[rank]
        problem = RankRaised(f"rank {rank} raised {type(error).__name__}: {error}")
        problem.__cause__ = error
    run = _played(simulation)
    problem = problem or _stuck(simulation)
    if problem:
        problem.run = run  # pyright: ignore[reportAttributeAccessIssue]
        raise problem
    return run


def _played(simulation: Simulation) -> Run:
    clock, nan = simulation.clock, float("nan")
    waiting = simulation.data_waits.keys() | clock.waits.keys() | clock.failed
    ends = [nan if rank in waiting else clock.time[rank] for rank in range(simulation.world_size)]
    traffic = Traffic(simulation.world_size, clock.messages)
    return Run(simulation.results, traffic, Timeline(simulation.world_size, clock.events, ends))


def _stuck(simulation: Simulation) -> Deadlock | RankDied | None:
    """Who waits for what in vain; the words are those of ``Switchboard``."""
    clock = simulation.clock
    waits = {**clock.waits, **{r: s for r, s in simulation.data_waits.items() if r not in clock.waits}}
    waits = {rank: source % simulation.world_size for rank, source in waits.items() if rank not in clock.failed}
    failures = simulation.cluster.fails
    if not waits:
        if not clock.failed:
            return None
        rank = min(clock.failed)
        return RankDied(f"rank {rank} failed at {failures[rank]:g} s; nobody waits for it")
    rank = min(waits, key=lambda rank: (waits[rank] not in clock.failed, waits[rank] in waits, rank))
    source = waits[rank]
    if source in clock.failed:
        return RankDied(f"rank {rank} waits in recv from {source}, which failed at {failures[source]:g} s")
    reason = f"waits in recv from {waits[source]}" if source in waits else "has returned"
    return Deadlock(f"rank {rank} waits in recv from {source}, which {reason}")

"""The virtual clock: plays what ranks do in the order of simulated time.

A rank's program is a stream of operations that is asked for when the clock gets there. Always the rank whose own time
is least is next; of ranks at the same time, the one that a draw from the seed puts first. So messages meet on a shared
port in the order in which they were sent, and the same seed plays the same run.
"""

import heapq
import math
import random
from collections import defaultdict, deque
from collections.abc import Callable
from typing import NamedTuple

from .cluster import Cluster, Port
from .timeline import EventLog
from .traffic import MessageLog


class Send(NamedTuple):
    """A message goes off. ``number`` is its sender's own, for ``Sent``."""

    to: int
    bytes: int
    tag: str
    number: int


class Sent(NamedTuple):
    """Wait until a message has left."""

    number: int


class Receive(NamedTuple):
    """Wait for the next message from ``source``."""

    source: int


class Compute(NamedTuple):
    """Be busy."""

    seconds: float
    label: str


class Mark(NamedTuple):
    """A span begins, or with ``end`` it ends."""

    label: str
    end: bool


Operation = Send | Sent | Receive | Compute | Mark


class Clock:
    """``more(rank)`` gives operations; none means that the rank has returned, or waits for data that nobody has sent.

    In that case ``more`` is asked again once ``ready(rank)`` was called.
    """

    def __init__(self, world_size: int, cluster: Cluster, seed: int, more: Callable[[int], list[Operation]]):
        self.cluster, self._more = cluster, more
        self.messages, self.events = MessageLog(), EventLog()
        self.time = [0.0] * world_size
        self.failed = set[int]()
        self.waits: dict[int, int] = {}  # rank -> the source of the message that it waits for on the clock
        self._draw = random.Random(seed)
        self._turn = self._draw.sample(range(world_size), world_size)
        self._program: list[deque[Operation]] = [deque() for _ in range(world_size)]
        self._idle = set[int]()
        self._heap = [(0.0, self._turn[rank], rank) for rank in range(world_size)]
        heapq.heapify(self._heap)
        self._free: list[float] = []  # by port: when it is
        self._ports: dict[Port, int] = {}
        self._paths: dict[tuple[int, int], tuple[float, float, list[tuple[int, float]]]] = {}
        self._arrivals: dict[tuple[int, int], deque[tuple[float, int]]] = defaultdict(deque)
        self._left: list[dict[int, float]] = [{} for _ in range(world_size)]
        self._open: list[list[tuple[str, float]]] = [[] for _ in range(world_size)]

    def play(self) -> None:
        """Until no rank can go on."""
        while self._heap:
            time, _, rank = heapq.heappop(self._heap)
            self.time[rank] = max(self.time[rank], time)
            if self.time[rank] >= self.cluster.fails.get(rank, math.inf):
                self.failed.add(rank)
                self._program[rank].clear()
            else:
                self._advance(rank)

    def ready(self, rank: int) -> None:
        """If this rank had nothing to do, it has now."""
        if rank in self._idle:
            self._idle.remove(rank)
            self._wake(rank)

    def _wake(self, rank: int) -> None:
        heapq.heappush(self._heap, (self.time[rank], self._turn[rank], rank))

    def _advance(self, rank: int) -> None:
        """Play a rank's operations as long as its time stands still."""
        program, now = self._program[rank], self.time[rank]
        while True:
            if not program:
                program.extend(self._more(rank))
                if not program:
                    self._idle.add(rank)
                    return
            operation = program.popleft()
            kind = type(operation)
            if kind is Send:
                self._send(rank, operation)  # pyright: ignore
                continue
            then = self._receive(rank, operation) if kind is Receive else self._other(rank, operation)  # pyright: ignore
            if then is None:
                return
            if then > now:
                self.time[rank] = then
                return self._wake(rank)

    def _send(self, rank: int, send: Send) -> None:
        """Each port serves it after what was sent before; it has left when the last one has served it."""
        receiver, size, now = send.to, send.bytes, self.time[rank]
        latency, bandwidth, ports = self._paths.get((rank, receiver)) or self._path(rank, receiver)
        left, free = now + size / bandwidth, self._free
        for port, its_bandwidth in ports:
            before = free[port]
            free[port] = served = (before if before > now else now) + size / its_bandwidth
            if served > left:
                left = served
        self._left[rank][send.number] = left
        place = self.messages.add(rank, receiver, size, send.tag, now)
        self._arrivals[rank, receiver].append((left + latency, place))
        if self.waits.get(receiver) == rank:
            del self.waits[receiver]
            self._program[receiver].appendleft(Receive(rank))
            self._wake(receiver)

    def _path(self, sender: int, receiver: int) -> tuple[float, float, list[tuple[int, float]]]:
        """Latency, bandwidth, and the shared ports by number."""
        link, ports = self.cluster.path(sender, receiver)
        for port in ports:
            if port not in self._ports:
                self._ports[port] = len(self._free)
                self._free.append(0.0)
        path = link.latency, link.bandwidth, [(self._ports[port], port.bandwidth) for port in ports]
        self._paths[sender, receiver] = path
        return path

    def _receive(self, rank: int, receive: Receive) -> float | None:
        arrivals, now = self._arrivals[receive.source, rank], self.time[rank]
        if not arrivals:
            self.waits[rank] = receive.source
            return None
        arrival, place = arrivals.popleft()
        then = max(now, arrival)
        self.messages.arrived(place, then)
        if then > now:
            self.events.add(rank, "wait", now, then, "", receive.source)
        return then

    def _other(self, rank: int, operation: Operation) -> float:
        now = self.time[rank]
        if isinstance(operation, Sent):
            then = max(now, self._left[rank].pop(operation.number, now))
            if then > now:
                self.events.add(rank, "wait", now, then, "send")
            return then
        if isinstance(operation, Compute):
            factor = self.cluster.slow.get(rank, 1.0)
            if self.cluster.jitter:
                factor *= self._draw.lognormvariate(0.0, self.cluster.jitter)
            self.events.add(rank, "compute", now, now + operation.seconds * factor, operation.label)
            return now + operation.seconds * factor
        assert isinstance(operation, Mark)
        if operation.end:
            label, start = self._open[rank].pop()
            self.events.add(rank, "span", start, now, label)
        else:
            self._open[rank].append((operation.label, now))
        return now

"""The virtual clock: plays what ranks do in the order of simulated time.

A rank's program is a queue of operations; the clock asks for more where it finds none. Always the rank whose own time
is least is next; of ranks at the same time, the one that a draw from the seed puts first. So messages meet on a shared
port in the order in which they were sent, and the same seed plays the same run.
"""

import heapq
import math
import random
from array import array
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TypeAlias

from ..shared.timeline import EventLog
from ..shared.traffic import MessageLog
from .cluster import Cluster, Port

# Operations are plain tuples that begin with their kind: a run has millions, and a tuple costs a tenth of an object.
SEND = 0  # to, bytes, tag, offset: a message goes off, from a source that its receiver knows as rank + offset
SENT = 1  # number: wait until one's own so-manieth message has left, counted from 0
RECEIVE = 2  # source: wait for the next message from there
COMPUTE = 3  # seconds, label: be busy
BEGIN, END = 4, 5  # label: a span
Operation: TypeAlias = tuple


class Clock:
    """``more(rank)`` adds to ``program[rank]``; if it does not, the rank has returned, or waits for data that nobody
    has sent: it is asked again once ``ready(rank)`` was called.
    """

    def __init__(self, world_size: int, cluster: Cluster, seed: int, more: Callable[[int], None]):
        self.cluster, self._more = cluster, more
        self.program: list[deque[Operation]] = [deque() for _ in range(world_size)]
        self.messages, self.events = MessageLog(), EventLog()
        self.time = [0.0] * world_size
        self.failed = set[int]()
        self.waits: dict[int, int] = {}  # rank -> the source, on its channel, of what it waits for on the clock
        self._draw = random.Random(seed)
        self._turn = self._draw.sample(range(world_size), world_size)
        self._idle = set[int]()
        self._heap = [(0.0, self._turn[rank], rank) for rank in range(world_size)]
        heapq.heapify(self._heap)
        self._free: list[float] = []  # by port: when it is
        self._ports: dict[Port, int] = {}
        self._paths: list[dict[int, tuple[float, float, list[tuple[int, float]]]]] = [{} for _ in range(world_size)]
        self._arrivals: list[dict[int, deque[tuple[float, int]]]] = [defaultdict(deque) for _ in range(world_size)]
        self._left = [array("d") for _ in range(world_size)]  # by sender: when each of its messages did
        self._open: list[list[tuple[str, float]]] = [[] for _ in range(world_size)]

    def play(self) -> None:
        """Until no rank can go on."""
        heap, fails = self._heap, self.cluster.fails
        turn = heapq.heappop(heap) if heap else None
        while turn:
            now, order, rank = turn
            self.time[rank], then = now, None
            if fails and now >= fails.get(rank, math.inf):
                self.failed.add(rank)
                self.program[rank].clear()
            else:
                then = self._advance(rank, now)
            if then is not None:
                turn = heapq.heappushpop(heap, (then, order, rank))
            else:
                turn = heapq.heappop(heap) if heap else None

    def ready(self, rank: int) -> None:
        """If this rank had nothing to do, it has now."""
        if rank in self._idle:
            self._idle.remove(rank)
            self._wake(rank, self.time[rank])

    def _wake(self, rank: int, time: float) -> None:
        heapq.heappush(self._heap, (time, self._turn[rank], rank))

    def _advance(self, rank: int, now: float) -> float | None:
        """Play a rank's operations as long as its time stands still; when it goes on, or None where it waits."""
        program = self.program[rank]
        while True:
            if not program:
                self._more(rank)
                if not program:
                    self._idle.add(rank)
                    return None
            operation = program.popleft()
            kind, what = operation[0], operation[1]
            if kind == SEND:
                self._send(rank, now, what, operation[2], operation[3], operation[4])
                continue
            if kind == SENT:
                then = self._leave(rank, now, what)
                if then is None:
                    return None
            elif kind == RECEIVE:
                arrivals = self._arrivals[rank].get(what)
                if not arrivals:
                    self.waits[rank] = what
                    return None
                then = self._receive(rank, now, what, *arrivals.popleft())
            else:
                then = self._other(rank, now, operation)
            if then > now:
                return then

    def _send(self, rank: int, now: float, receiver: int, size: int, tag: str, offset: int) -> None:
        """Each port serves it after what was sent before; it has left when the last one has served it."""
        latency, bandwidth, ports = self._paths[rank].get(receiver) or self._path(rank, receiver)
        left, free = now + size / bandwidth, self._free
        for port, its_bandwidth in ports:
            before = free[port]
            free[port] = served = (before if before > now else now) + size / its_bandwidth
            if served > left:
                left = served
        self._left[rank].append(left)
        place = self.messages.add(rank, receiver, size, tag, now)
        if self.waits.get(receiver) == rank + offset:  # it need not be woken to learn when: that is known now
            del self.waits[receiver]
            self._wake(receiver, self._receive(receiver, self.time[receiver], rank, left + latency, place))
        else:
            self._arrivals[receiver][rank + offset].append((left + latency, place))

    def _leave(self, rank: int, now: float, number: int) -> float | None:
        """When a rank goes on that waits until its own message has left; None where nobody can say yet."""
        then = self._left[rank][number]
        if then > now:
            self.events.add(rank, "wait", now, then, "send")
            return then
        return now

    def _path(self, sender: int, receiver: int) -> tuple[float, float, list[tuple[int, float]]]:
        """Latency, bandwidth, and the shared ports by number."""
        link, ports = self.cluster.path(sender, receiver)
        for port in ports:
            if port not in self._ports:
                self._ports[port] = len(self._free)
                self._free.append(0.0)
        path = link.latency, link.bandwidth, [(self._ports[port], port.bandwidth) for port in ports]
        self._paths[sender][receiver] = path
        return path

    def _receive(self, rank: int, now: float, source: int, arrival: float, place: int) -> float:
        """The message at ``place`` meets the rank that asked for it; when this goes on."""
        if arrival <= now:
            self.messages.arrived(place, now)
            return now
        self.messages.arrived(place, arrival)
        self.events.add(rank, "wait", now, arrival, "", source % len(self.time))
        return arrival

    def _other(self, rank: int, now: float, operation: Operation) -> float:
        kind, what = operation[:2]
        if kind == COMPUTE:
            factor = self.cluster.slow.get(rank, 1.0)
            if self.cluster.jitter:
                factor *= self._draw.lognormvariate(0.0, self.cluster.jitter)
            self.events.add(rank, "compute", now, now + what * factor, operation[2])
            return now + what * factor
        if kind == BEGIN:
            self._open[rank].append((what, now))
        else:
            label, start = self._open[rank].pop()
            self.events.add(rank, "span", start, now, label)
        return now

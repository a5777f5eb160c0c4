"""Ports that serve the messages that cross them side by side: a fluid, whose rates change when one begins or ends.

Rates are max-min fair: nobody's can grow without taking from somebody who has no more. Long TCP flows come near it.
"""

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Iterable

from .clock import Clock

SAME_TIME = 1e-12  # relative: what ends within it ends together


class Flow:
    """The message that a connection is sending: ``left`` bytes at the second ``since``, at ``rate``, until ``end``."""

    __slots__ = ("connection", "end", "left", "most", "ports", "rate", "since")

    def __init__(self, connection: "Connection", size: float, now: float):
        self.connection, self.left, self.since = connection, size, now
        self.ports, self.most = connection.ports, connection.bandwidth
        self.rate, self.end = 0.0, math.inf


class Connection:
    """From one rank to another on one channel: messages leave one after the other."""

    __slots__ = ("bandwidth", "flow", "latency", "ports", "receiver", "sender", "source", "waiting")

    def __init__(self, sender: int, receiver: int, source: int, path: tuple[float, float, list[tuple[int, float]]]):
        self.sender, self.receiver, self.source = sender, receiver, source
        self.latency, self.bandwidth = path[:2]
        self.ports = [port for port, _ in path[2]]
        self.flow: Flow | None = None
        self.waiting: deque[tuple[int, int, int]] = deque()  # bytes, place in the log, number of its sender's


class Network:
    """All flows under way. Changes are made first, then rates are worked out once for all that changed."""

    def __init__(self):
        self.capacity: dict[int, float] = {}
        self._on: dict[int, dict[Flow, None]] = defaultdict(dict)  # by port
        self._changed: dict[int, None] = {}  # ports
        self._ends: list[tuple[float, int, Flow]] = []
        self._count = 0

    def begin(self, flow: Flow) -> None:
        """From ``flow.since`` on."""
        for port in flow.ports:
            self._on[port][flow] = None
            self._changed[port] = None

    def next_end(self, now: float) -> float:
        """When the next flow ends, if none begins before; what changed did so at ``now``."""
        if self._changed:
            self._share(now)
        while self._ends and self._ends[0][0] != self._ends[0][2].end:  # its rate has changed since
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else math.inf

    def ended(self, until: float) -> list[Flow]:
        """Take away the flows that end by ``until``."""
        found: list[Flow] = []
        while self._ends and self._ends[0][0] <= until * (1 + SAME_TIME):
            end, _, flow = heapq.heappop(self._ends)
            if end != flow.end:
                continue
            flow.end = -1.0  # other entries of it are void
            found.append(flow)
            for port in flow.ports:
                del self._on[port][flow]
                self._changed[port] = None
        return found

    def _share(self, now: float) -> None:
        """New rates for all flows that a change can reach, over ports that they have in common."""
        ports, flows = deque(self._changed), dict[Flow, None]()
        known = set(self._changed)
        self._changed.clear()
        while ports:
            for flow in self._on[ports.popleft()]:
                flows[flow] = None
                for other in flow.ports:
                    if other not in known:
                        known.add(other)
                        ports.append(other)
        for flow, rate in self._rates(flows):
            if rate == flow.rate:
                continue
            flow.left = max(0.0, flow.left - flow.rate * (now - flow.since))
            flow.since, flow.rate = now, rate
            flow.end = now + flow.left / rate
            self._count += 1
            heapq.heappush(self._ends, (flow.end, self._count, flow))

    def _rates(self, flows: Iterable[Flow]) -> list[tuple[Flow, float]]:
        """Progressive filling: all rates grow alike, and whoever meets a full port, or its own limit, stays there."""
        open_flows = dict.fromkeys(flows)
        left, count, found = dict[int, float](), dict[int, int](), list[tuple[Flow, float]]()
        for flow in open_flows:
            for port in flow.ports:
                left[port] = self.capacity[port]
                count[port] = count.get(port, 0) + 1
        while open_flows:
            share = min(left[port] / n for port, n in count.items())
            limited = [flow for flow in open_flows if flow.most < share]
            if not limited:
                full = {port for port, n in count.items() if left[port] / n <= share * (1 + SAME_TIME)}
                limited = [flow for flow in open_flows if not full.isdisjoint(flow.ports)]
            for flow in limited:
                rate = min(flow.most, share)
                found.append((flow, rate))
                del open_flows[flow]
                for port in flow.ports:
                    left[port] -= rate
                    count[port] -= 1
                    if not count[port]:
                        del count[port]
        return found


class FairClock(Clock):
    """The clock over such ports: when a message is through is known only when it is."""

    def __init__(self, *args):
        super().__init__(*args)
        self._network = Network()
        self._connections: dict[tuple[int, int, int], Connection] = {}
        self._leaving: dict[tuple[int, int], float] = {}  # rank, number of its message -> since when it waits

    def play(self) -> None:
        """Until no rank can go on and nothing is under way."""
        heap, fails, network, now = self._heap, self.cluster.fails, self._network, 0.0
        while True:
            if not heap or heap[0][0] > now:
                end = network.next_end(now)
                if end < (heap[0][0] if heap else math.inf):
                    now = end
                    for flow in network.ended(end):
                        self._through(flow, end)
                    continue
            if not heap:
                return
            own, order, rank = heapq.heappop(heap)
            self.time[rank], now = own, max(now, own)  # one that was told of a message late goes on when it arrives
            if fails and own >= fails.get(rank, math.inf):
                self.failed.add(rank)
                self.program[rank].clear()
            elif (then := self._advance(rank, own)) is not None:
                heapq.heappush(heap, (then, order, rank))

    def _send(self, rank: int, now: float, receiver: int, size: int, tag: str, offset: int) -> None:
        """The connection takes it on, at once or after what it has."""
        key = rank, receiver, offset
        if key not in self._connections:
            path = self._paths[rank].get(receiver) or self._path(rank, receiver)
            self._network.capacity.update(path[2])
            self._connections[key] = Connection(rank, receiver, rank + offset, path)
        connection = self._connections[key]
        number = len(self._left[rank])
        self._left[rank].append(math.nan)
        connection.waiting.append((size, self.messages.add(rank, receiver, size, tag, now), number))
        if connection.flow is None:
            self._begin(connection, now)

    def _begin(self, connection: Connection, now: float) -> None:
        connection.flow = Flow(connection, connection.waiting[0][0], now)
        self._network.begin(connection.flow)

    def _through(self, flow: Flow, now: float) -> None:
        """A message has left: who waits for that goes on, and its receiver when it has arrived."""
        connection = flow.connection
        _, place, number = connection.waiting.popleft()
        sender, receiver, arrival = connection.sender, connection.receiver, now + connection.latency
        connection.flow = None
        self._left[sender][number] = now
        if (since := self._leaving.pop((sender, number), None)) is not None:
            self.events.add(sender, "wait", since, now, "send")
            self._wake(sender, now)
        if self.waits.get(receiver) == connection.source:
            del self.waits[receiver]
            self._wake(receiver, self._receive(receiver, self.time[receiver], sender, arrival, place))
        else:
            self._arrivals[receiver][connection.source].append((arrival, place))
        if connection.waiting:
            self._begin(connection, now)

    def _leave(self, rank: int, now: float, number: int) -> float | None:
        if math.isnan(self._left[rank][number]):
            self._leaving[rank, number] = now
            return None
        return now

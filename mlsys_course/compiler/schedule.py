"""Of all valid orders one that needs little memory at its worst moment."""

import heapq
from collections.abc import Sequence

from ..substrate.graph import Node
from .buffers import bytes_of, peak_bytes


def order_for_memory(order: Sequence[Node], outputs: Sequence[Node], exact: int = 12) -> list[Node]:
    """The nodes of ``order`` in a valid order of least ``peak_bytes``. Lab 6, exercise ``order_for_memory``.

    The least of all for up to ``exact`` nodes with inputs, else no more than that of ``order``. What lives depends on
    which nodes are done, not on how one came there: 2^n sets in place of n! orders.
    """
    work = [node for node in order if node.inputs]
    leaves = [node for node in order if not node.inputs]
    found = leaves + (best(work, outputs) if len(work) <= exact else greedy(work, outputs))
    return min([found, list(order)], key=lambda one: peak_bytes(one, outputs))


class Progress:
    """What is ready and what is alive, once the nodes of a set, a mask of bits, are done."""

    def __init__(self, work: Sequence[Node], outputs: Sequence[Node]):
        number = {node: n for n, node in enumerate(work)}
        self.size = [bytes_of(node) for node in work]
        self.needs = [sum({1 << number[x] for x in node.inputs if x in number}) for node in work]
        self.users = [sum(1 << n for n, needs in enumerate(self.needs) if needs >> k & 1) for k in range(len(work))]
        self.stays = [node in outputs for node in work]
        self.all = (1 << len(work)) - 1

    def live(self, done: int) -> int:
        """Bytes of results that are there and still needed."""
        return sum(
            size for n, size in enumerate(self.size) if done >> n & 1 and (self.stays[n] or self.users[n] & ~done)
        )

    def ready(self, done: int) -> list[int]:
        return [n for n, needs in enumerate(self.needs) if not done >> n & 1 and needs & ~done == 0]


def best(work: Sequence[Node], outputs: Sequence[Node]) -> list[Node]:
    """Dijkstra's search over sets of nodes that are done, by the peak on the way there."""
    progress, came = Progress(work, outputs), {0: (0, 0)}
    waiting, settled = [(0, 0)], set()
    while waiting:
        peak, done = heapq.heappop(waiting)
        if done in settled:
            continue
        settled.add(done)
        if done == progress.all:
            break
        live = progress.live(done)
        for n in progress.ready(done):
            after, reached = done | 1 << n, max(peak, live + progress.size[n])
            if after not in came or reached < came[after][0]:
                came[after] = (reached, n)
                heapq.heappush(waiting, (reached, after))
    steps, done = [], progress.all
    while done:
        n = came[done][1]
        steps.append(work[n])
        done ^= 1 << n
    return steps[::-1]


def greedy(work: Sequence[Node], outputs: Sequence[Node]) -> list[Node]:
    """At each step whatever leaves least alive."""
    progress, done, steps = Progress(work, outputs), 0, []
    while done != progress.all:
        n = min(progress.ready(done), key=lambda n: (progress.live(done | 1 << n), n))
        steps.append(work[n])
        done |= 1 << n
    return steps

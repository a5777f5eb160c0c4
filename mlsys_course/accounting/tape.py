"""Memory of a training step without a tensor: storages that count themselves, and a tape to walk back.

A ``Storage`` lives as long as something refers to it, as PyTorch's does, so code that is written in the same way as the
live model holds the same memory at the same time. Nothing is allocated but a few words for each storage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from ..substrate.model_config import round_up

TEMPORARY = "temporaries"
MIB = 2**20


def peak_memory(events: Sequence[tuple[str, int]], block: int = 1) -> dict[str, Any]:
    """The highest point of pairs (name, size): a size takes so many bytes, in whole blocks, 0 gives the name's back.

    Its "peak" in bytes, "at" the first event after which so many are alive, and what is "alive" then, by name. Lab 7,
    extension ``peak_memory``.
    """
    alive, now, highest = {}, 0, {"peak": 0}
    for at, (name, size) in enumerate(events):
        if size:
            alive[name] = round_up(size, block)
            now += alive[name]
        else:
            now -= alive.pop(name)
        if now > highest["peak"]:
            highest = {"peak": now, "at": at, "alive": dict(alive)}
    return highest


class Memory:
    """Bytes alive by term, now and at the highest point so far.

    ``caching`` counts as PyTorch's allocator on a card does: blocks of 512 bytes; what has 10 MiB or more is cut from a
    segment of whole 2 MiB, and takes the segment's rest too where that is no more than 1 MiB.
    """

    def __init__(self, caching: bool = False):
        self.caching, self.now, self.peak = caching, 0, 0
        self.terms: dict[str, int] = {}
        self.at_peak: dict[str, int] = {}
        self._rising = False
        self.timeline: list[int] = []

    def rounded(self, size: int) -> int:
        """What the allocator gives to whoever asks for ``size`` bytes."""
        if not self.caching:
            return size
        size = round_up(size, 512)
        segment = round_up(size, 2 * MIB)
        return segment if size >= 10 * MIB and segment - size <= MIB else size

    def add(self, term: str, size: int) -> None:
        """Take ``size`` bytes for ``term``, or give them back."""
        if size < 0 and self._rising:  # the last allocation was the highest point
            self.at_peak, self._rising = dict(self.terms), False
        self.terms[term] = self.terms.get(term, 0) + size
        self.now += size
        self.timeline.append(self.now)
        if self.now > self.peak:
            self.peak, self._rising = self.now, True

    def terms_at_peak(self) -> dict[str, int]:
        """What was alive when most was."""
        return dict(self.terms if self._rising else self.at_peak)


class Storage:
    """So many bytes, from here until the last reference is gone."""

    __slots__ = ("memory", "size", "term")

    def __init__(self, memory: Memory, size: int, term: str = TEMPORARY):
        self.memory, self.term, self.size = memory, term, memory.rounded(size)
        memory.add(term, self.size)

    def __del__(self) -> None:
        self.memory.add(self.term, -self.size)

    def rename(self, term: str) -> None:
        """Count under another term from now on."""
        self.memory.terms[self.term] -= self.size
        self.memory.terms[term] = self.memory.terms.get(term, 0) + self.size
        self.term = term


@dataclass(eq=False)
class Leaf:
    """A parameter, or another tensor without history."""

    size: int
    trainable: bool = True


@dataclass(eq=False)
class Node:
    """One operator of the backward pass: where gradients go, what it keeps until then, what it needs for a moment.

    ``edges`` are (target, bytes of its gradient, whether the gradient that comes in is passed on as it is).
    """

    edges: list[tuple[Node | Leaf, int, bool]]
    saved: list[Storage]
    scratch: int = 0
    replay: Callable[[Node], list[Storage]] | None = None  # of a checkpoint: runs forward and backward again


@dataclass(eq=False)
class Tensor:
    """A shape, bytes a number, the storage it lies in, and the node or leaf that it comes from (None: no gradient)."""

    shape: tuple[int, ...]
    width: int
    storage: Storage
    source: Node | Leaf | None = None

    @property
    def size(self) -> int:
        return prod(self.shape) * self.width


@dataclass(eq=False)
class Tape:
    """Nodes in the order in which they were made; gradients of leaves once they are there."""

    memory: Memory
    nodes: list[Node] = field(default_factory=list)
    gradients: dict[Node | Leaf, Storage] = field(default_factory=dict)

    def storage(self, size: int, term: str = TEMPORARY) -> Storage:
        return Storage(self.memory, size, term)

    def operation(
        self,
        inputs: Sequence[Tensor],
        shape: tuple[int, ...],
        width: int,
        *,
        saves: Sequence[Tensor | int] = (),
        saves_output: bool = False,
        term: str = "",
        view: bool = False,
        passes: bool = False,
        scratch: int = 0,
    ) -> Tensor:
        """An operator's output, which autograd can walk back from.

        It keeps the tensors that ``saves`` names, new ones of so many bytes where it names a number, and its output
        with ``saves_output``; a storage counts under the ``term`` of the first that keeps it. A ``view`` shares its
        input's storage. With ``passes`` the gradient goes on as it is wherever the sizes allow it.
        """
        storage = inputs[0].storage if view else self.storage(prod(shape) * width)
        output = Tensor(shape, width, storage)
        edges = [(x.source, x.size, passes or view) for x in inputs if x.source is not None]
        if edges:
            held = [self.storage(x) if isinstance(x, int) else x.storage for x in saves]
            held += [storage] if saves_output else []
            for one in held:
                if one.term == TEMPORARY:
                    one.rename(f"activations.{term}")
            output.source = Node(edges, held, scratch)
            self.nodes.append(output.source)
        return output

    def checkpoint(
        self,
        function: Callable[..., Tensor],
        inputs: Sequence[Tensor],
        term: str,
        again: Callable[[Callable[..., Tensor]], Callable[..., Tensor]],
    ) -> Tensor:
        """``function(*inputs)``, of which only the inputs are kept; backward runs ``again(function)`` for the rest."""
        outer, self.nodes = self.nodes, []
        output = function(*inputs)
        self.nodes = outer
        for x in inputs:
            if x.storage.term == TEMPORARY:
                x.storage.rename(f"activations.{term}")
        kept = [(x.shape, x.width, x.storage, Leaf(x.size, trainable=False)) for x in inputs]

        def replay(node: Node) -> list[Storage]:
            outer, self.nodes = self.nodes, []
            start = _source(again(function)(*[Tensor(*one) for one in kept]))
            self.gradients[start] = self.gradients.pop(node)
            self._walk()
            self.nodes = outer
            return [self.gradients.pop(leaf) for *_, leaf in kept]

        node = Node([(_source(x), x.size, False) for x in inputs], [], replay=replay)
        self.nodes.append(node)
        return Tensor(output.shape, output.width, output.storage, node)

    def backward(self, loss: Tensor) -> None:
        """Walk all nodes back from ``loss``; leaves keep their gradients."""
        self.gradients[_source(loss)] = self.storage(loss.size)
        self._walk()

    def _walk(self) -> None:
        while self.nodes:
            node = self.nodes.pop()
            if node in self.gradients:
                self._step(node)

    def _step(self, node: Node) -> None:
        if node.replay is not None:
            made = node.replay(node)
        else:
            gradient, scratch = self.gradients.pop(node), self.storage(node.scratch)
            made = [gradient if passes and self.memory.rounded(size) == gradient.size else self.storage(size)
                    for _, size, passes in node.edges]  # fmt: skip
            del scratch, gradient
        node.saved.clear()
        node.replay = None
        for (target, _, _), one in zip(node.edges, made, strict=True):
            if target not in self.gradients:  # else they are added in place
                self.gradients[target] = one
                if isinstance(target, Leaf) and target.trainable:
                    one.rename("gradients")


def _source(x: Tensor) -> Node | Leaf:
    assert x.source is not None, "nothing that needs a gradient leads here"
    return x.source
